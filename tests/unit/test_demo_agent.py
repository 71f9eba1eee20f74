"""The demo's agent: announced runs, appended once each, whatever Redis answers."""

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from random import Random
from typing import Any

import orjson
import pytest

from broker.demo import agent as agent_module
from broker.demo.agent import INDEX_RUN, Agent
from broker.demo.stories import STORIES
from broker.engine.log import LogUnavailable
from broker.redis.persistence import AppendError
from broker.wire.event import Event
from broker.wire.ids import RunId, StreamId
from tests.support.waiting import eventually


class FakeRedis:
    """Producer and reader over lists; `troubles` say what happens to the next calls."""

    def __init__(self) -> None:
        self.runs: dict[RunId, list[Event]] = defaultdict(list)
        self.troubles: list[str] = []

    async def publish(self, run_id: RunId, event_type: str, data: str) -> StreamId:
        trouble = self._trouble()
        if trouble == "not appended":
            raise AppendError("not acknowledged")
        events = self.runs[run_id]
        events.append(Event(StreamId(len(events) + 1, 0), event_type, data.encode()))
        if trouble == "appended, but not acknowledged":
            raise AppendError("not acknowledged")
        return events[-1].id

    async def read(self, run_id: RunId, after: StreamId, count: int) -> Sequence[Event]:
        if self._trouble() == "not readable":
            raise LogUnavailable
        return [event for event in self.runs[run_id] if event.id > after][:count]

    def data_of(self, run_id: RunId) -> list[dict[str, Any]]:
        return [orjson.loads(event.data) for event in self.runs[run_id]]

    def _trouble(self) -> str:
        return self.troubles.pop(0) if self.troubles else ""


class Enough(Exception):
    """Ends an agent that would work for ever."""


async def work(redis: FakeRedis, *, runs: int = 1) -> list[float]:
    """Has an agent play some runs at once; how long it would have slept each time."""
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        ended = [event for event in redis.runs[INDEX_RUN] if event.type == "run_ended"]
        if len(ended) == runs:
            raise Enough

    with pytest.raises(Enough):
        await Agent(redis, redis, random_source=Random(1), sleep=sleep).run()
    return slept


def assert_dense(redis: FakeRedis, run_id: RunId) -> None:
    counters = [data["n"] for data in redis.data_of(run_id)]
    assert counters == list(range(1, len(counters) + 1))


async def test_every_run_is_announced_when_it_begins_and_when_it_ends() -> None:
    redis = FakeRedis()
    await work(redis, runs=len(STORIES) + 1)
    index = redis.data_of(INDEX_RUN)
    begun, ended = index[::2], index[1::2]
    expected = [*STORIES, STORIES[0]]
    assert [data["title"] for data in begun] == [story.title for story in expected]
    assert [data["state"] for data in ended] == [story.outcome for story in expected]
    ids = [data["run_id"] for data in begun]
    assert ids == [data["run_id"] for data in ended]
    assert len(set(ids)) == len(ids)
    for run_id in ids:
        assert_dense(redis, run_id)
        assert redis.runs[run_id][-1].type in ("succeeded", "failed")


@pytest.mark.parametrize(
    "troubles",
    [
        ["not appended"],
        ["appended, but not acknowledged"],
        ["not appended", "", "appended, but not acknowledged", "", "not appended"],
        ["appended, but not acknowledged", "not readable", "not readable"],
    ],
    ids=", ".join,
)
@pytest.mark.parametrize("before", [0, 1, 2, 30])
async def test_an_unanswered_append_makes_neither_a_hole_nor_a_double(
    troubles: list[str], before: int
) -> None:
    redis = FakeRedis()
    redis.troubles = [""] * before + troubles
    await work(redis)
    assert redis.troubles == []
    assert [event.type for event in redis.runs[INDEX_RUN]] == ["run_started", "run_ended"]
    assert_dense(redis, redis.data_of(INDEX_RUN)[0]["run_id"])


async def test_it_waits_before_it_asks_again() -> None:
    redis = FakeRedis()
    redis.troubles = ["not appended", "", "not appended"]
    slept = await work(redis)
    assert min(slept[:2]) >= 1


async def test_the_run_to_come_is_known_before_it_begins() -> None:
    redis = FakeRedis()
    agent = Agent(redis, redis, random_source=Random(1))
    planned = agent.current
    async with agent.at_work():
        await eventually(lambda: redis.runs[planned.run_id])
    assert redis.data_of(INDEX_RUN) == [{"run_id": planned.run_id, "title": planned.story.title}]


async def test_it_stops_with_its_context() -> None:
    before = asyncio.all_tasks()
    async with Agent(FakeRedis(), FakeRedis(), random_source=Random(1)).at_work():
        assert asyncio.all_tasks() != before
        await asyncio.sleep(0)
    assert asyncio.all_tasks() == before


async def test_a_defect_is_logged_and_the_edge_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    logged: list[str] = []
    monkeypatch.setattr(agent_module.logger, "exception", logged.append)

    async def sleep(seconds: float) -> None:
        raise ZeroDivisionError

    async with Agent(FakeRedis(), FakeRedis(), random_source=Random(1), sleep=sleep).at_work():
        await eventually(lambda: logged)
    assert logged == ["the demo's agent has stopped"]
