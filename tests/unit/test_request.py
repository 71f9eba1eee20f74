"""What a viewer asks for, and what is refused."""

from collections.abc import Sequence

import pytest

from broker.wire.ids import StreamId
from broker.wire.problem import BadCursor, BadParameter, Problem
from broker.wire.request import (
    Beginning,
    EventsRequest,
    Latest,
    Newest,
    RequestLimits,
    Resume,
    Since,
    Start,
)

CURSOR = StreamId(7, 2)


def parse(header: Sequence[str] = (), accept: str = "", **query: str) -> EventsRequest:
    return EventsRequest.parse(
        last_event_id=header,
        accept=accept,
        query={name.rstrip("_"): value for name, value in query.items()},
        limits=RequestLimits(page_events=1000, wait_seconds=25),
    )


@pytest.mark.parametrize(
    ("query", "start"),
    [
        ({}, Beginning()),
        ({"last_event_id": "7-2"}, Resume(CURSOR)),
        ({"lastEventId": "7-2"}, Resume(CURSOR)),
        ({"since": "7-2"}, Resume(CURSOR)),
        ({"since": ""}, Beginning()),
        ({"from_": "latest"}, Latest()),
        ({"from_": "-50"}, Newest(50)),
        ({"from_": "2026-01-01T00:00:00Z"}, Since(1_767_225_600_000)),
        ({"from_": "2026-01-01T01:00:00.25+01:00"}, Since(1_767_225_600_250)),
        ({"from_": "2026-01-01T01:00:00 01:00"}, Since(1_767_225_600_000)),
        ({"from_": "latest", "since": "7-2"}, Resume(CURSOR)),
    ],
)
def test_where_to_start(query: dict[str, str], start: Start) -> None:
    assert parse(**query).start == start


def test_the_header_wins_over_the_query() -> None:
    assert parse(("7-2",), since="1-1", from_="latest").start == Resume(CURSOR)


def test_an_empty_header_is_no_header() -> None:
    assert parse(("",)).start == Beginning()


@pytest.mark.parametrize("text", ["x", "42", "-1-0", "18446744073709551616-0", "1-0\r\nX: y"])
def test_a_cursor_that_is_no_id(text: str) -> None:
    with pytest.raises(BadCursor):
        parse((text,))
    with pytest.raises(BadCursor):
        parse(since=text)


def test_two_different_cursors_in_headers() -> None:
    with pytest.raises(BadCursor, match="more than once"):
        parse(("7-2", "7-3"))


def test_a_bad_value_is_refused_even_where_another_wins() -> None:
    with pytest.raises(BadCursor):
        parse(("7-2",), since="x")
    with pytest.raises(BadParameter):
        parse(("7-2",), from_="x")


@pytest.mark.parametrize(
    "query",
    [
        {"from_": "yesterday"}, {"from_": "-0"}, {"from_": "-1001"}, {"from_": "50"},
        {"from_": "2026-01-01T00:00:00"}, {"from_": "1900-01-01T00:00:00Z"},
        {"limit": "0"}, {"limit": "1001"}, {"limit": "-1"}, {"limit": "x"}, {"limit": ""},
        {"limit": "1" * 5000}, {"limit": "\uff11"},
        {"wait": "-1"}, {"wait": "26"}, {"wait": "nan"}, {"wait": "1e1"},
        {"types": ","}, {"types": ",".join(map(str, range(65)))},
        {"control": "maybe"}, {"control": ""}, {"heartbeat": "1"},
    ],
)  # fmt: skip
def test_values_that_are_refused(query: dict[str, str]) -> None:
    with pytest.raises(BadParameter) as caught:
        parse(**query)
    assert caught.value.status == 400


def test_what_a_stranger_sent_is_shown_short_and_printable() -> None:
    with pytest.raises(Problem) as caught:
        parse(("\r\nX: y" + "a" * 10_000,))
    assert len(caught.value.detail) < 400
    assert caught.value.detail.isprintable()


def test_options() -> None:
    request = parse(types="a,,b", control="0", heartbeat="event", limit="7", wait="2.5")
    assert request.types == {"a", "b"}
    assert not request.control
    assert request.heartbeat_as_event
    assert (request.limit, request.wait_seconds) == (7, 2.5)
    assert parse(unknown="x") == parse()


@pytest.mark.parametrize(
    ("accept", "as_json"),
    [
        ("", False),
        ("*/*", False),
        ("text/event-stream", False),
        ("application/json", True),
        ("application/json, text/event-stream", False),
        ("text/event-stream;q=0.5, application/json", True),
        ("Application/JSON; q=1", True),
        ("application/json;q=0", False),
        ("text/html", False),
    ],
)
def test_json_or_a_stream(accept: str, as_json: bool) -> None:
    assert parse(accept=accept).as_json is as_json
