"""Whatever a producer writes, viewers get exactly that, event by event, whoever parses it."""

import json
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final
from uuid import uuid4

import pytest
import redis
from hypothesis import example, given
from hypothesis import strategies as st

from broker.wire.event import EventFormat
from broker.wire.frame import encode
from broker.wire.ids import StreamId
from tests.fuzz.effort import effort
from tests.fuzz.entries import ENTRIES, Entry, ends_run, expected_event, expected_item
from tests.fuzz.exchange import conversation
from tests.fuzz.parsers import PYTHON_PARSERS, Parse, Seen, node_parser, node_parser_missing
from tests.fuzz.target import Target
from tests.support.producer import key_of

_FIRST: Final = Entry(((b"type", b"first"), (b"data", b"")))
_LAST: Final = Entry(((b"type", b"done"), (b"data", b"{}")))
_HUGE: Final = Entry(
    ((b"type", b"t" * 300_000), (b"data", b"\r\ndata: x" * 1_000 + b"\xff" * 500_000))
)
_MANY_FIELDS: Final = Entry(tuple((b"%d\n" % number, b"\r\n") for number in range(3_000)))
_MANY_LINES: Final = Entry(((b"data", b"\n" * 5_000),))


@pytest.fixture(scope="session")
def parsers() -> Iterator[dict[str, Parse]]:
    """All parsers that can be had here; those for Python always can."""
    if node_parser_missing():
        yield {**PYTHON_PARSERS}
    else:
        with node_parser() as parse:
            yield {**PYTHON_PARSERS, "eventsource-parser": parse}


@given(st.lists(ENTRIES, min_size=1, max_size=8), st.integers(1, 100))
@example([_HUGE, _MANY_FIELDS, _MANY_LINES], 4099)
@effort(60)
def test_viewers_get_what_was_written(
    target: Target,
    producer: redis.Redis,
    parsers: dict[str, Parse],
    entries: list[Entry],
    slice_bytes: int,
) -> None:
    run_id = f"entries-{uuid4().hex}"
    written = [_FIRST, *entries, _LAST]
    ids = [_append(producer, run_id, _FIRST)]
    with conversation(target.port) as talk:
        talk.send([f"GET /v1/runs/{run_id}/events HTTP/1.1\r\nhost: x\r\n\r\n".encode()])
        stream = talk.stream()
        live = _until_caught_up(stream)
        ids += [_append(producer, run_id, entry) for entry in [*entries, _LAST]]
        live += stream

    end = next(place for place, entry in enumerate(written) if ends_run(entry)) + 1
    said = Seen(None, "runcast.caught-up", json.dumps({"id": ids[0]}, separators=(",", ":")))
    events = [expected_event(*pair) for pair in zip(ids[:end], written, strict=False)]
    _check(parsers, live, slice_bytes, [events[0], said, *events[1:]])

    replayed = target.get(f"/v1/runs/{run_id}/events?control=0")
    _check(parsers, [replayed], slice_bytes, events)

    items = [expected_item(*pair) for pair in zip(ids[:end], written, strict=False)]
    assert list(_pages(target, run_id)) == items
    target.has_no_defect()


def test_large_types_are_not_kept() -> None:
    """Types are decoded and encoded once, as long as they are what types usually are."""
    form = EventFormat()
    tracemalloc.start()
    try:
        for number in range(100):
            encode(form.decode(StreamId(number, 0), {b"type": b"%d" % number + b"t" * 100_000}))
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 1_000_000


def _append(producer: redis.Redis, run_id: str, entry: Entry) -> str:
    # By hand: the client's own way takes a dict, which has no name twice.
    execute: Any = producer.execute_command
    added = execute("XADD", key_of(run_id), "*", *entry.arguments)
    return str(added.decode())


def _until_caught_up(stream: Iterator[bytes]) -> list[bytes]:
    pieces = []
    for piece in stream:
        pieces.append(piece)
        if b'event: runcast.caught-up\ndata: {"id":"' in b"".join(pieces):
            return pieces
    raise AssertionError(f"never caught up: {pieces}")


def _check(
    parsers: dict[str, Callable[[Sequence[bytes]], list[Seen]]],
    pieces: Sequence[bytes],
    slice_bytes: int,
    expected: list[Seen],
) -> None:
    """Fails unless each parser sees these events, in whatever pieces the bytes come."""
    body = b"".join(pieces)
    step = max(slice_bytes, len(body) // 500)
    slices = [body[start : start + step] for start in range(0, len(body), step)]
    for name, parse in parsers.items():
        for cut in (pieces, slices):
            assert parse(cut) == expected, name


def _pages(target: Target, run_id: str) -> Iterator[tuple[str, str | None, str]]:
    cursor, final = "", False
    while not final:
        path = f"/v1/runs/{run_id}/events?limit=3&last_event_id={cursor}"
        page = json.loads(target.get(path, accept="application/json"))
        for event in page["events"]:
            yield event["id"], event["type"], event["data"]
        cursor, final = page["next"], page["final"]
