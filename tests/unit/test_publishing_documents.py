"""What is taken as an event, a command, a run, a key, a producer; and what is not."""

import contextlib
import string
from collections.abc import Callable

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.edge.publishing.documents import (
    NewCommand,
    NewRun,
    parse_command,
    parse_event,
    parse_new_run,
)
from broker.edge.publishing.origin import GREATEST_SEQUENCE, Origin, idempotency_key, stated_origin
from broker.redis.appending import NewEvent
from broker.wire.ids import RunId
from broker.wire.problem import BadBody, BadHeader


@pytest.mark.parametrize(
    ("text", "event"),
    [
        (b"{}", NewEvent("", "{}")),
        (b'{"type":null,"status":null,"phase":null}', NewEvent("", "{}")),
        (b' {"type":"chunk","data":{"text": "hi"}}\r', NewEvent("chunk", '{"text":"hi"}')),
        (b'{"data":"as it is \\u0000 \\n"}', NewEvent("", "as it is \0 \n")),
        (b'{"data":null}', NewEvent("", "null")),
        (b'{"data":[1.5,true]}', NewEvent("", "[1.5,true]")),
        (b'{"type":"x","final":true}', NewEvent("x", "{}", True)),
        ('{"type":"ä\u2028","data":"ß"}'.encode(), NewEvent("ä\u2028", "ß")),
    ],
)
def test_events(text: bytes, event: NewEvent) -> None:
    published = parse_event(text)
    assert published.event == event
    assert published.origin is None


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"\xff", "not JSON"),
        (b"NaN", "not JSON"),
        (b'{"data":"\\ud800"}', "not JSON"),
        (b"[]", "not a JSON object"),
        (b'"x"', "not a JSON object"),
        (b'{"Type":"x"}', "'Type' is none of"),
        (b'{"a\\nb\xc3\xa4":1}', r"'a\nb\xe4' is none of"),
        (b'{"type":1}', "type is not"),
        (b'{"type":"a\\nb"}', "type is not"),
        (b'{"type":"a\\u0000b"}', "type is not"),
        (b'{"type":"runcast.gap"}', "type is not"),
        (orjson.dumps({"type": "x" * 257}), "type is not"),
        (b'{"final":1}', "final is not"),
        (b'{"final":null}', "final is not"),
        (b'{"status":1}', "status is not"),
        (orjson.dumps({"phase": "x" * 257}), "phase is not"),
        (b'{"producer":"p"}', "sequence is not"),
        (b'{"sequence":1}', "producer is not"),
        (b'{"producer":"a b","sequence":1}', "producer is not"),
        (b'{"producer":"p","sequence":0}', "sequence is not"),
        (b'{"producer":"p","sequence":true}', "sequence is not"),
        (b'{"producer":"p","sequence":"1"}', "sequence is not"),
        (b'{"producer":"p","sequence":1.5}', "sequence is not"),
        (b'{"producer":"p","sequence":null}', "sequence is not"),
        (b'{"producer":"p","sequence":4503599627370497}', "sequence is not"),
        (b'{"data":' + b"[" * 300 + b"]" * 300 + b"}", "data is nested too deeply"),
        (b"[" * 5000, "not JSON"),
    ],
)
def test_what_is_no_event(text: bytes, why: str) -> None:
    with pytest.raises(BadBody) as refused:
        parse_event(text, 3)
    assert why in refused.value.detail
    assert refused.value.detail.isascii()
    assert refused.value.detail.isprintable()
    assert refused.value.members["line"] == 3


@pytest.mark.parametrize("parse", [parse_event, parse_command, parse_new_run])
@given(text=st.binary(max_size=40))
def test_no_bytes_are_a_defect(parse: Callable[[bytes], object], text: bytes) -> None:
    with contextlib.suppress(BadBody):
        parse(text)


@pytest.mark.parametrize("number", [1, GREATEST_SEQUENCE, 7.0])
def test_an_event_may_say_who_it_comes_from(number: float) -> None:
    published = parse_event(orjson.dumps({"producer": "w-1:a.b_c", "sequence": number}))
    assert published.origin == Origin("http:w-1:a.b_c", int(number))


def test_commands() -> None:
    assert parse_command(b'{"type":"cancel"}') == NewCommand("cancel", "{}")
    assert parse_command(b'{"type":"input","data":"yes"}') == NewCommand("input", '"yes"')
    assert parse_command(b'{"type":"x","data":null}') == NewCommand("x", "null")


@pytest.mark.parametrize(
    "text", [b"{}", b'{"type":""}', b'{"type":null}', b'{"type":"a\\r"}', b'{"type":"x","final":1}']
)
def test_what_is_no_command(text: bytes) -> None:
    with pytest.raises(BadBody):
        parse_command(text)


def test_new_runs() -> None:
    assert parse_new_run(b"{}") == NewRun(None, "", "null")
    assert parse_new_run(b'{"run_id":null,"agent":null,"input":null}') == NewRun(None, "", "null")
    assert parse_new_run(b'{"run_id":"4-2_","agent":"a-b_c","input":[ 1 ]}') == NewRun(
        RunId("4-2_"), "a-b_c", "[1]"
    )


@pytest.mark.parametrize(
    "text",
    [
        b'{"run_id":""}', b'{"run_id":"a b"}', b'{"run_id":"a:b"}', b'{"run_id":4}',
        b'{"agent":""}', b'{"agent":"a b"}', b'{"agent":"a{b}"}', b'{"agent":"a.b"}',
        b'{"runid":"4"}', b"[]",
    ],
)  # fmt: skip
def test_what_is_no_new_run(text: bytes) -> None:
    with pytest.raises(BadBody):
        parse_new_run(text)


# ---- headers


@pytest.mark.parametrize(
    ("written", "key"),
    [
        ("8e03978e", "8e03978e"),
        ('"8e03978e"', "8e03978e"),
        (' "a b" ', "a b"),
        ("a b", "a b"),
        (r'"a\"b\\c"', r'a"b\c'),
        ("x" * 255, "x" * 255),
        (r"a\b", r"a\b"),
    ],
)
def test_a_key_is_the_same_with_quotes_and_without(written: str, key: str) -> None:
    assert idempotency_key([written]) == key


@pytest.mark.parametrize(
    "values", [[""], ['""'], ["ä"], ["a\0"], ["x" * 256], ['"a'], ['a"b'], [r'"a\b"'], ["a", "a"]]
)
def test_what_is_no_key(values: list[str]) -> None:
    with pytest.raises(BadHeader):
        idempotency_key(values)


def test_without_a_word_events_come_from_nobody_in_particular() -> None:
    assert idempotency_key([]) is None
    assert stated_origin([], [], []) is None


@given(st.text(string.printable[:95], min_size=1, max_size=30).filter(lambda key: key.strip()))
def test_a_key_makes_a_producer_that_no_name_makes(key: str) -> None:
    written = '"' + key.replace("\\", "\\\\").replace('"', '\\"') + '"'
    origin = stated_origin([written], [], [])
    assert origin is not None
    assert origin.producer.startswith("key:")
    assert len(origin.producer) == 36
    assert origin.sequence == 1


def test_a_name_wins_over_a_key() -> None:
    assert stated_origin(["k"], ["key:1"], ["12"]) == Origin("http:key:1", 12)


@pytest.mark.parametrize(
    ("producers", "sequences"),
    [
        (["p"], []),
        ([], ["1"]),
        (["p"], ["0"]),
        (["p"], ["01"]),
        (["p"], ["+1"]),
        (["p"], ["1", "2"]),
        (["p", "q"], ["1"]),
        (["p"], ["\u0661"]),
        (["p"], [str(GREATEST_SEQUENCE + 1)]),
        ([""], ["1"]),
        (["p" * 65], ["1"]),
    ],
)
def test_a_name_and_a_sequence_belong_together(producers: list[str], sequences: list[str]) -> None:
    with pytest.raises(BadHeader) as refused:
        stated_origin([], producers, sequences)
    assert refused.value.detail.isascii()
