"""Runs that share a stream, as one to the tail."""

import random
from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from broker.redis.shared_runs import SharedRuns
from broker.wire.ids import RunId, StreamId


class _Tail:
    """Watches one run of each key, and says so in words."""

    def __init__(self) -> None:
        self.watched: dict[RunId, None] = {}
        self.said: list[str] = []

    def begin(self, run_id: RunId) -> None:
        assert run_id not in self.watched
        self.watched[run_id] = None
        self.said.append(f"begin {run_id}")

    def stop(self, run_id: RunId) -> None:
        del self.watched[run_id]
        self.said.append(f"stop {run_id}")


class _Keys:
    def key(self, run_id: RunId) -> str:
        return run_id.rpartition(":")[2]


class _Follower:
    """Stands where it is told to; remembers what it was asked to advance."""

    def __init__(self) -> None:
        self.positions: dict[RunId, StreamId] = {}
        self.advanced: list[list[RunId]] = []
        self.more: list[RunId] = []

    def position(self, run_id: RunId) -> StreamId | None:
        return self.positions.get(run_id)

    async def advance(self, run_ids: Sequence[RunId]) -> Sequence[RunId]:
        self.advanced.append(list(run_ids))
        return self.more


A, B, C, OTHER = (RunId(name) for name in ("42", "b:42", "c:42", "7"))


def make() -> tuple[SharedRuns, _Tail, _Follower]:
    """Shared runs between a tail and a follower."""
    tail, follower = _Tail(), _Follower()
    runs = SharedRuns(_Keys(), tail)
    runs.attach(follower)
    return runs, tail, follower


async def test_a_run_that_is_alone_is_watched_as_it_is() -> None:
    runs, tail, follower = make()
    follower.positions[A] = StreamId(1, 1)
    runs.watch(A)
    runs.watch(A)
    assert runs.position(A) == StreamId(1, 1)
    assert runs.position(OTHER) is None
    follower.more = [A]
    assert await runs.advance([A]) == [A]
    runs.unwatch(A)
    runs.unwatch(A)
    assert tail.said == ["begin 42", "stop 42"]
    assert follower.advanced == [[A]]


async def test_who_comes_later_has_the_one_that_is_watched_looked_at_anew() -> None:
    runs, tail, follower = make()
    follower.positions = {A: StreamId(9, 0), B: StreamId(3, 0)}
    runs.watch(A)
    runs.watch(B)
    assert tail.said == ["begin 42", "stop 42", "begin 42"]
    assert runs.position(A) == StreamId(3, 0), "the lowest: what is news to one is news"
    await runs.advance([A, OTHER])
    assert follower.advanced == [[A, OTHER, B]]


async def test_more_of_any_is_more_of_the_one_that_is_watched() -> None:
    runs, _, follower = make()
    runs.watch(A)
    runs.watch(B)
    follower.more = [B]
    assert await runs.advance([A]) == [A]
    follower.more = [A, B]
    assert await runs.advance([A]) == [A]


def test_one_that_has_ended_holds_nobody_up() -> None:
    runs, _, follower = make()
    runs.watch(A)
    runs.watch(B)
    follower.positions = {B: StreamId(5, 0)}
    assert runs.position(A) == StreamId(5, 0)
    follower.positions = {}
    assert runs.position(A) is None


async def test_when_the_watched_one_goes_another_takes_its_place() -> None:
    runs, tail, follower = make()
    for run_id in (A, B, C):
        runs.watch(run_id)
    runs.unwatch(A)
    assert list(tail.watched) == [B]
    await runs.advance([B])
    assert follower.advanced == [[B, C]]
    runs.unwatch(C)
    assert list(tail.watched) == [B]
    await runs.advance([B])
    assert follower.advanced[-1] == [B]
    runs.unwatch(B)
    assert not tail.watched


@settings(max_examples=200)
@given(seed=st.integers(0, 2**32), steps=st.integers(1, 60))
async def test_whatever_comes_and_goes_each_key_is_watched_once(seed: int, steps: int) -> None:
    runs, tail, follower = make()
    chance = random.Random(seed)
    wanted: set[RunId] = set()
    for _ in range(steps):
        run_id = chance.choice([A, B, C, OTHER])
        if chance.random() < 0.5:
            runs.watch(run_id)
            wanted.add(run_id)
        else:
            runs.unwatch(run_id)
            wanted.discard(run_id)
        keys = [_Keys().key(one) for one in tail.watched]
        assert sorted(keys) == sorted({_Keys().key(one) for one in wanted})
        assert set(tail.watched) <= wanted
        if tail.watched:
            await runs.advance(list(tail.watched))
            assert sorted(follower.advanced[-1]) == sorted(wanted)
