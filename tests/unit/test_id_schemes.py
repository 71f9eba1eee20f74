"""Ids as clients see them, both ways."""

from datetime import UTC, datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from broker.wire.id_schemes import ID_SCHEMES, IntegerIds
from broker.wire.ids import GREATEST_PART, START, StreamId
from broker.wire.request import Beginning, CursorForm, EventsRequest, RequestLimits, Resume

IDS = IntegerIds()
EXACT_IN_JAVASCRIPT = 2**53

dense = st.builds(StreamId, st.just(0), st.integers(0, 2**40 - 1))
timed = st.builds(StreamId, st.integers(2**28, 2**51 - 1), st.integers(0, 4095))
any_id = st.builds(
    StreamId, st.integers(0, GREATEST_PART), st.integers(0, GREATEST_PART)
) | st.builds(StreamId, st.integers(0, 2**52), st.integers(0, 10_000))


@given(stream_id=dense | timed)
@example(StreamId(0, 2**40 - 1))
@example(StreamId(2**28, 0))
@example(StreamId(2**51 - 1, 4095))
def test_each_id_that_has_a_number_is_read_back_from_it(stream_id: StreamId) -> None:
    text = IDS.write(stream_id)
    assert text is not None
    assert text == str(IDS.number(stream_id))
    assert IDS.read(text) == stream_id


@given(number=st.integers(0, 2**63 - 1))
@example(2**40 - 1)
@example(2**40)
@example(2**63 - 1)
def test_each_number_stands_for_one_id(number: int) -> None:
    assert IDS.number(IDS.read(str(number))) == number


@given(one=any_id, two=any_id)
def test_numbers_grow_along_the_run(one: StreamId, two: StreamId) -> None:
    numbers = IDS.number(one), IDS.number(two)
    if None not in numbers:
        assert (one < two) == (numbers[0] < numbers[1])  # type: ignore[operator]


@pytest.mark.parametrize(
    "stream_id",
    [
        StreamId(0, 2**40),
        StreamId(1, 0),
        StreamId(2**28 - 1, 4095),
        StreamId(1_718_900_000_000, 4096),
        StreamId(2**51, 0),
        StreamId(GREATEST_PART, GREATEST_PART),
    ],
)
def test_other_ids_have_no_number(stream_id: StreamId) -> None:
    assert IDS.number(stream_id) is None
    assert IDS.write(stream_id) is None


def test_javascript_takes_them_exactly_until_2039() -> None:
    last_second = int(datetime(2039, 9, 7, 15, 47, 35, tzinfo=UTC).timestamp())
    number = IDS.number(StreamId(last_second * 1000, 4095))
    assert number is not None
    assert number < EXACT_IN_JAVASCRIPT
    later = IDS.number(StreamId((last_second + 1) * 1000, 0))
    assert later is not None
    assert later >= EXACT_IN_JAVASCRIPT


def test_dense_ids_are_what_the_producer_has_counted() -> None:
    assert [IDS.write(StreamId(0, count)) for count in (1, 2, 3)] == ["1", "2", "3"]
    assert IDS.read("42") == StreamId(0, 42)
    assert IDS.read("0") == START


@pytest.mark.parametrize(
    "text", ["", "-1", "+1", "01", "1.0", "1e3", " 1", "1 ", "0-1", "x", "٣", str(2**63), "9" * 400]
)
def test_what_is_no_number_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        IDS.read(text)


def test_without_ids_every_client_begins_at_the_start() -> None:
    ids = ID_SCHEMES["none"]
    assert ids.write(StreamId(5, 5)) is None
    assert ids.read("whatever") == START


@given(stream_id=any_id)
def test_redis_own_ids_are_unchanged(stream_id: StreamId) -> None:
    ids = ID_SCHEMES["stream"]
    assert ids.write(stream_id) == str(stream_id)
    assert ids.read(str(stream_id)) == stream_id


@pytest.mark.parametrize(("zero_is_none", "start"), [(True, Beginning()), (False, Resume(START))])
def test_zero_stands_for_having_seen_nothing_where_the_profile_says_so(
    zero_is_none: bool, start: object
) -> None:
    form = CursorForm(IDS, ("since",), zero_is_none)
    for headers, query in ((["0"], {}), ([], {"since": "0"})):
        request = EventsRequest.parse(
            last_event_id=headers, accept="", query=query, limits=RequestLimits(), cursors=form
        )
        assert request.start == start
