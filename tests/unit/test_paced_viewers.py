"""Viewers who want at most one event in a given time: in order, none lost, nothing held."""

import json
from collections.abc import Sequence

import pytest

from broker.engine.delivery import View
from broker.engine.ending import Ending
from broker.engine.subscriber import State, Subscriber
from broker.wire.dialect import NATIVE
from broker.wire.event import Event
from broker.wire.gap import GapReason
from broker.wire.ids import START
from broker.wire.request import Beginning, Resume
from broker.wire.run_agent import RunAgent
from tests.support.waiting import eventually
from tests.unit.test_hub import RUN, make_stage
from tests.unit.test_hub import Stage as HubStage
from tests.unit.test_subscriber import SinkOnPaper, Stage, at, event, numbers, page, seen, types

PACED = View(delay_seconds=0.1)


def paced(stage: Stage, position: int = 0, view: View = PACED) -> tuple[Subscriber, SinkOnPaper]:
    return stage.join(position, view)


def pull(stage: Stage, subscriber: Subscriber) -> None:
    """What the hub does when one pulls and the window covers its position."""
    assert stage.pulling.pop() is subscriber
    batch = stage.feed.window.read(subscriber.position, subscriber.pull_bytes)
    assert batch is not None
    subscriber.replay(batch)


def wait_for_turn(stage: Stage, subscriber: Subscriber) -> None:
    """Lets time pass until it is due, and has it send."""
    stage.now = max(stage.now, stage.due.pop(subscriber))
    subscriber.send_next()


def test_the_first_event_is_sent_at_once_and_the_others_one_by_one() -> None:
    stage = Stage(1, 2, 3)
    subscriber, sink = paced(stage)
    pull(stage, subscriber)
    assert stage.due[subscriber] == 0
    for sent in ([1], [1, 2], [1, 2, 3]):
        wait_for_turn(stage, subscriber)
        assert numbers(sink) == sent
    assert stage.now == pytest.approx(0.2)


def test_it_never_turns_live_but_rests_at_the_end_until_the_feed_moves() -> None:
    stage = Stage(1)
    subscriber, sink = paced(stage)
    pull(stage, subscriber)
    wait_for_turn(stage, subscriber)
    assert subscriber.state is State.REPLAYING
    assert not subscriber.pulls
    assert not stage.pulling
    assert len(stage.feed.live) == 0
    assert types(sink)[-1] == "runcast.caught-up"
    stage.tail(event(2), event(3))
    pull(stage, subscriber)
    assert stage.due[subscriber] == pytest.approx(0.1)
    wait_for_turn(stage, subscriber)
    wait_for_turn(stage, subscriber)
    assert numbers(sink) == [1, 2, 3]
    assert types(sink).count("runcast.caught-up") == 1


def test_after_a_rest_longer_than_the_delay_the_next_event_is_sent_at_once() -> None:
    stage = Stage(1)
    subscriber, sink = paced(stage)
    pull(stage, subscriber)
    wait_for_turn(stage, subscriber)
    stage.now = 50
    stage.tail(event(2))
    pull(stage, subscriber)
    assert stage.due[subscriber] < 50
    wait_for_turn(stage, subscriber)
    assert numbers(sink) == [1, 2]
    assert stage.now == 50


def test_it_takes_a_few_frames_at_a_time() -> None:
    stage = Stage()
    stage.tail(*(event(number, size=1500) for number in range(1, 30)))
    subscriber, sink = paced(stage)
    pull(stage, subscriber)
    while not stage.pulling:
        wait_for_turn(stage, subscriber)
    assert numbers(sink) in ([1, 2], [1, 2, 3])


def test_the_run_ends_after_its_last_event_was_sent() -> None:
    stage = Stage(1)
    stage.tail(event(2, final=True))
    subscriber, sink = paced(stage)
    pull(stage, subscriber)
    wait_for_turn(stage, subscriber)
    assert subscriber.state is State.REPLAYING
    assert not sink.finished
    wait_for_turn(stage, subscriber)
    assert numbers(sink) == [1, 2]
    assert subscriber.ending is Ending.TERMINAL
    assert sink.finished


def test_an_end_that_the_dialect_leaves_out_is_the_end_all_the_same() -> None:
    stage = Stage(1)
    stage.tail(event(2, "other", final=True))
    view = View(types=frozenset({"never"}), delay_seconds=0.1)
    subscriber, _ = paced(stage, view=view)
    pull(stage, subscriber)
    assert subscriber.ending is Ending.TERMINAL


def test_who_rests_is_ended_when_the_run_is() -> None:
    stage = Stage(1)
    subscriber, sink = paced(stage, 1)
    assert not subscriber.pulls
    stage.tail(event(2, final=True))
    pull(stage, subscriber)
    wait_for_turn(stage, subscriber)
    assert numbers(sink) == [2]
    assert sink.finished


def test_pieces_are_events_of_their_own() -> None:
    stage = Stage()
    data = json.dumps({"content": "abcdef", "index": 0}).encode()
    stage.tail(Event(at(1), "chunk", data))
    subscriber, sink = paced(stage, view=View(dialect=RunAgent(chunk_size=2), delay_seconds=0.1))
    pull(stage, subscriber)
    sent = []
    while subscriber in stage.due:
        wait_for_turn(stage, subscriber)
        sent.append(len([kind for kind in types(sink) if kind == "chunk"]))
    assert sent == [1, 2, 3]
    assert stage.stats.frames_delivered == 3


def test_what_is_left_out_takes_no_time() -> None:
    stage = Stage()
    stage.tail(event(1, "other"), event(2), event(3, "other"))
    view = View(types=frozenset({"chunk"}), delay_seconds=0.1)
    subscriber, sink = paced(stage, view=view)
    pull(stage, subscriber)
    wait_for_turn(stage, subscriber)
    assert numbers(sink) == [2]
    assert subscriber.position == at(3)
    assert not stage.due


def test_a_socket_that_does_not_drain_is_waited_for() -> None:
    stage = Stage(1, 2, 3)
    subscriber, sink = paced(stage)
    pull(stage, subscriber)
    sink.stuck = True
    wait_for_turn(stage, subscriber)
    wait_for_turn(stage, subscriber)
    assert subscriber.state is State.LAGGING
    assert numbers(sink) == [1]
    sink.stuck = False
    sink.take()
    subscriber.drained()
    wait_for_turn(stage, subscriber)
    wait_for_turn(stage, subscriber)
    assert numbers(sink) == [1, 2, 3]


def test_a_stalled_one_is_dropped() -> None:
    stage = Stage(1, 2)
    subscriber, sink = paced(stage)
    pull(stage, subscriber)
    sink.stuck = True
    wait_for_turn(stage, subscriber)
    stage.tick(subscriber, 1)
    stage.tick(subscriber, 40)
    assert subscriber.ending is Ending.STALLED
    assert sink.aborted


def test_a_quiet_one_gets_heartbeats() -> None:
    stage = Stage(1)
    subscriber, sink = paced(stage, 1)
    before = len(sink.written)
    stage.tick(subscriber, 10)
    assert bytes(sink.written[before:]) == b": heartbeat\n"


def test_what_is_taken_but_not_sent_is_neither_carried_nor_resumed_from() -> None:
    """A heartbeat, or the end of a drain, must not move the cursor over what was not sent."""
    stage = Stage(1, 2, 3)
    view = View(types=frozenset({"chunk"}), delay_seconds=20)
    subscriber, sink = paced(stage, view=view)
    pull(stage, subscriber)
    wait_for_turn(stage, subscriber)
    stage.tick(subscriber, 15)
    subscriber.end(Ending.DRAIN)
    assert seen(sink)[-1].id == "1-0"
    assert b"3-0" not in sink.written


def test_a_run_that_begins_anew_voids_what_is_taken() -> None:
    stage = Stage(1, 2, 3)
    subscriber, sink = paced(stage)
    pull(stage, subscriber)
    wait_for_turn(stage, subscriber)
    stage.apply(page(at(3), event(7), gap=GapReason.RESET, start=START))
    pull(stage, subscriber)
    wait_for_turn(stage, subscriber)
    assert numbers(sink) == [1, 7]
    [gap] = [message for message in seen(sink) if message.type == "runcast.gap"]
    assert json.loads(gap.data)["requested"] == "1-0"


def test_what_is_taken_of_a_run_that_begins_anew_is_not_sent_to_who_had_nothing() -> None:
    stage = Stage(1, 2)
    subscriber, sink = paced(stage)
    pull(stage, subscriber)
    stage.apply(page(at(2), event(7), gap=GapReason.RESET, start=START))
    pull(stage, subscriber)
    wait_for_turn(stage, subscriber)
    assert numbers(sink) == [7]


def test_who_is_gone_is_not_told_of_the_feed() -> None:
    stage = Stage(1)
    subscriber, _ = paced(stage, 1)
    assert stage.feed.listeners
    subscriber.closed()
    assert not stage.feed.listeners
    assert not stage.feed.subscribers


def test_what_is_replayed_in_another_dialect_is_so_until_the_end_is_reached() -> None:
    stage = Stage()
    stage.tail(*(Event(at(number), "chunk", b'"a"') for number in (1, 2)))
    history = RunAgent(resume_from=(2 * 4096 << 30))
    view = View(dialect=RunAgent(), history=history, delay_seconds=0.1)
    subscriber, sink = paced(stage, view=view)
    pull(stage, subscriber)
    while subscriber in stage.due:
        wait_for_turn(stage, subscriber)
    before = types(sink).count("chunk")
    stage.tail(Event(at(3), "chunk", b'"a"'))
    pull(stage, subscriber)
    wait_for_turn(stage, subscriber)
    assert types(sink).count("chunk") == before + 1


# ---- with the hub


async def step(stage: HubStage, seconds: float) -> None:
    stage.now[0] += seconds


async def watched(stage: HubStage, sink: SinkOnPaper, count: int) -> Sequence[int]:
    """How many events there were after each step of the clock, until there are `count`."""
    counts = []
    while len(numbers(sink)) < count:
        before = len(numbers(sink))
        await step(stage, 0.02)
        await eventually(lambda before=before: len(numbers(sink)) > before)  # type: ignore[misc]
        counts.append(len(numbers(sink)) - before)
    return counts


DELAYED = View(delay_seconds=0.02)


async def test_at_most_one_event_in_the_time_from_the_window_and_from_redis() -> None:
    async with make_stage(window_bytes=2000) as stage:
        stage.log.append(*range(1, 41))
        _, other = await stage.connect(Beginning())
        await eventually(lambda: len(numbers(other)) == 40)
        stage.log.append(*range(41, 61))
        await stage.hub.advance([RUN])
        subscriber, sink = await stage.connect(Beginning(), DELAYED)
        counts = await watched(stage, sink, 60)
        assert set(counts) <= {1}
        assert numbers(sink) == list(range(1, 61))
        assert subscriber.state is State.REPLAYING
        stage.log.append(61, final=True)
        await stage.hub.advance([RUN])
        await step(stage, 1)
        await eventually(lambda: sink.finished)
        assert numbers(sink)[-1] == 61


async def test_the_pacer_needs_no_task_for_each() -> None:
    async with make_stage() as stage:
        stage.log.append(1, 2, 3)
        _, other = await stage.connect(Beginning())
        await eventually(lambda: len(numbers(other)) == 3)
        stage.log.append(4, 5)
        await stage.hub.advance([RUN])
        tasks = len(stage.hub._tasks)
        sinks = [(await stage.connect(Resume(at(3)), DELAYED))[1] for _ in range(20)]
        assert len(stage.hub._tasks) == tasks
        await step(stage, 1)
        await eventually(lambda: all(numbers(sink)[:1] == [4] for sink in sinks))
        await step(stage, 1)
        await eventually(lambda: all(numbers(sink) == [4, 5] for sink in sinks))


async def test_one_whose_dialect_fails_does_not_stop_the_others() -> None:
    class Broken(type(NATIVE)):  # type: ignore[misc]
        def encode(self, frames: object) -> Sequence[bytes]:
            raise ValueError("a defect")

    async with make_stage() as stage:
        stage.log.append(1)
        broken, _ = await stage.connect(Resume(at(1)), View(dialect=Broken(), delay_seconds=0.02))
        _, sink = await stage.connect(Resume(at(1)), DELAYED)
        stage.log.append(2)
        await stage.hub.advance([RUN])
        await step(stage, 1)
        await eventually(lambda: numbers(sink) == [2])
        assert broken.ending is Ending.ERROR
