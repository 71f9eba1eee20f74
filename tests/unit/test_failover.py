"""What viewers are told when another Redis has taken over. Ids are times, in milliseconds."""

import json
from collections.abc import AsyncIterator

import pytest

from broker.engine.hub import Opening
from broker.engine.log import Failover
from broker.engine.subscriber import State
from broker.wire.gap import GapReason
from broker.wire.request import Beginning, Latest, Resume
from tests.unit.test_hub import RUN, Stage, at, make_stage
from tests.unit.test_subscriber import SinkOnPaper, numbers, seen


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    async with make_stage() as made:
        made.log.append(100, 110)
        yield made


def fail_over(stage: Stage, moment: int) -> None:
    stage.log.failures.append(Failover(moment, moment))
    stage.hub.failed_over(lambda run_id: True)


def order(sink: SinkOnPaper) -> list[str]:
    """Events by number, and gaps as "gap requested-resumed_at"."""
    told = []
    for message in seen(sink):
        if message.type == "runcast.gap":
            gap = json.loads(message.data)
            assert gap["reason"] == GapReason.FAILOVER
            told.append(f"gap {gap['requested']} {gap['resumed_at']}")
        elif message.own_id:
            told.append(message.id.partition("-")[0])
    return told


async def test_who_is_live_is_told_at_once_and_once(stage: Stage) -> None:
    subscriber, sink = await stage.connect(Beginning())
    await stage.settled(subscriber)
    fail_over(stage, 115)
    assert order(sink) == ["100", "110", "gap 110-0 None"]
    stage.log.append(120, 130)
    await stage.hub.advance([RUN])
    assert order(sink) == ["100", "110", "gap 110-0 None", "120", "130"]
    assert subscriber.state is State.LIVE


async def test_who_comes_before_the_next_event_is_told_on_going_live(stage: Stage) -> None:
    await stage.connect(Latest())
    fail_over(stage, 115)
    subscriber, sink = await stage.connect(Resume(at(100)))
    await stage.settled(subscriber)
    assert order(sink) == ["110", "gap 110-0 None"]
    stage.log.append(120)
    await stage.hub.advance([RUN])
    assert order(sink) == ["110", "gap 110-0 None", "120"]


@pytest.mark.parametrize("cursor", [100, 110])
async def test_who_comes_later_is_told_between_the_two(stage: Stage, cursor: int) -> None:
    live, _ = await stage.connect(Latest())
    fail_over(stage, 115)
    stage.log.append(120, 130)
    await stage.hub.advance([RUN])
    subscriber, sink = await stage.connect(Resume(at(cursor)))
    await stage.settled(subscriber)
    before = ["110"] if cursor == 100 else []
    assert order(sink) == [*before, "gap 110-0 120-0", "120", "130"]
    assert live.state is subscriber.state is State.LIVE


async def test_who_comes_from_after_it_is_not_told(stage: Stage) -> None:
    await stage.connect(Latest())
    fail_over(stage, 115)
    stage.log.append(120, 130)
    await stage.hub.advance([RUN])
    subscriber, sink = await stage.connect(Resume(at(120)))
    await stage.settled(subscriber)
    assert order(sink) == ["130"]


async def test_a_run_that_nobody_watched_then(stage: Stage) -> None:
    fail_over(stage, 115)
    subscriber, sink = await stage.connect(Beginning())
    await stage.settled(subscriber)
    assert order(sink) == ["100", "110", "gap 110-0 None"]
    stage.log.append(120)
    await stage.hub.advance([RUN])
    assert order(sink)[-1] == "120"


async def test_two_failovers(stage: Stage) -> None:
    fail_over(stage, 115)
    stage.log.append(120)
    fail_over(stage, 125)
    stage.log.append(130, 140)
    subscriber, sink = await stage.connect(Beginning())
    await stage.settled(subscriber)
    assert order(sink) == [
        *("100", "110", "gap 110-0 120-0", "120", "gap 120-0 130-0", "130", "140")
    ]


async def test_a_run_that_began_after_it(stage: Stage) -> None:
    fail_over(stage, 50)
    subscriber, sink = await stage.connect(Beginning())
    await stage.settled(subscriber)
    assert order(sink) == ["100", "110"]


async def test_a_run_that_had_ended(stage: Stage) -> None:
    stage.log.append(112, final=True)
    fail_over(stage, 115)
    subscriber, sink = await stage.connect(Beginning())
    await stage.settled(subscriber)
    assert numbers(sink) == [100, 110, 112]
    assert len(order(sink)) == 3


async def test_who_lags_is_told_when_they_get_there(stage: Stage) -> None:
    subscriber, sink = await stage.connect(Beginning())
    await stage.settled(subscriber)
    subscriber.lag()
    fail_over(stage, 115)
    assert "gap" not in " ".join(order(sink))
    stage.log.append(120)
    await stage.hub.advance([RUN])
    subscriber.drained()
    await stage.settled(subscriber)
    assert order(sink) == ["100", "110", "gap 110-0 120-0", "120"]


async def test_other_servers_runs_are_not_concerned(stage: Stage) -> None:
    subscriber, sink = await stage.connect(Beginning())
    await stage.settled(subscriber)
    stage.hub.failed_over(lambda run_id: False)
    assert order(sink) == ["100", "110"]


async def test_a_json_page_ends_before_it(stage: Stage) -> None:
    stage.log.append(120, 130)
    stage.log.failures.append(Failover(115, 115))
    opening = await stage.hub.open(RUN, Beginning())
    page = await stage.hub.page(opening, 10)
    assert [event.id.ms for event in page.events] == [100, 110]
    assert page.more
    page = await stage.hub.page(Opening(opening.feed, page.last, lenient=False), 10)
    assert [event.id.ms for event in page.events] == [120, 130]
    assert page.gap is not None
    assert page.gap.reason is GapReason.FAILOVER


async def test_its_time_is_known_roughly(stage: Stage) -> None:
    """Then it is told once a page, before the first event that may have been the first."""
    stage.log.append(120, 130)
    stage.log.failures.append(Failover(105, 125))
    subscriber, sink = await stage.connect(Beginning())
    await stage.settled(subscriber)
    assert order(sink) == ["100", "gap 100-0 110-0", "110", "120", "130"]
    subscriber, sink = await stage.connect(Resume(at(110)))
    await stage.settled(subscriber)
    assert order(sink) == ["gap 110-0 120-0", "120", "130"]


async def test_the_run_is_read_anew_after_it(stage: Stage) -> None:
    """What the viewers had is void, and what is there is not all that there was."""
    stage.log.append(112)
    subscriber, sink = await stage.connect(Resume(at(110)))
    await stage.settled(subscriber)
    stage.log.events.pop()
    stage.log.added -= 1
    fail_over(stage, 115)
    await stage.hub.advance([RUN])
    await stage.settled(subscriber)
    late, late_sink = await stage.connect(Resume(at(110)))
    await stage.settled(late)
    stage.log.append(120)
    await stage.hub.advance([RUN])
    for told in (sink, late_sink):
        assert '"failover"' in told.written.decode().split("id: 120-0")[0].split("id: 110-0")[-1]
