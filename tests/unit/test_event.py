"""From entry to event: fields, repairs, what ends a run."""

import orjson
import pytest

from broker.wire.event import Event, EventFormat, TerminalRule, is_event_type
from broker.wire.ids import StreamId

ID = StreamId(5, 1)
FORMAT = EventFormat(terminal_types=frozenset({"done", "failed"}))


def decode(fields: dict[bytes, bytes], form: EventFormat = FORMAT) -> Event:
    return form.decode(ID, fields)


def test_type_and_data_pass_through() -> None:
    assert decode({b"type": b"chunk", b"data": b'{"a": 1}'}) == Event(ID, "chunk", b'{"a": 1}')


def test_without_type() -> None:
    assert decode({b"data": b"x"}) == Event(ID, "", b"x")


def test_without_data_the_other_fields_are_an_object() -> None:
    event = decode({b"type": b"step", b"name": b"plan", b"n": b"2", b"final": b"0"})
    assert event.type == "step"
    assert orjson.loads(event.data) == {"name": "plan", "n": "2"}
    assert not event.repaired


def test_empty_data_is_data() -> None:
    assert decode({b"data": b""}).data == b""


def test_field_names_are_settings() -> None:
    form = EventFormat(type_field="kind", data_field="body", final_field="last")
    event = decode({b"kind": b"a", b"body": b"b", b"last": b"1"}, form)
    assert event == Event(ID, "a", b"b", final=True)


@pytest.mark.parametrize("raw", [b"a\nid: 9-9", b"a\rb", b"a\0", b"\r\n"])
def test_line_breaks_and_nul_are_stripped_from_the_type(raw: bytes) -> None:
    event = decode({b"type": raw, b"data": b"x"})
    assert not set(event.type) & set("\r\n\0")
    assert event.repaired


def test_other_bytes_than_utf8_are_replaced_and_said() -> None:
    event = decode({b"type": b"a\xff", b"data": b"\x89PNG\xff"})
    assert event.type == "a�"
    assert event.data.decode() == "�PNG�"
    assert event.repaired
    assert decode({b"v": b"\xff"}).repaired


@pytest.mark.parametrize(
    ("fields", "final"),
    [
        ({b"type": b"done"}, True),
        ({b"type": b"failed", b"data": b"{}"}, True),
        ({b"type": b"Done"}, False),
        ({b"type": b"chunk", b"final": b"1"}, True),
        ({b"type": b"chunk", b"final": b"0"}, False),
        ({b"type": b"chunk", b"final": b"true"}, False),
    ],
)
def test_what_ends_a_run(fields: dict[bytes, bytes], final: bool) -> None:
    assert decode(fields).final is final


@pytest.mark.parametrize(
    ("data", "final"),
    [
        (b'{"state":"succeeded"}', True),
        (b'{"a":1,"state":"failed"}', True),
        (b'{"state":"running"}', False),
        (b'{"inner":{"state":"failed"}}', False),
        (b'["state","failed"]', False),
        (b"state failed", False),
        (b'{"state":["failed"]}', False),
        (b'{"state":1}', False),
    ],
)
def test_a_rule_on_a_top_level_key(data: bytes, final: bool) -> None:
    rule = TerminalRule.parse("state in succeeded, failed")
    assert decode({b"data": data}, EventFormat(terminal_rule=rule)).final is final


@pytest.mark.parametrize("text", ["", "state", "state in", "state in ,", " in a", "state=failed"])
def test_rules_of_another_shape(text: str) -> None:
    with pytest.raises(ValueError, match="KEY in VALUE"):
        TerminalRule.parse(text)


@pytest.mark.parametrize("text", ["a\n", "a\r", "\0", "runcast.gap"])
def test_types_that_nobody_may_publish(text: str) -> None:
    assert not is_event_type(text)


@pytest.mark.parametrize("text", ["", "chunk", "a b", "runcast"])
def test_types_that_may_be_published(text: str) -> None:
    assert is_event_type(text)
