"""Publishes numbered and timed events: at once, or at a rate against the clock."""

import asyncio
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from benchmarks.load.viewers import Viewers
from benchmarks.systems.system import Running

__all__ = ["Producer"]

_TICKS_PER_SECOND: Final = 200
"""Events due within one tick are published together: a rate of 5,000/s is 25 at a time."""
_AT_ONCE: Final = 500
"""Events handed to the system at a time where all are due: no request of megabytes."""
_WARM_SECONDS: Final = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
"""How long an event may take to all viewers until another is published, while warming."""


class Producer:
    """The publisher of a scenario's events, which viewers know by number and time.

    Attributes:
        late_seconds: how far behind its schedule `pace` was at worst.
    """

    def __init__(self, running: Running, data_bytes: int) -> None:
        self._running = running
        self._data_bytes = data_bytes
        self._padding = b"x" * data_bytes
        self._next: dict[str, int] = {}
        self.late_seconds = 0.0

    def last(self, run: str) -> int:
        """The number of the run's newest event."""
        return self._next[run] - 1

    async def publish(self, runs: Iterable[str]) -> None:
        """Publishes an event to each of these runs, in this order, as quickly as possible."""
        remaining = list(runs)
        for start in range(0, len(remaining), _AT_ONCE):
            batch = remaining[start : start + _AT_ONCE]
            await self._running.publish([(run, self._data(run)) for run in batch])

    async def begin(self, runs: Sequence[str]) -> None:
        """Publishes the first event of each run, before viewers come.

        Not every system lets one watch a run that has not begun.
        """
        await self.publish(runs)

    async def pace(self, runs: Iterator[str], per_second: int, seconds: float) -> int:
        """Publishes to the next of `runs` so often per second, for so long; says how many.

        When each is due is fixed from the beginning: whoever is late catches up, and the delay is
        kept in `late_seconds`. An event's time is when it was really published.
        """
        total = round(per_second * seconds)
        began = time.monotonic()
        published = 0
        while published < total:
            tick = -(-published * _TICKS_PER_SECOND // per_second)
            due_at = began + tick / _TICKS_PER_SECOND
            await asyncio.sleep(max(0.0, due_at - time.monotonic()))
            now = time.monotonic()
            self.late_seconds = max(self.late_seconds, now - due_at)
            tick = max(tick, int((now - began) * _TICKS_PER_SECOND))
            due = min(total, 1 + tick * per_second // _TICKS_PER_SECOND)
            await self.publish([next(runs) for _ in range(due - published)])
            published = due
        return published

    async def warm(self, viewers: Viewers, group: str, runs: Sequence[str]) -> None:
        """Publishes to each of these runs until its newest event has arrived with all of `group`.

        Not every system takes a viewer in before it answers: what is published too early is lost
        there, and was not promised.

        Raises:
            TimeoutError: none has arrived with all.
        """
        for seconds in _WARM_SECONDS:
            await self.publish(runs)
            try:
                await viewers.until(group, max(self.last(run) for run in runs), within=seconds)
            except TimeoutError:
                if seconds == _WARM_SECONDS[-1]:
                    raise
            else:
                return

    def _data(self, run: str) -> bytes:
        number = self._next.get(run, 0)
        self._next[run] = number + 1
        known = b'{"n":%d,"t":%d,"pad":"' % (number, time.monotonic_ns())
        return b'%s%s"}' % (known, self._padding[: self._data_bytes - len(known) - 2])
