"""When which run's lease is looked at."""

import random

import pytest

from broker.edge.lost_runs import Plan
from broker.redis.leases import LeaseState
from broker.wire.ids import START, RunId, StreamId

RUN = RunId("42")
RARELY = 30.0
NONE = LeaseState(None, None)


class Watched:
    """What is watched, and how far it has come."""

    def __init__(self) -> None:
        self.positions: dict[RunId, StreamId] = {RUN: StreamId(5, 0)}

    @property
    def unfinished(self) -> list[RunId]:
        return list(self.positions)

    def position(self, run_id: RunId) -> StreamId | None:
        return self.positions.get(run_id)


@pytest.fixture
def watched() -> Watched:
    return Watched()


@pytest.fixture
def plan() -> Plan:
    return Plan(RARELY, random.Random(1))


def test_a_run_is_looked_at_when_it_comes_to_be_watched(plan: Plan, watched: Watched) -> None:
    assert plan.due(watched, 0) == [RUN]


def test_and_when_its_lease_runs_out(plan: Plan, watched: Watched) -> None:
    plan.due(watched, 0)
    plan.saw(RUN, LeaseState(9.0, None), 0)
    assert plan.due(watched, 9.0) == []
    assert plan.due(watched, 9.1) == [RUN]


def test_rarely_where_there_is_no_lease(plan: Plan, watched: Watched) -> None:
    plan.due(watched, 0)
    plan.saw(RUN, NONE, 0)
    assert plan.due(watched, 0.7 * RARELY) == []
    assert plan.due(watched, 1.3 * RARELY) == [RUN]


def test_when_it_begins(plan: Plan, watched: Watched) -> None:
    watched.positions[RUN] = START
    plan.due(watched, 0)
    plan.saw(RUN, NONE, 0)
    assert plan.due(watched, 1) == []
    watched.positions[RUN] = StreamId(6, 0)
    assert plan.due(watched, 2) == [RUN]
    plan.saw(RUN, NONE, 2)
    watched.positions[RUN] = StreamId(7, 0)
    assert plan.due(watched, 3) == []


def test_a_look_that_failed_is_made_again_soon_then_later(plan: Plan, watched: Watched) -> None:
    plan.due(watched, 0)
    plan.failed(RUN, 0)
    assert plan.due(watched, 1.0) == [RUN]
    for _ in range(10):
        plan.failed(RUN, 1.0)
    assert plan.due(watched, 4.0) == []
    assert plan.due(watched, 11.1) == [RUN]
    plan.saw(RUN, NONE, 11.1)
    plan.failed(RUN, 11.1)
    assert plan.due(watched, 12.2) == [RUN]


def test_it_knows_whether_any_look_failed_last(plan: Plan, watched: Watched) -> None:
    other = RunId("43")
    watched.positions[other] = START
    plan.due(watched, 0)
    for run_id in (RUN, other):
        plan.failed(run_id, 0)
    plan.saw(RUN, NONE, 1)
    assert plan.failing
    del watched.positions[other]
    plan.due(watched, 2)
    assert not plan.failing


def test_what_is_not_watched_any_more_is_forgotten(plan: Plan, watched: Watched) -> None:
    plan.due(watched, 0)
    assert len(plan) == 1
    watched.positions.clear()
    assert plan.due(watched, 1) == []
    assert len(plan) == 0
    # What a look that was under way has shown then is nobody's business.
    plan.saw(RUN, NONE, 1)
    plan.failed(RUN, 1)
    assert len(plan) == 0
