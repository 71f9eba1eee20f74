"""The made-up agent: plays one story after the other, each as a run of its own.

It is a producer like any other: what it knows of the broker is how to append an event, and how to
find out whether an append that was not acknowledged has happened.
"""

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, Final, Protocol

import orjson
import structlog

from broker.demo.script import play
from broker.demo.stories import STORIES, Story
from broker.engine.cancelling import cancel
from broker.engine.log import LogUnavailable, NotAStream
from broker.redis.persistence import AppendError
from broker.wire.event import Event
from broker.wire.ids import START, RunId, StreamId

__all__ = ["INDEX_RUN", "Agent", "PlannedRun", "Producer", "Reader"]

logger = structlog.get_logger("runcast.demo")

INDEX_RUN: Final = RunId("demo-runs")
"""The run that announces the others. It never ends."""

_RETRY_SECONDS: Final = 2.0
_BETWEEN_RUNS_SECONDS: Final = 7.0
"""Long enough for a browser to reconnect after the end, and to learn that there is no more."""
_LOOK_BACK_EVENTS: Final = 1000


class Producer(Protocol):
    """Appends events; see `broker.redis.publisher.Publisher`."""

    async def publish(self, run_id: RunId, event_type: str, data: str) -> StreamId:
        """Appends one event; raises `AppendError` where that is not certain."""


class Reader(Protocol):
    """Reads events; see `broker.engine.log.Log`."""

    async def read(self, run_id: RunId, after: StreamId, count: int) -> Sequence[Event]:
        """Up to `count` events after `after`; raises `LogUnavailable` or `NotAStream`."""


@dataclass(frozen=True, slots=True)
class PlannedRun:
    """A run that the agent plays, or is about to."""

    run_id: RunId
    story: Story


class Agent:
    """Makes runs for as long as it is at work."""

    def __init__(
        self,
        producer: Producer,
        reader: Reader,
        *,
        random_source: Random,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        """
        Args:
            producer: appends the events.
            reader: reads them back where an append was not acknowledged.
            random_source: for run ids and for the pace.
            sleep: waits for a number of seconds.
        """
        self._producer = producer
        self._reader = reader
        self._random = random_source
        self._sleep = sleep
        self._stories = itertools.cycle(STORIES)
        self._announced = START
        self.current = self._plan()
        """The run that is played now or next."""

    @contextlib.asynccontextmanager
    async def at_work(self) -> AsyncIterator[None]:
        """Works while the context lasts."""
        task = asyncio.create_task(self._work(), name="demo agent")
        try:
            yield
        finally:
            await cancel([task])

    async def run(self) -> None:
        """Plays runs until it is cancelled."""
        while True:
            await self._play(self.current)
            self.current = self._plan()
            await self._sleep(_BETWEEN_RUNS_SECONDS)

    async def _work(self) -> None:
        try:
            await self.run()
        except Exception:
            # The edge goes on without it; nobody else would say why the page stands still.
            logger.exception("the demo's agent has stopped")

    def _plan(self) -> PlannedRun:
        story = next(self._stories)
        return PlannedRun(RunId(f"{story.slug}-{self._random.getrandbits(32):08x}"), story)

    async def _play(self, planned: PlannedRun) -> None:
        run_id = planned.run_id
        await self._announce("run_started", {"run_id": run_id, "title": planned.story.title})
        position = START
        for step in play(planned.story, self._random):
            await self._sleep(step.delay_seconds)
            position = await self._append(run_id, step.type, step.data, position)
        await self._announce("run_ended", {"run_id": run_id, "state": planned.story.outcome})

    async def _announce(self, event_type: str, data: dict[str, Any]) -> None:
        self._announced = await self._append(INDEX_RUN, event_type, data, self._announced)

    async def _append(
        self, run_id: RunId, event_type: str, data: dict[str, Any], after: StreamId
    ) -> StreamId:
        """Appends the event once, however often Redis has to be asked.

        Where no answer came, the event may be there all the same, and a second one would be a
        double. What follows `after`, the run's last acknowledged event, tells.
        """
        document = orjson.dumps(data)
        unsure = False
        while True:
            try:
                found = await self._find(run_id, document, after) if unsure else None
                return found or await self._producer.publish(run_id, event_type, document.decode())
            except (AppendError, LogUnavailable, NotAStream) as error:
                unsure = True
                logger.warning(
                    "the demo's event was not acknowledged",
                    run=run_id,
                    error=str(error) or type(error).__name__,
                    next_try_seconds=_RETRY_SECONDS,
                )
                await self._sleep(_RETRY_SECONDS)

    async def _find(self, run_id: RunId, document: bytes, after: StreamId) -> StreamId | None:
        for event in await self._reader.read(run_id, after, _LOOK_BACK_EVENTS):
            if event.data == document:
                return event.id
        return None
