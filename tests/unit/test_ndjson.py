"""Lines of JSON as events."""

import pytest

from broker.commands.ndjson import BadEvent, NewEvent, new_event, parse_line


@pytest.mark.parametrize(
    ("line", "event"),
    [
        (b'{"type": "chunk", "data": {"text": "hi"}}', NewEvent("chunk", '{"text":"hi"}')),
        (b'{"type": "chunk", "data": "as it is \\n"}', NewEvent("chunk", "as it is \n")),
        (b'{"type": "chunk", "data": ""}', NewEvent("chunk", "")),
        (b'{"type": "chunk", "data": null}', NewEvent("chunk", "null")),
        (b'{"type": "chunk", "data": [1, 2.5, "\xc3\xa9"]}', NewEvent("chunk", '[1,2.5,"é"]')),
        (b'{"data": 1}', NewEvent("", "1")),
        (b'{"type": null, "data": 1}', NewEvent("", "1")),
        (b'{"type": "chunk", "text": "hi", "n": 1}', NewEvent("chunk", '{"text":"hi","n":1}')),
        (b'{"text": "hi"}', NewEvent("", '{"text":"hi"}')),
        (b'{"type": "done"}', NewEvent("done", "{}")),
        (b"{}", NewEvent("", "{}")),
        (b'  {"type": "done"}\r', NewEvent("done", "{}")),
        # What `runcast tail --json` prints.
        (
            b'{"id":"1-0","type":"chunk","data":"{\\"a\\":1}","time":"2026-01-01T00:00:00.000Z"}',
            NewEvent("chunk", '{"a":1}'),
        ),
    ],
)
def test_a_line_is_an_event(line: bytes, event: NewEvent) -> None:
    assert parse_line(line) == event


@pytest.mark.parametrize("line", [b"", b"   ", b"\t\r"])
def test_a_blank_line_is_none(line: bytes) -> None:
    assert parse_line(line) is None


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (b"hello", "not JSON ("),
        (b'{"type": "a"', "not JSON ("),
        (b'{"data": "\xff"}', "not JSON"),
        (b'{"data": "\\ud800"}', "not JSON"),
        (b"[1]", "not a JSON object"),
        (b'"chunk"', "not a JSON object"),
        (b'{"type": 1}', "the type is not a string"),
        (b'{"type": "a\\nb"}', "'a\\nb' can't be an event type"),
        (b'{"type": "runcast.gap"}', "'runcast.gap' can't be an event type"),
    ],
)
def test_a_bad_line_says_why(line: bytes, why: str) -> None:
    with pytest.raises(BadEvent) as caught:
        parse_line(line)
    assert str(caught.value).startswith(why)
    assert len(str(caught.value).splitlines()) == 1


def test_a_line_that_is_not_json_says_where() -> None:
    with pytest.raises(BadEvent, match=r"column 10\)$"):
        parse_line(b'{"type": chunk}')


def test_a_long_bad_type_is_not_repeated_in_full() -> None:
    with pytest.raises(BadEvent) as caught:
        new_event("\n" * 1000, None)
    assert len(str(caught.value)) < 300


def test_bytes_of_the_command_line_that_are_not_utf8_are_refused() -> None:
    with pytest.raises(BadEvent, match="the data is not UTF-8"):
        new_event("chunk", b"\xff".decode("utf-8", "surrogateescape"))
    with pytest.raises(BadEvent, match="the type is not UTF-8"):
        new_event(b"\xff".decode("utf-8", "surrogateescape"), "{}")


def test_data_that_is_nested_too_deeply_is_refused() -> None:
    deep = b"[" * 300 + b"]" * 300
    with pytest.raises(BadEvent, match="can't be written again"):
        parse_line(b'{"type": "chunk", "data": %b}' % deep)
