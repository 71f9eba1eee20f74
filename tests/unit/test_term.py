"""When a viewer's time is up, and what they still get. No I/O."""

from broker.engine.delivery import View
from broker.engine.ending import Ending
from broker.engine.subscriber import State, Subscriber
from broker.engine.term import Term
from broker.wire.gap import GapReason
from tests.unit.test_subscriber import LIMITS, SinkOnPaper, Stage, at, event, numbers, page


def join(stage: Stage, term: Term, position: int) -> tuple[Subscriber, SinkOnPaper]:
    sink = SinkOnPaper()
    subscriber = Subscriber(
        stage.feed,
        sink,
        View(),
        stage.surroundings,
        position=at(position),
        lenient=position == 0,
        term=term,
    )
    subscriber.join()
    return subscriber, sink


def test_it_ends_at_its_time_and_not_before() -> None:
    stage = Stage(position=4)
    subscriber, sink = join(stage, Term(7.5, Ending.AGE), 4)
    assert subscriber.look_at == 7.5
    assert stage.tick(subscriber, 7.4) == 7.5
    assert subscriber.state is State.LIVE
    stage.tick(subscriber, 7.5)
    assert (subscriber.state, subscriber.ending) == (State.ENDED, Ending.AGE)
    assert sink.finished
    assert not sink.aborted
    stage.tail(event(5))
    assert numbers(sink) == []


def test_it_is_looked_at_in_time_whatever_else_is_due() -> None:
    stage = Stage(position=4)
    subscriber, _ = join(stage, Term(LIMITS.heartbeat_seconds + 0.5), 4)
    again = stage.tick(subscriber, LIMITS.heartbeat_seconds)
    assert again == LIMITS.heartbeat_seconds + 0.5


def test_one_that_is_slow_loses_what_it_may_not_have() -> None:
    stage = Stage(position=4)
    subscriber, sink = join(stage, Term(7, Ending.RIGHT_ENDED), 4)
    sink.stuck = True
    stage.tail(event(5))
    stage.tick(subscriber, 7)
    assert sink.aborted
    assert not sink.finished


def test_one_that_has_grown_old_gets_what_is_unsent() -> None:
    stage = Stage(position=4)
    subscriber, sink = join(stage, Term(7, Ending.AGE), 4)
    sink.stuck = True
    stage.tail(event(5))
    stage.tick(subscriber, 7)
    assert sink.finished
    assert not sink.aborted


def test_another_run_in_the_place_of_its_own_is_not_for_it() -> None:
    stage = Stage(5, position=4)
    subscriber, sink = join(stage, Term(one_run=True), 5)
    beyond, beyond_sink = join(stage, Term(one_run=True), 9)
    other, other_sink = join(stage, Term(), 5)
    # The feed finds at its own position that the stream is another one.
    stage.apply(page(at(5), event(1), event(2), gap=GapReason.RESET, start=at(0)))
    assert subscriber.ending is Ending.RIGHT_UNKNOWN
    assert beyond.ending is Ending.RIGHT_UNKNOWN
    assert numbers(sink) == numbers(beyond_sink) == []
    assert other.ending is None
    assert numbers(other_sink) == [1, 2]


def test_nor_when_it_is_found_while_it_replays() -> None:
    stage = Stage(5, position=4, final=None)
    subscriber, sink = join(stage, Term(one_run=True), 4)
    present = Stage(position=0)
    subscriber.move(present.feed)
    assert subscriber.ending is Ending.RIGHT_UNKNOWN
    assert numbers(sink) == []


def test_nor_is_one_that_begins_where_there_was_none() -> None:
    stage = Stage(position=0)
    subscriber, sink = join(stage, Term(one_run=True), 0)
    other, other_sink = join(stage, Term(), 0)
    stage.tail(event(1))
    assert subscriber.ending is Ending.RIGHT_UNKNOWN
    assert numbers(sink) == []
    assert other.ending is None
    assert numbers(other_sink) == [1]
    # Once it has begun, it is theirs.
    late, late_sink = join(stage, Term(one_run=True), 1)
    stage.tail(event(2))
    assert late.ending is None
    assert numbers(late_sink) == [2]
