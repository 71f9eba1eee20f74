"""What the model (tests/model) and the planted bugs (tests/mutations) have found, each as the
shortest story that shows it."""

import asyncio
import gc
import json
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from broker.engine.cancelling import cancel
from broker.engine.continuity import Hole, Verdict, judge
from broker.engine.ending import Ending
from broker.engine.limits import Limits
from broker.engine.log import StreamInfo
from broker.engine.page import Page, PageReader
from broker.engine.replay import Replay
from broker.engine.stats import Stats
from broker.wire.event import Event
from broker.wire.gap import Gap, GapReason
from broker.wire.ids import START, RunId, StreamId
from broker.wire.request import Beginning, Latest, Resume, Since
from tests.unit.test_hub import RUN, ListLog, make_stage
from tests.unit.test_hub import Stage as HubStage
from tests.unit.test_subscriber import SinkOnPaper, Stage, at, event, numbers, seen, types


@pytest.fixture
async def stage() -> AsyncIterator[HubStage]:
    async with make_stage() as made:
        yield made


def test_a_run_that_begins_anew_takes_nothing_from_who_has_nothing() -> None:
    stage = Stage(5, 6, position=4)
    subscriber, sink = stage.join(0)
    assert subscriber.lenient
    gap = Gap(at(6), at(2), GapReason.RESET)
    stage.apply(Page(at(6), START, (event(2), event(3)), gap))
    assert "runcast.gap" not in types(sink)
    assert numbers(sink) == [2, 3]
    # And whatever is first will still do.
    assert subscriber.lenient


def test_a_neighbouring_id_does_not_make_another_stream_the_same() -> None:
    """The viewer has 5-1 of a run that was deleted; the one in its place has 3-0, 5-2 and 6-0."""
    entries = [Event(StreamId(*one), "", b"{}") for one in ((3, 0), (5, 2), (6, 0))]
    info = StreamInfo(3, entries[-1].id, entries[0], entries[-1], max_deleted=START, added=3)
    verdict = judge(StreamId(5, 1), StreamId(5, 2), info)
    assert verdict == Hole(GapReason.RESET, START)


def test_who_is_live_is_not_left_behind_at_an_end_that_was_passed() -> None:
    """Another run has the place of this one, and its terminal event is below where they stand."""
    stage = Stage(position=9)
    subscriber, sink = stage.join(9)
    stage.apply(Page(at(9), at(9), (), ended=True))
    assert subscriber.ending is Ending.TERMINAL
    assert sink.finished


def test_the_bookkeeping_of_another_stream_says_nothing_of_the_first_event() -> None:
    """3-0 was read as the first of a trimmed run, which was replaced before XINFO was answered."""
    anew = Event(StreamId(9, 0), "", b"{}")
    info = StreamInfo(1, anew.id, anew, anew, max_deleted=START, added=1)
    assert judge(START, StreamId(3, 0), info) is Verdict.READ_AGAIN


async def test_a_late_read_of_an_ended_run_does_not_unwatch_the_one_in_its_place(
    stage: HubStage,
) -> None:
    stage.log.append(1)
    await stage.connect(Latest())
    stage.log.append(2, final=True)
    holds = [asyncio.Event(), asyncio.Event()]
    reads = []
    for hold in holds:
        stage.log.held = hold
        reads.append(asyncio.create_task(stage.hub.advance([RUN])))
        await asyncio.sleep(0)
    holds[0].set()
    await reads[0]
    assert stage.tail.watched == []
    stage.log.held = None
    stage.log.events.clear()
    stage.log.append(7)
    await stage.connect(Beginning())
    assert stage.tail.watched == [RUN]
    holds[1].set()
    await reads[1]
    assert stage.tail.watched == [RUN]


async def test_two_runs_are_not_served_as_one(stage: HubStage) -> None:
    """The run was replaced, and its feed has yet to notice: 8 to 10 are not this one's."""
    stage.log.append(8, 9)
    await stage.connect(Latest())
    stage.log.append(10)
    await stage.hub.advance([RUN])
    stage.log.events.clear()
    stage.log.added = 0
    stage.log.append(1, 2, 3)
    viewer, sink = await stage.connect(Beginning())
    await stage.settled(viewer)
    assert numbers(sink) == [1, 2, 3]
    assert "runcast.gap" not in types(sink)


async def test_a_viewer_of_an_ended_run_finds_another_in_its_place(stage: HubStage) -> None:
    """It was replaced between the look at it and the first read."""
    stage.log.append(1)
    stage.log.append(2, final=True)
    opening = await stage.hub.open(RUN, Beginning())
    stage.log.events.clear()
    stage.log.added = 0
    stage.log.append(1, 5)
    sink = SinkOnPaper()
    viewer = stage.admit(opening, sink)
    await stage.settled(viewer)
    assert numbers(sink) == [1, 5]
    assert viewer.ending is None
    assert stage.tail.watched == [RUN]


async def test_who_asks_for_all_is_told_that_the_run_in_its_place_is_trimmed(
    stage: HubStage,
) -> None:
    """Its feed has found out before they have read anything."""
    stage.log.append(8, 9)
    _, live = await stage.connect(Latest())
    opening = await stage.hub.open(RUN, Resume(START))
    stage.log.events.clear()
    stage.log.added = 0
    stage.log.append(1, 2, 3)
    del stage.log.events[0]
    sink = SinkOnPaper()
    viewer = stage.admit(opening, sink)
    await stage.hub.advance([RUN])
    await stage.settled(viewer)
    gaps = [json.loads(one.data) for one in seen(sink) if one.type == "runcast.gap"]
    assert gaps == [{"requested": "0-0", "resumed_at": "2-0", "reason": "trimmed"}]
    assert numbers(sink) == [2, 3]
    assert numbers(live) == [2, 3]


async def test_a_window_of_another_run_is_not_served_behind_a_page_of_this_one(
    stage: HubStage,
) -> None:
    """The feed has seen the run from its first event, and not that another has its place."""
    await stage.connect(Latest())
    stage.log.append(6, 7)
    await stage.hub.advance([RUN])
    stage.log.events.clear()
    stage.log.added = 0
    stage.log.append(1, 2, 3)
    viewer, sink = await stage.connect(Since(2))
    await stage.settled(viewer)
    # The feed finds out, and says so to everyone who came before.
    assert "runcast.gap" in types(sink)
    assert numbers(sink) == [1, 2, 3]


async def test_a_run_that_was_gone_for_one_read_is_not_taken_for_empty(
    stage: HubStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It had expired on the primary; the replica that took over has it yet."""
    stage.log.append(1, 2, 3)
    opening = await stage.hub.open(RUN, Beginning())

    async def gone(run_id: RunId, after: StreamId, count: int) -> Sequence[Event]:
        monkeypatch.undo()
        return ()

    monkeypatch.setattr(stage.log, "read", gone)
    sink = SinkOnPaper()
    viewer = stage.admit(opening, sink)
    await stage.settled(viewer)
    assert numbers(sink) == [1, 2, 3]


async def test_two_that_failed_at_once_are_both_accounted_for() -> None:
    """The tail's tasks share a connection, and fail together when it is lost."""
    unseen: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: unseen.append(context))

    async def fail() -> None:
        raise OSError

    tasks = {asyncio.create_task(fail()) for _ in range(2)}
    await asyncio.wait(tasks)
    with pytest.raises(OSError):
        tasks.pop().result()
    await cancel(tasks)
    tasks.clear()
    gc.collect()
    assert unseen == []


# ---- what a planted bug has shown to be missing


def test_a_heartbeat_is_a_comment_and_nothing_else() -> None:
    stage = Stage(position=4)
    subscriber, sink = stage.join(4)
    before = len(sink.written)
    stage.tick(subscriber, 10)
    stage.tick(subscriber, 20)
    assert sink.written[before:] == b": heartbeat\n: heartbeat\n"


async def test_a_page_that_was_kept_is_not_served_of_the_run_that_came_in_its_place() -> None:
    """The new run is longer than its window, which would hide what is kept below it."""
    async with make_stage(window_bytes=1000) as stage:
        stage.log.append(*range(1, 20))
        first, _ = await stage.connect(Beginning())
        await stage.settled(first)
        stage.log.events.clear()
        stage.log.added = 0
        stage.log.append(*range(3, 18))
        while await stage.hub.advance([RUN]):
            pass
        later, sink = await stage.connect(Beginning())
        await stage.settled(later)
        assert numbers(sink) == list(range(3, 18))


class LogOfNames(ListLog):
    """Every run has the same ids; the data is the run's name."""

    async def read(self, run_id: RunId, after: StreamId, count: int) -> Sequence[Event]:
        await asyncio.sleep(0)
        return [one._replace(data=run_id.encode()) for one in self.events if one.id > after]


async def test_the_same_place_in_two_runs_is_not_the_same_page() -> None:
    log, stats = LogOfNames(), Stats()
    log.append(1, 2)
    replay = Replay(PageReader(log, Limits(), stats), 8, stats)
    pages = await asyncio.gather(*(replay.page(RunId(name), at(1), epoch=0) for name in "ab"))
    assert [page.events[0].data for page in pages] == [b"a", b"b"]
    await replay.aclose()
