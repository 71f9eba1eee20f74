"""Token buckets: what they let through in any time is the rate times the time, and one second's."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.edge.publishing.rates import Bucket, Rates
from broker.wire.ids import RunId


def test_a_full_bucket_gives_a_second_s_worth_at_once() -> None:
    bucket = Bucket(10, 0)
    for _ in range(10):
        assert bucket.wait_seconds(0) == 0
        bucket.take(1, 0)
    assert bucket.wait_seconds(0) == pytest.approx(0.1)
    assert bucket.wait_seconds(0.05) == pytest.approx(0.05)
    assert bucket.wait_seconds(0.1) == pytest.approx(0)


def test_a_batch_goes_into_debt_that_is_made_up_for() -> None:
    bucket = Bucket(10, 0)
    bucket.take(50, 0)
    assert bucket.wait_seconds(0) == pytest.approx(4.1)


def test_it_does_not_fill_up_beyond_a_second_s_worth() -> None:
    bucket = Bucket(10, 0)
    bucket.take(10, 0)
    assert bucket.wait_seconds(1000) == 0
    bucket.take(10, 1000)
    assert bucket.wait_seconds(1000) > 0


@given(
    st.integers(1, 100),
    st.lists(st.tuples(st.floats(0, 0.3), st.integers(1, 20)), max_size=60),
)
def test_the_rate_holds_whatever_comes_when(rate: int, asked: list[tuple[float, int]]) -> None:
    bucket, now, taken, last = Bucket(rate, 0), 0.0, 0, 0
    for pause, count in asked:
        now += pause
        if bucket.wait_seconds(now) == 0:
            bucket.take(count, now)
            taken, last = taken + count, count
    # The last batch may be in debt still.
    assert taken - last <= rate * (now + 1) + 1e-6


def test_runs_have_buckets_of_their_own_and_one_together() -> None:
    now = 0.0
    rates = Rates(per_second=10, run_per_second=4, clock=lambda: now)
    one, other = RunId("1"), RunId("2")
    rates.take(one, 4)
    assert rates.wait_seconds(one) > 0
    assert rates.wait_seconds(other) == 0
    assert rates.wait_seconds(None) == 0
    rates.take(other, 6)
    assert rates.wait_seconds(None) > 0
    now = 1.0
    assert rates.wait_seconds(one) == 0


def test_many_runs_are_forgotten_in_turn() -> None:
    rates = Rates(per_second=1e9, run_per_second=1, clock=lambda: 0)
    first = RunId("first")
    rates.take(first, 5)
    for number in range(10_000):
        assert rates.wait_seconds(first) > 0
        rates.take(RunId(str(number)), 1)
    # Looked at all the while, it is not the one that goes.
    assert rates.wait_seconds(first) > 0
    for number in range(10_000):
        rates.take(RunId(f"again-{number}"), 1)
    assert rates.wait_seconds(first) == 0
