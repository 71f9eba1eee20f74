"""How fast events are taken: token buckets. Pure: the time is passed in."""

from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from broker.wire.ids import RunId

__all__ = ["Bucket", "Rates"]

_RUNS_KEPT: Final = 10_000
"""The process' own bucket bounds what those together may do whose own was forgotten."""


class Bucket:
    """Fills up evenly; may be emptied into debt, which has to be made up for first.

    So a batch of any size goes through, and the rate holds all the same.
    """

    __slots__ = ("_at", "_level", "_most", "_rate")

    def __init__(self, per_second: float, now: float) -> None:
        """
        Args:
            per_second: the rate, and what may be taken at once by who has taken nothing for long.
            now: the time, in seconds.
        """
        self._rate = per_second
        self._most = max(1.0, per_second)
        self._level = self._most
        self._at = now

    def wait_seconds(self, now: float) -> float:
        """How long until something may be taken; zero if it may be now."""
        return max(0.0, (1.0 - self._fill(now)) / self._rate)

    def take(self, count: int, now: float) -> None:
        """Takes so many."""
        self._level = self._fill(now) - count

    def _fill(self, now: float) -> float:
        self._level = min(self._most, self._level + (now - self._at) * self._rate)
        self._at = now
        return self._level


class Rates:
    """The buckets of this process: one for all, and one for each run."""

    def __init__(
        self, *, per_second: float, run_per_second: float, clock: Callable[[], float]
    ) -> None:
        """
        Args:
            per_second: events of all runs together.
            run_per_second: events of one run.
            clock: monotonic seconds.
        """
        self._clock = clock
        self._run_rate = run_per_second
        self._all = Bucket(per_second, clock())
        self._runs: OrderedDict[RunId, Bucket] = OrderedDict()

    def wait_seconds(self, run_id: RunId | None) -> float:
        """How long until an event may be taken, for this run or for none yet."""
        now = self._clock()
        wait = self._all.wait_seconds(now)
        if run_id is None:
            return wait
        return max(wait, self._run(run_id, now).wait_seconds(now))

    def take(self, run_id: RunId | None, count: int) -> None:
        """Takes note of so many."""
        now = self._clock()
        self._all.take(count, now)
        if run_id is not None:
            self._run(run_id, now).take(count, now)

    def _run(self, run_id: RunId, now: float) -> Bucket:
        bucket = self._runs.get(run_id)
        if bucket is None:
            bucket = self._runs[run_id] = Bucket(self._run_rate, now)
            if len(self._runs) > _RUNS_KEPT:
                self._runs.popitem(last=False)
        self._runs.move_to_end(run_id)
        return bucket
