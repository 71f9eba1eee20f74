"""A body's pieces to lines, and lines to batches: however the body was cut."""

from collections.abc import Sequence
from itertools import pairwise

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.edge.publishing.batches import Batch, Batches
from broker.edge.publishing.limits import PublishingLimits
from broker.edge.publishing.lines import Lines
from broker.edge.publishing.origin import Origin
from broker.redis.appending import NewEvent
from broker.wire.problem import BadBody, Problem, TooLarge

LIMITS = PublishingLimits(batch_events=4, batch_bytes=200, body_events=50)


def cut(body: bytes, places: Sequence[int]) -> list[bytes]:
    edges = sorted({0, len(body), *(place % (len(body) + 1) for place in places)})
    return [body[start:end] for start, end in pairwise(edges)]


def lines_of(pieces: Sequence[bytes], longest: int = 1000) -> list[tuple[int, bytes]]:
    lines = Lines(longest)
    found = [line for piece in pieces for line in lines.feed(piece)]
    return [*found, *lines.end()]


@given(st.binary(max_size=60).map(lambda raw: raw.replace(b"n", b"\n")), st.lists(st.integers(0)))
def test_however_a_body_is_cut_its_lines_are_the_same(body: bytes, places: list[int]) -> None:
    expected = body.split(b"\n")
    if not expected[-1]:
        expected.pop()
    assert lines_of(cut(body, places)) == list(enumerate(expected, 1))


@pytest.mark.parametrize("pieces", [[b"a\nbb\n", b"toolong\nc"], [b"a\nbb\ntool", b"ong", b"\nc"]])
def test_a_line_that_is_too_long_comes_after_those_before_it(pieces: list[bytes]) -> None:
    lines = Lines(5)
    rest = (line for piece in pieces for line in lines.feed(piece))
    assert [next(rest), next(rest)] == [(1, b"a"), (2, b"bb")]
    with pytest.raises(TooLarge) as refused:
        next(rest)
    assert refused.value.members["line"] == 3


def test_a_line_may_be_as_long_as_is_taken() -> None:
    assert lines_of([b"12345\n", b"123", b"45"], 5) == [(1, b"12345"), (2, b"12345")]


# ---- batches


def line(**members: object) -> bytes:
    return orjson.dumps(members)


def batches_of(
    *lines: bytes, stated: Origin | None = None, limits: PublishingLimits = LIMITS
) -> tuple[list[Batch], Problem | None]:
    """What comes before the problem, if there is one."""
    batches = Batches(stated, limits, lambda event: event.type == "done")
    found = []
    try:
        for batch in batches.of(enumerate(lines, 1)):
            found.append(batch)  # noqa: PERF402
    except Problem as problem:
        return found, problem
    return found, None


def test_blank_lines_are_nothing() -> None:
    [batch], problem = batches_of(b"", b" \t", line(type="a"), b"\r")
    assert batch.events == [NewEvent("a", "{}")]
    assert problem is None


def test_a_batch_is_bounded_in_events_and_in_bytes() -> None:
    small, _ = batches_of(*[line(type="a")] * 10)
    assert [len(batch.events) for batch in small] == [4, 4, 2]
    large, _ = batches_of(*[line(type="a", data="x" * 70)] * 5, line(type="a", data="x" * 300))
    assert [len(batch.events) for batch in large] == [2, 2, 1, 1]


def test_what_ends_a_run_ends_a_batch() -> None:
    found, _ = batches_of(line(type="a"), line(type="done"), line(type="b"))
    assert [[event.type for event in batch.events] for batch in found] == [["a", "done"], ["b"]]


def test_what_comes_before_a_bad_line_is_a_batch_still() -> None:
    [batch], problem = batches_of(line(type="a"), line(type="b"), b"{", line(type="c"))
    assert [event.type for event in batch.events] == ["a", "b"]
    assert isinstance(problem, BadBody)
    assert problem.members["line"] == 3


def test_sequences_count_on_from_batch_to_batch_and_over_blank_lines() -> None:
    found, _ = batches_of(*[line(type="a"), b""] * 5, stated=Origin("p", 7))
    assert [(batch.origin, len(batch.events)) for batch in found] == [
        (Origin("p", 7), 4),
        (Origin("p", 11), 1),
    ]


def test_a_hole_in_the_sequence_and_another_producer_begin_a_batch() -> None:
    named = [("p", 1), ("p", 2), ("p", 4), ("q", 5), ("q", 6)]
    found, _ = batches_of(*(line(producer=name, sequence=number) for name, number in named))
    assert [(batch.origin, len(batch.events)) for batch in found] == [
        (Origin("http:p", 1), 2),
        (Origin("http:p", 4), 1),
        (Origin("http:q", 5), 2),
    ]


def test_what_an_event_says_of_itself_wins_and_the_others_count_on() -> None:
    found, _ = batches_of(line(), line(producer="q", sequence=9), line(), stated=Origin("p", 1))
    assert [batch.origin for batch in found] == [
        Origin("p", 1), Origin("http:q", 9), Origin("p", 3),
    ]  # fmt: skip


def test_events_of_nobody_are_apart_from_those_of_somebody() -> None:
    found, _ = batches_of(line(), line(), line(producer="q", sequence=9), line())
    assert [(batch.origin, len(batch.events)) for batch in found] == [
        (None, 2),
        (Origin("http:q", 9), 1),
        (None, 1),
    ]


def test_there_is_a_most_of_events() -> None:
    limits = PublishingLimits(body_events=3)
    [batch], problem = batches_of(*[line()] * 4, limits=limits)
    assert len(batch.events) == 3
    assert isinstance(problem, TooLarge)


def test_the_newest_status_of_a_batch_is_its_status() -> None:
    [batch], _ = batches_of(
        line(status="queued", phase="one"), line(status="running"), line(status=None)
    )
    assert (batch.status, batch.phase) == ("running", "one")
