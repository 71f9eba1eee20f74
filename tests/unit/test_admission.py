"""How many streams there may be, and that none is counted for ever."""

from contextlib import ExitStack
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.types import Scope

from broker.edge.admission import Admission
from broker.edge.client_address import AddressGroups
from broker.edge.limits import StreamLimits
from broker.edge.refusals import Refusals, StreamLimit
from broker.engine.subscriber import Subscriber
from broker.wire.ids import RunId
from broker.wire.problem import TooManyStreams


def scope_of(host: str | None) -> Scope:
    return {"type": "http", "client": None if host is None else (host, 1)}


def make(**limits: Any) -> tuple[Admission, Refusals]:
    refusals = Refusals()
    return Admission(StreamLimits(**limits), AddressGroups(["10.0.0.0/8"]), refusals), refusals


def subscriber() -> Subscriber:
    """Someone; nothing is asked of them."""
    return cast(Subscriber, object())


def _admit(
    admission: Admission, host: str = "203.0.113.1", subject: str | None = "a", run: str = "r"
) -> Subscriber:
    with admission.take(scope_of(host), subject, RunId(run)) as place:
        someone = subscriber()
        admission.hold(place, someone)
        return someone


@pytest.mark.parametrize(
    ("limits", "same", "other", "limit"),
    [
        ({"streams": 2}, {}, None, StreamLimit.PROCESS),
        ({"per_run": 2}, {"run": "r"}, {"run": "s"}, StreamLimit.RUN),
        (
            {"per_address": 2},
            {"host": "203.0.113.1"},
            {"host": "203.0.113.2"},
            StreamLimit.ADDRESS,
        ),
        (
            {"per_address": 2},
            {"host": "2001:db8::1"},
            {"host": "2001:db8:0:1::1"},
            StreamLimit.ADDRESS,
        ),
        ({"per_subject": 2}, {"subject": "a"}, {"subject": "b"}, StreamLimit.SUBJECT),
    ],
)
def test_one_too_many_is_refused_until_one_has_left(
    limits: dict[str, int], same: dict[str, str], other: dict[str, str] | None, limit: StreamLimit
) -> None:
    admission, refusals = make(**limits)
    first = _admit(admission, **same)
    _admit(admission, **same)
    for _ in range(2):
        with pytest.raises(TooManyStreams) as refused:
            _admit(admission, **same)
        assert refused.value.status == 503
    assert refusals.streams == {limit: 2}
    if other is not None:
        _admit(admission, **other)
    admission.left(first)
    admission.left(first)
    _admit(admission, **same)
    with pytest.raises(TooManyStreams):
        _admit(admission, **same)


def test_what_is_nobodys_is_not_counted_by_that() -> None:
    admission, _ = make(per_address=1, per_subject=1)
    for _ in range(3):
        _admit(admission, host="10.1.2.3", subject=None)


def test_a_refusal_says_no_more_than_its_own_limit() -> None:
    admission, _ = make(per_address=1)
    _admit(admission)
    with pytest.raises(TooManyStreams, match="Your address") as refused:
        _admit(admission, run="secret")
    assert b"secret" not in refused.value.body()
    assert b"203.0.113" not in refused.value.body()


def test_who_was_refused_for_one_reason_is_not_counted_for_another() -> None:
    admission, _ = make(per_run=1, per_address=2)
    _admit(admission, run="r")
    with pytest.raises(TooManyStreams):
        _admit(admission, run="r")
    _admit(admission, run="s")
    with pytest.raises(TooManyStreams, match="Your address"):
        _admit(admission, run="t")


def test_a_place_that_nobody_came_for_is_free_again() -> None:
    admission, _ = make(streams=1)
    for _ in range(3):
        with (
            admission.take(scope_of("203.0.113.1"), "a", None),
            pytest.raises(TooManyStreams),
            admission.take(scope_of(None), None, None),
        ):
            pytest.fail("there is no place")
    _admit(admission)


def test_without_limits_nothing_is_kept() -> None:
    admission, _ = make()
    for _ in range(10):
        _admit(admission)
    assert not admission._held
    assert not admission._counts


_REQUESTS = st.tuples(
    st.sampled_from(["203.0.113.1", "203.0.113.2", "2001:db8::1", "2001:db8::2", "10.0.0.1"]),
    st.sampled_from(["a", "b", None]),
    st.sampled_from(["r", "s"]),
)


@given(
    st.fixed_dictionaries(
        {},
        optional=dict.fromkeys(
            ("streams", "per_address", "per_subject", "per_run"), st.integers(1, 4)
        ),
    ),
    st.lists(st.one_of(_REQUESTS, st.integers(0, 9))),
)
def test_whoever_comes_and_goes_in_any_order_leaves_nothing(
    limits: dict[str, int], steps: list[tuple[str, str | None, str] | int]
) -> None:
    """A number is that viewer's leaving, maybe again; a request every other time a long poll."""
    admission, refusals = make(**limits)
    present: list[Subscriber] = []
    refused = 0
    with ExitStack() as polls:
        for number, step in enumerate(steps):
            if isinstance(step, int):
                if step < len(present):
                    admission.left(present[step])
                continue
            host, subject, run = step
            try:
                if number % 2:
                    polls.enter_context(admission.take(scope_of(host), subject, RunId(run)))
                else:
                    present.append(_admit(admission, host, subject, run))
            except TooManyStreams:
                refused += 1
            if "streams" in limits:
                assert admission._counts.get((StreamLimit.PROCESS, ""), 0) <= limits["streams"]
    for one in present:
        admission.left(one)
    assert admission._counts == {}
    assert admission._held == {}
    assert refusals.streams.total() == refused
