"""The window: a feed's newest frames, in order, bounded by bytes.

It covers the positions from `head` (the id before its first frame) to `end` (the id of its last);
anything below `head` has to be read from Redis.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from operator import attrgetter
from typing import Final

from broker.engine.delivery import Batch
from broker.wire.frame import Frame
from broker.wire.ids import StreamId

__all__ = ["Window", "WindowBudget"]

_FRAME_OVERHEAD: Final = 200
"""Bytes that a frame costs in memory besides its wire form, roughly: objects, id, list slot."""
_ID: Final = attrgetter("id")


class WindowBudget:
    """The bytes that all windows together may hold.

    Above it, whichever window went longest without news gives up all but its newest frame: its
    viewers are the least likely to be behind.
    """

    def __init__(self, limit_bytes: int) -> None:
        self.used = 0
        self._limit = limit_bytes
        self._by_news: dict[Window, None] = {}

    def grew(self, window: "Window", size: int) -> None:
        """Counts what `window` has just taken, net of what it has let go."""
        self.used += size
        self._by_news.pop(window, None)
        self._by_news[window] = None
        while self.used > self._limit and self._by_news:
            oldest = next(iter(self._by_news))
            # It comes back with its next news; until then it has nothing more to give.
            del self._by_news[oldest]
            self.used -= oldest.shrink()

    def left(self, window: "Window", size: int) -> None:
        """Counts that `window` has let go of everything."""
        self.used -= size
        self._by_news.pop(window, None)


class Window:
    """Frames after `head`, up to and with `end`."""

    __slots__ = ("_budget", "_bytes", "_frames", "_gone", "_limit", "_sealed", "end", "head")

    def __init__(self, position: StreamId, limit_bytes: int, budget: WindowBudget) -> None:
        self.head = position
        self.end = position
        self._limit = limit_bytes
        self._budget = budget
        self._frames: list[Frame] = []
        # How many at the list's beginning were let go: a list gives its beginning up in one move
        # of all the rest, so that is done for many at a time.
        self._gone = 0
        self._bytes = 0
        self._sealed = False

    @property
    def first(self) -> StreamId | None:
        """The id of the oldest frame."""
        return self._frames[self._gone].id if self._frames else None

    def append(self, frames: Sequence[Frame]) -> None:
        """Takes `frames`, which follow `end`, and lets go of the oldest above the limit.

        The newest frame is always kept: a reconnect to it must not need Redis.
        """
        if not frames:
            return
        before = self._bytes
        self._frames += frames
        self._bytes += sum(map(_cost, frames))
        self.end = frames[-1].id
        self._shrink_to(self._limit)
        self._budget.grew(self, self._bytes - before)

    def shrink(self) -> int:
        """Lets go of all but the newest frame; returns the bytes that are free now."""
        before = self._bytes
        self._shrink_to(0)
        return before - self._bytes

    def restart(self, position: StreamId, *, sealed: bool = False) -> None:
        """Forgets everything; what comes next follows `position`.

        Args:
            position: the head and the end.
            sealed: there is something to be said between it and what comes next, which is found
                by reading from Redis: so the window does not cover its head.
        """
        self._sealed = sealed
        self._budget.left(self, self._bytes)
        self._frames.clear()
        self._gone = 0
        self._bytes = 0
        self.head = self.end = position

    def covers(self, position: StreamId) -> bool:
        """Whether what follows `position` can be served from here, and provably without a hole.

        Only a position that the window knows is proven; one between two ids is not.
        """
        if position == self.head:
            return not self._sealed
        if position == self.end:
            return True
        index = bisect_left(self._frames, position, lo=self._gone, key=_ID)
        return index < len(self._frames) and self._frames[index].id == position

    def following(self, position: StreamId) -> StreamId | None:
        """The id of the first frame after `position`; `None` if there is none."""
        index = bisect_right(self._frames, position, lo=self._gone, key=_ID)
        return self._frames[index].id if index < len(self._frames) else None

    def read(self, after: StreamId, max_bytes: int) -> Batch | None:
        """What follows `after`; `None` if that is nothing, or the window does not cover it."""
        return self.tail(after, max_bytes) if self.covers(after) else None

    def tail(self, after: StreamId, max_bytes: int) -> Batch | None:
        """What follows `after`, about `max_bytes` at most; `None` if that is nothing.

        For positions at or above `head` that are proven elsewhere.
        """
        start = bisect_right(self._frames, after, lo=self._gone, key=_ID)
        size = 0
        for index in range(start, len(self._frames)):
            size += len(self._frames[index].wire)
            if index > start and size > max_bytes:
                return Batch(self._frames[start:index])
        return Batch(self._frames[start:]) if start < len(self._frames) else None

    def _shrink_to(self, limit: int) -> None:
        gone, last = self._gone, len(self._frames) - 1
        while self._bytes > limit and gone < last:
            self._bytes -= _cost(self._frames[gone])
            gone += 1
        if gone == self._gone:
            return
        self.head = self._frames[gone - 1].id
        self._sealed = False
        self._gone = gone
        if gone * _GONE_SHARE >= len(self._frames):
            del self._frames[:gone]
            self._gone = 0


_GONE_SHARE: Final = 8
"""One in so many of a window's frames may be kept although it was let go."""


def _cost(frame: Frame) -> int:
    return len(frame.wire) + _FRAME_OVERHEAD
