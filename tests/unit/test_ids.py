"""Run ids and stream ids: syntax, order, neighbours."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.wire.ids import START, StreamId, is_run_id

numbers = st.integers(0, 2**64 - 1)
ids = st.builds(StreamId, numbers, numbers)


@given(ids)
def test_what_is_written_is_parsed(stream_id: StreamId) -> None:
    assert StreamId.parse(str(stream_id)) == stream_id


@given(ids.filter(lambda stream_id: stream_id != START))
def test_nothing_lies_between_an_id_and_its_predecessor(stream_id: StreamId) -> None:
    assert stream_id.predecessor() < stream_id
    assert stream_id.predecessor().successor() == stream_id


def test_the_start_has_no_predecessor() -> None:
    with pytest.raises(ValueError, match="0-0"):
        START.predecessor()


@pytest.mark.parametrize(
    "text",
    [
        "", "1", "1-", "-1", "a-b", "1-1-1", "-1-0", "+1-0", "01-0", "1-00", "1 -0", " 1-0",
        "1-0\n",
        "1-0\r\nx: y", "18446744073709551616-0", "0-18446744073709551616", "1-0\0",
        "\u0661-0", "1.0-0",
        "1-0" * 4000,
    ],
)  # fmt: skip
def test_anything_else_is_not_an_id(text: str) -> None:
    with pytest.raises(ValueError):
        StreamId.parse(text)


@pytest.mark.parametrize("text", ["a", "A-Z_09", "x" * 128])
def test_run_ids(text: str) -> None:
    assert is_run_id(text)


@pytest.mark.parametrize(
    "text", ["", "x" * 129, "a b", "a/b", "a\n", "{a}", "a*", "ä", "a\0", ".."]
)
def test_not_run_ids(text: str) -> None:
    assert not is_run_id(text)
