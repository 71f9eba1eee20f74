"""How fast viewers are served, from how much they have been sent by two looks. Pure.

Nothing is kept of a viewer that nobody looks at: the first look gives what it was on average since
it came, each later one what it was since the one before.
"""

from typing import Final, NamedTuple

__all__ = ["Pace", "Paces"]

_LEAST_SECONDS: Final = 1.0
"""Between two looks that are compared; of more frequent ones, the last that was is given again."""
_KEPT_SECONDS: Final = 30.0


class Pace(NamedTuple):
    """Of one viewer."""

    events_per_second: float
    bytes_per_second: float


class _Look(NamedTuple):
    at: float
    events: int
    size: int
    pace: Pace


class Paces:
    """Of all viewers that were looked at lately."""

    def __init__(self) -> None:
        self._looks: dict[int, _Look] = {}

    def __len__(self) -> int:
        """How many it knows."""
        return len(self._looks)

    def look(self, number: int, began: float, events: int, size: int, now: float) -> Pace:
        """The viewer's pace.

        Args:
            number: which.
            began: when it came, in seconds of the clock.
            events: how many it has been sent.
            size: the bytes that it has been sent.
            now: the clock's time.
        """
        before = self._looks.get(number)
        if before is None:
            before = _Look(began, 0, 0, Pace(0, 0))
        elif now - before.at < _LEAST_SECONDS:
            return before.pace
        seconds = max(now - before.at, _LEAST_SECONDS)
        pace = Pace(
            round((events - before.events) / seconds, 3), round((size - before.size) / seconds, 1)
        )
        self._looks[number] = _Look(now, events, size, pace)
        return pace

    def forget_old(self, now: float) -> None:
        """Forgets whom nobody has looked at for a while."""
        if any(now - look.at >= _KEPT_SECONDS for look in self._looks.values()):
            self._looks = {
                number: look
                for number, look in self._looks.items()
                if now - look.at < _KEPT_SECONDS
            }
