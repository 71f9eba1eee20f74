"""The hub's promises to viewers, over a log that is a list. Real Redis: tests/integration."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from broker.engine.delivery import View
from broker.engine.ending import Ending
from broker.engine.hub import Follower, Hub, Opening
from broker.engine.limits import Limits
from broker.engine.log import Failover, LogUnavailable, NotAStream, StreamInfo
from broker.engine.stats import Stats
from broker.engine.subscriber import State, Subscriber
from broker.wire.event import Event
from broker.wire.gap import GapReason
from broker.wire.ids import START, RunId, StreamId
from broker.wire.request import Beginning, Latest, Newest, Resume, Start
from tests.support.waiting import eventually
from tests.unit.test_subscriber import SinkOnPaper, numbers, types

RUN = RunId("r")


def at(number: int) -> StreamId:
    return StreamId(number, 0)


@dataclass
class ListLog:
    """One run's stream, as a list that a test changes."""

    events: list[Event] = field(default_factory=list)
    added: int = 0
    reads: int = 0
    failure: Exception | None = None
    held: asyncio.Event | None = None
    failures: list[Failover] = field(default_factory=list)

    def failovers(self, run_id: RunId) -> Sequence[Failover]:
        return self.failures

    def append(self, *numbers: int, final: bool = False) -> None:
        self.events += [Event(at(number), "chunk", b"{}", final) for number in numbers]
        self.added += len(numbers)

    def trim(self, kept: int) -> None:
        del self.events[:-kept]

    async def read(self, run_id: RunId, after: StreamId, count: int) -> Sequence[Event]:
        self.reads += 1
        await self._answer()
        return [event for event in self.events if event.id > after][:count]

    async def read_many(
        self, after: Mapping[RunId, StreamId], count: int
    ) -> Mapping[RunId, Sequence[Event]]:
        return {run_id: await self.read(run_id, each, count) for run_id, each in after.items()}

    async def newest(self, run_id: RunId, count: int, before: StreamId | None) -> list[StreamId]:
        await self._answer()
        found = [event.id for event in self.events if before is None or event.id < before]
        return found[::-1][:count]

    async def info(self, run_id: RunId) -> StreamInfo | None:
        await self._answer()
        if not self.added:
            return None
        return StreamInfo(
            length=len(self.events),
            last_generated=self.events[-1].id,
            first_event=self.events[0],
            last_event=self.events[-1],
            max_deleted=START,
            added=self.added,
        )

    async def _answer(self) -> None:
        if self.held is not None:
            await self.held.wait()
        if self.failure is not None:
            raise self.failure


class TailOnPaper:
    """Remembers what is watched; a test says when something is new."""

    def __init__(self) -> None:
        self.watched: list[RunId] = []

    def attach(self, follower: Follower) -> None:
        self.follower = follower

    def watch(self, run_id: RunId) -> None:
        self.watched.append(run_id)

    def unwatch(self, run_id: RunId) -> None:
        if run_id in self.watched:
            self.watched.remove(run_id)


@dataclass
class Stage:
    log: ListLog
    tail: TailOnPaper
    hub: Hub
    now: list[float]

    async def connect(
        self, start: Start, view: View | None = None
    ) -> tuple[Subscriber, SinkOnPaper]:
        sink = SinkOnPaper()
        opening = await self.hub.open(RUN, start)
        return self.admit(opening, sink, view), sink

    def admit(self, opening: Opening, sink: SinkOnPaper, view: View | None = None) -> Subscriber:
        subscriber = self.hub.subscriber(opening, sink, view or View())
        self.hub.admit(subscriber, b"")
        return subscriber

    async def settled(self, subscriber: Subscriber) -> None:
        await eventually(lambda: subscriber.state is not State.REPLAYING)


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    async with make_stage() as made:
        yield made


@asynccontextmanager
async def make_stage(**limits: float) -> AsyncIterator[Stage]:
    log, tail, now = ListLog(), TailOnPaper(), [0.0]
    clock: Callable[[], float] = lambda: now[0]  # noqa: E731
    hub = Hub(
        log,
        tail,
        Limits(heartbeat_seconds=0.04, retry_backoff_seconds=0.001, **limits),  # type: ignore[arg-type]
        Stats(),
        clock=clock,
        wall_ms=lambda: 0,
        random_source=random.Random(1),
    )
    async with hub:
        yield Stage(log, tail, hub, now)


async def test_replay_then_live(stage: Stage) -> None:
    stage.log.append(1, 2, 3)
    subscriber, sink = await stage.connect(Resume(at(1)))
    await stage.settled(subscriber)
    assert subscriber.state is State.LIVE
    stage.log.append(4)
    await stage.hub.advance([RUN])
    assert numbers(sink) == [2, 3, 4]


async def test_what_all_want_is_read_once(stage: Stage) -> None:
    stage.log.append(*range(1, 20))
    await stage.hub.open(RUN, Latest())
    stage.log.held = asyncio.Event()
    before = stage.log.reads
    viewers = [await stage.connect(Beginning()) for _ in range(50)]
    await asyncio.sleep(0)
    stage.log.held.set()
    for subscriber, sink in viewers:
        await stage.settled(subscriber)
        assert len(numbers(sink)) == 19
    assert stage.log.reads == before + 1
    assert stage.hub.stats.pages_shared == 49


async def test_who_comes_later_needs_no_read(stage: Stage) -> None:
    stage.log.append(*range(1, 20))
    await stage.hub.open(RUN, Latest())
    first, _ = await stage.connect(Beginning())
    await stage.settled(first)
    reads = stage.log.reads
    later, sink = await stage.connect(Beginning())
    assert later.state is State.LIVE
    assert numbers(sink) == list(range(1, 20))
    assert stage.log.reads == reads
    assert stage.hub.stats.memory_hits == 1


async def test_what_was_kept_of_a_run_is_void_when_it_begins_anew(stage: Stage) -> None:
    stage.log.append(*range(1, 20))
    first, _ = await stage.connect(Beginning())
    await stage.settled(first)
    stage.log.events.clear()
    stage.log.added = 0
    stage.log.append(3, 4)
    await stage.hub.advance([RUN])
    _, sink = await stage.connect(Beginning())
    assert numbers(sink) == [3, 4]


async def test_a_cursor_from_a_faster_edge_is_not_from_the_future(stage: Stage) -> None:
    """The viewer has seen 3 elsewhere; the feed here still stands at 2."""
    stage.log.append(1, 2)
    await stage.connect(Beginning())
    stage.log.append(3)
    subscriber, sink = await stage.connect(Resume(at(3)))
    await stage.settled(subscriber)
    assert "runcast.gap" not in types(sink)
    stage.log.append(4)
    await stage.hub.advance([RUN])
    assert numbers(sink) == [4]


async def test_what_follows_a_cursor_from_a_faster_edge_is_served(stage: Stage) -> None:
    """The feed here finds more than the viewer has seen elsewhere."""
    stage.log.append(1, 2)
    await stage.connect(Latest())
    stage.log.append(3, 4, 5)
    subscriber, sink = await stage.connect(Resume(at(3)))
    await stage.settled(subscriber)
    assert numbers(sink) == [4, 5]


async def test_a_cursor_from_the_future_is_a_reset(stage: Stage) -> None:
    stage.log.append(1, 2)
    subscriber, sink = await stage.connect(Resume(at(9)))
    await stage.settled(subscriber)
    assert numbers(sink) == [1, 2]
    assert stage.hub.stats.gaps[GapReason.RESET] == 1


async def test_the_newest_of_a_feed_that_is_behind(stage: Stage) -> None:
    stage.log.append(1, 2, 3)
    await stage.hub.open(RUN, Latest())
    stage.log.append(4, 5, 6, 7)
    subscriber, sink = await stage.connect(Newest(2))
    await stage.settled(subscriber)
    await stage.hub.advance([RUN])
    # More than was asked for, since the feed stood at 3; never less, and none twice.
    assert numbers(sink) == [4, 5, 6, 7]


async def test_a_viewer_who_is_late_finds_their_feed_let_go() -> None:
    """The run was let go between the look at it and the first byte: it is watched again."""
    async with make_stage(linger_seconds=5) as stage:
        stage.log.append(1)
        opening = await stage.hub.open(RUN, Resume(at(1)))
        stage.now[0] = 10
        await eventually(lambda: stage.hub.feed_count == 0)
        assert stage.tail.watched == []
        stage.log.append(2)
        sink = SinkOnPaper()
        stage.admit(opening, sink)
        assert stage.tail.watched == [RUN]
        await stage.hub.advance([RUN])
        assert numbers(sink) == [2]


async def test_a_replay_waits_for_a_log_that_is_away(stage: Stage) -> None:
    stage.log.append(1, 2, 3)
    opening = await stage.hub.open(RUN, Resume(at(1)))
    stage.log.failure = LogUnavailable()
    sink = SinkOnPaper()
    subscriber = stage.admit(opening, sink)
    before = stage.log.reads
    await eventually(lambda: stage.log.reads > before + 3)
    assert subscriber.state is State.REPLAYING
    stage.log.failure = None
    await stage.settled(subscriber)
    assert numbers(sink) == [2, 3]


async def test_a_defect_ends_one_stream_and_is_said(stage: Stage) -> None:
    stage.log.append(1, 2)
    other, _ = await stage.connect(Latest())
    opening = await stage.hub.open(RUN, Resume(at(1)))
    stage.log.failure = RuntimeError("a defect")
    subscriber = stage.admit(opening, SinkOnPaper())
    await stage.settled(subscriber)
    assert subscriber.ending is Ending.ERROR
    assert other.state is State.LIVE
    assert stage.hub.healthy


async def test_a_key_that_becomes_something_else_ends_the_streams(stage: Stage) -> None:
    stage.log.append(1)
    subscriber, sink = await stage.connect(Latest())
    stage.log.failure = NotAStream()
    await stage.hub.advance([RUN])
    assert subscriber.ending is Ending.NOT_A_STREAM
    assert sink.finished
    assert stage.hub.feed_count == 0


async def test_an_ended_run_is_not_watched_and_is_looked_at_anew(stage: Stage) -> None:
    stage.log.append(1)
    await stage.connect(Latest())
    stage.log.append(2, final=True)
    await stage.hub.advance([RUN])
    assert stage.tail.watched == []
    assert (await stage.hub.open(RUN, Resume(at(2)))).over
    # It is the same id, but another run: the old end is not its.
    stage.log.events.clear()
    stage.log.append(7)
    opening = await stage.hub.open(RUN, Beginning())
    assert opening.feed.final is None
    assert stage.tail.watched == [RUN]


async def test_many_from_a_faster_edge_share_the_look(stage: Stage) -> None:
    stage.log.append(1)
    await stage.connect(Latest())
    stage.log.append(2)
    stage.log.held = asyncio.Event()
    reads = stage.log.reads
    viewers = [await stage.connect(Resume(at(2))) for _ in range(10)]
    await asyncio.sleep(0)
    stage.log.held.set()
    for subscriber, _ in viewers:
        await stage.settled(subscriber)
        assert subscriber.state is State.LIVE
    # One page for all, which is beyond the feed, and one look of the feed for all.
    assert stage.log.reads <= reads + 2


async def test_a_look_that_was_asked_for_later_is_a_new_one(stage: Stage) -> None:
    """One that was under way may have missed what the second caller knows of."""
    stage.log.append(1)
    _, sink = await stage.connect(Latest())
    stage.log.held = asyncio.Event()
    first = asyncio.create_task(stage.hub.advance([RUN]))
    await asyncio.sleep(0)
    second = asyncio.create_task(stage.hub.advance([RUN]))
    await asyncio.sleep(0)
    stage.log.append(2)
    stage.log.held.set()
    await asyncio.gather(first, second)
    assert numbers(sink) == [2]


async def test_a_run_with_much_news_takes_its_turn() -> None:
    async with make_stage(page_events=3) as stage:
        stage.log.append(1)
        _, sink = await stage.connect(Latest())
        stage.log.append(*range(2, 10))
        assert await stage.hub.advance([RUN]) == [RUN]
        assert numbers(sink) == [2, 3, 4]
        assert await stage.hub.advance([RUN]) == [RUN]
        assert await stage.hub.advance([RUN]) == []
        assert numbers(sink) == list(range(2, 10))


async def test_the_engine_ends_everyone_it_serves() -> None:
    async with make_stage() as stage:
        stage.log.append(1)
        subscriber, sink = await stage.connect(Latest())
    assert subscriber.ending is Ending.DRAIN
    assert sink.finished


async def test_a_look_at_the_cursor_costs_no_read_of_its_own(stage: Stage) -> None:
    stage.log.append(1, 2, 3, 4)
    opening = await stage.hub.open(RUN, Resume(at(2)))
    before = stage.log.reads
    assert not await stage.hub.ends_at(opening)
    sink = SinkOnPaper()
    viewer = stage.admit(opening, sink)
    await stage.settled(viewer)
    assert numbers(sink) == [3, 4]
    assert stage.log.reads == before + 1


async def test_a_cursor_at_a_terminal_event_that_others_follow_is_at_the_end(stage: Stage) -> None:
    stage.log.append(1)
    stage.log.append(2, final=True)
    stage.log.append(3)
    assert await stage.hub.ends_at(await stage.hub.open(RUN, Resume(at(2))))
    assert not await stage.hub.ends_at(await stage.hub.open(RUN, Resume(at(1))))
