"""Ends runs whose worker is gone, so that their viewers need not wait for what never comes.

Only of runs that are watched here: of others nobody waits for the end, and it is made up for when
somebody comes. Every edge does it; one script on Redis sees to it that a run ends once.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Protocol, Self

import structlog
from redis.exceptions import RedisError

from broker.edge.publishing.stats import PublishingStats
from broker.engine.backoff import backoff_seconds
from broker.engine.cancelling import cancel
from broker.redis.connections import describe
from broker.redis.deployment import Deployment
from broker.redis.leases import Leases, LeaseState
from broker.redis.streams import Streams
from broker.wire.event import EventFormat
from broker.wire.ids import START, RunId, StreamId

__all__ = ["LeasesOfAll", "LostRuns", "Plan", "WatchedRuns"]

logger = structlog.get_logger("runcast.leases")

TICK_SECONDS: Final = 0.5
"""How late a look may be."""
_LOOKS: Final = 8
"""At a time."""
_MARGIN_SECONDS: Final = 0.05
"""After a lease: who asks too early only has to ask again."""
_FAILURE_LONGEST_SECONDS: Final = 10.0


class WatchedRuns(Protocol):
    """The runs that somebody watches here; the hub."""

    @property
    def unfinished(self) -> Iterable[RunId]:
        """Those that have not ended."""

    def position(self, run_id: RunId) -> StreamId | None:
        """How far the run's events have come."""


@dataclass(slots=True)
class _Entry:
    due: float
    begun: bool = False
    """Whether the run had events when it was looked at."""
    failures: int = 0


class Plan:
    """Which run is looked at when. Pure: the time is passed in.

    A run is looked at when it comes to be watched, when its lease runs out, and where it has none,
    when it begins, and rarely from then on.
    """

    def __init__(self, rarely_seconds: float, random_source: random.Random) -> None:
        """
        Args:
            rarely_seconds: how often, where there is no lease.
            random_source: so that not all are looked at in the same moment.
        """
        self._rarely = rarely_seconds
        self._random = random_source
        self._entries: dict[RunId, _Entry] = {}
        self._failing: set[RunId] = set()

    def __len__(self) -> int:
        """How many runs it knows."""
        return len(self._entries)

    @property
    def failing(self) -> bool:
        """Whether there are runs whose last look has come to nothing."""
        return bool(self._failing)

    def due(self, runs: WatchedRuns, now: float) -> list[RunId]:
        """Which of these are to be looked at now. Those that are not among them are forgotten."""
        known, self._entries = self._entries, {}
        due = []
        for run_id in runs.unfinished:
            entry = known.get(run_id)
            if entry is None:
                entry = _Entry(now)
            self._entries[run_id] = entry
            if not entry.begun and runs.position(run_id) != START:
                entry.begun = True
                entry.due = now
            if entry.due <= now:
                due.append(run_id)
        self._failing &= self._entries.keys()
        return due

    def saw(self, run_id: RunId, state: LeaseState, now: float) -> None:
        """What a look has shown."""
        if (entry := self._entries.get(run_id)) is None:
            return
        entry.failures = 0
        self._failing.discard(run_id)
        if state.seconds is None:
            entry.due = now + self._random.uniform(0.75, 1.25) * self._rarely
        else:
            entry.due = now + state.seconds + _MARGIN_SECONDS

    def failed(self, run_id: RunId, now: float) -> None:
        """A look has come to nothing."""
        if (entry := self._entries.get(run_id)) is None:
            return
        entry.failures += 1
        self._failing.add(run_id)
        entry.due = now + backoff_seconds(
            entry.failures,
            base=TICK_SECONDS,
            longest=_FAILURE_LONGEST_SECONDS,
            random_source=self._random,
        )


class LostRuns:
    """One task for all runs. Use it as an async context manager."""

    def __init__(
        self,
        runs: WatchedRuns,
        end_if_lost: Callable[[RunId], Awaitable[LeaseState]],
        stats: PublishingStats,
        *,
        rarely_seconds: float,
        clock: Callable[[], float],
        random_source: random.Random,
    ) -> None:
        """
        Args:
            runs: the hub.
            end_if_lost: looks at a run's lease, and ends the run where that has run out; raises
                `RedisError` or `OSError`.
            stats: where to count.
            rarely_seconds: how often runs without a lease are looked at.
            clock: monotonic seconds.
            random_source: for jitter.
        """
        self._runs = runs
        self._end_if_lost = end_if_lost
        self._stats = stats
        self._clock = clock
        self._plan = Plan(rarely_seconds, random_source)
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._keep_looking(), name="lost runs")
        self._task.add_done_callback(_report)
        return self

    async def __aexit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._task is not None:
            await cancel([self._task])

    async def _keep_looking(self) -> None:
        while True:
            due = self._plan.due(self._runs, self._clock())
            for start in range(0, len(due), _LOOKS):
                async with asyncio.TaskGroup() as looks:
                    for run_id in due[start : start + _LOOKS]:
                        looks.create_task(self._look(run_id))
            await asyncio.sleep(TICK_SECONDS)

    async def _look(self, run_id: RunId) -> None:
        try:
            state = await self._end_if_lost(run_id)
        except (RedisError, OSError, TimeoutError) as error:
            if not self._plan.failing:
                # Once for each outage: every run's look fails in it.
                logger.warning("leases can't be looked at", run=run_id, error=describe(error))
            self._plan.failed(run_id, self._clock())
            return
        except Exception:
            # What is wrong with one run must not keep the viewers of others waiting.
            logger.exception("lease not understood", run=run_id)
            self._plan.failed(run_id, self._clock())
            return
        failed_before = self._plan.failing
        self._plan.saw(run_id, state, self._clock())
        if failed_before and not self._plan.failing:
            logger.info("leases can be looked at again")
        if state.by_us:
            self._stats.lost_runs += 1
            logger.info("lost run ended", run=run_id, final=str(state.ended))


class LeasesOfAll:
    """The leases of runs by their address (see `Catalogue`): what ends a run is its profile's."""

    def __init__(self, deployment: Deployment, streams: Streams) -> None:
        """
        Args:
            deployment: where the runs are.
            streams: their keys, and how they are read.
        """
        self._deployment = deployment
        self._streams = streams
        self._leases: dict[EventFormat, Leases] = {}

    async def end_if_lost(self, address: RunId) -> LeaseState:
        """See `Leases.end_if_lost`."""
        events = self._streams.events(address)
        leases = self._leases.get(events)
        if leases is None:
            leases = self._leases[events] = Leases(self._deployment, self._streams, events)
        return await leases.end_if_lost(address)


def _report(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        logger.error("lost runs are not looked for any more", exc_info=error)
