"""The dialect that a profile describes."""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.wire.dialect import SaysStatus
from broker.wire.event import Event, EventFormat
from broker.wire.frame import Frame, encode
from broker.wire.gap import Gap, GapReason
from broker.wire.id_schemes import ID_SCHEMES
from broker.wire.ids import START, StreamId
from broker.wire.shape import Shape
from broker.wire.shaped import BLOCK_PLACES, EVENT_PLACES, Block, Rules, Shaped, Words
from broker.wire.status import RunStatus
from tests.support.sse import Decoder

AT = StreamId(1_718_900_000_000, 3)
NUMBER = AT.ms * 4096 + AT.seq


def of_events(data: str, event: str | None = None) -> Block:
    """A block of events with this shape."""
    return Block(event, Shape(data, EVENT_PLACES))


def control(kind: str, data: str, event: str | None = "") -> Block:
    """A block that is none."""
    return Block(event, Shape(data, BLOCK_PLACES[kind]))


PASSING = Words(ID_SCHEMES["stream"], Rules(Block(None, None)))
COUNTED = replace(PASSING, ids=ID_SCHEMES["integer"])


def frame(
    data: bytes, event_type: str = "chunk", *, at: StreamId = AT, final: bool = False
) -> Frame:
    """An event, framed."""
    return encode(Event(at, event_type, data, final))


def wire(words: Words, *frames: Frame) -> bytes:
    """What a viewer gets of these."""
    return b"".join(Shaped(words, "42").encode(frames))


# ---- events


def test_what_passes_is_as_it_was_written() -> None:
    events = [frame(b'{"a":\n 1}'), frame(b"", ""), frame(b" x\r\ny\r")]
    assert wire(PASSING, *events) == b"".join(event.wire for event in events)
    assert wire(COUNTED, *events).count(b"id: %d\n" % NUMBER) == 3


def test_a_shape_has_all_that_is_known_of_an_event() -> None:
    shape = (
        '{"run": $run_id, "id": $id, "n": $sequence, "type": $type, "at": $time, "final": $final,'
        ' "how": $outcome, "data": $data}'
    )
    words = Words(ID_SCHEMES["stream"], Rules(of_events(shape)))
    known = json.loads(wire(words, frame(b"[1]")).split(b"data: ")[1])
    assert known == {
        "run": "42",
        "id": "1718900000000-3",
        "n": NUMBER,
        "type": "chunk",
        "at": "2024-06-20T16:13:20.000Z",
        "final": False,
        "how": None,
        "data": [1],
    }
    unnamed = json.loads(wire(words, frame(b"x", "", at=StreamId(0, 7))).split(b"data: ")[1])
    assert unnamed == {**known, "id": "0-7", "n": 7, "type": None, "at": None, "data": "x"}


def test_each_type_has_its_rule_and_the_end_has_one_too() -> None:
    rules = Rules(
        usual=of_events('{"usual": $type}'),
        by_type={
            "left-out": None,
            "renamed": of_events('{"by": "type"}', "other"),
            "unnamed": of_events("$data", ""),
            "done": of_events('{"by": "done"}'),
        },
        final=of_events('{"final": $outcome}', "end"),
    )
    words = Words(ID_SCHEMES["integer"], rules, {"completed": "succeeded"})
    got = Decoder().feed(
        wire(
            words,
            frame(b"1"),
            frame(b"2", "left-out"),
            frame(b"3", "renamed"),
            frame(b"4", "unnamed"),
            frame(b"5", "done", final=True),
            frame(b"6", "bye", final=True),
            frame(b'{"status": "failed"}', "bye", final=True),
        )
    )
    assert [(each.type, each.data) for each in got] == [
        ("chunk", '{"usual":"chunk"}'),
        ("other", '{"by":"type"}'),
        ("message", "4"),
        ("done", '{"by":"done"}'),
        ("end", '{"final":"succeeded"}'),
        ("end", '{"final":"failed"}'),
    ]
    assert {each.id for each in got} == {str(NUMBER)}


def test_an_end_that_is_left_out_still_moves_the_cursor_there() -> None:
    words = Words(ID_SCHEMES["integer"], Rules(Block(None, None), {"done": None}))
    decoder = Decoder()
    assert decoder.feed(wire(words, frame(b"{}", "done"))) == []
    assert decoder.last_event_id == ""
    assert decoder.feed(wire(words, frame(b"{}", "done", final=True))) == []
    assert decoder.last_event_id == str(NUMBER)


def test_an_event_without_a_number_is_sent_without_an_id() -> None:
    crowded = frame(b"{}", at=StreamId(AT.ms, 4096))
    assert wire(COUNTED, crowded) == b"event: chunk\ndata: {}\n\n"
    assert wire(COUNTED, frame(b"{}")).startswith(b"id: ")


@given(
    fields=st.dictionaries(
        st.sampled_from([b"type", b"data", b"final", b"other"]),
        st.binary() | st.sampled_from([b"a\nid: 9\n\ndata: forged", b"\r\n\r\nevent: x", b"\x00"]),
    ),
    entry=st.builds(StreamId, st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1)),
)
def test_one_entry_is_one_block_whatever_is_in_it(
    fields: dict[bytes, bytes], entry: StreamId
) -> None:
    event = EventFormat().decode(entry, fields)
    shapes = ('{"t": $type, "d": $data, "m": $data.a}', '{"run": $run_id, $data.*}', "$data")
    for words in (
        PASSING,
        COUNTED,
        *(Words(ID_SCHEMES["integer"], Rules(of_events(shape))) for shape in shapes),
    ):
        sent = wire(words, encode(event))
        assert sent.endswith(b"\n\n")
        assert b"\n\n" not in sent[:-1], "a blank line ends a block"
        assert b"\r" not in sent
        decoder = Decoder()
        messages = decoder.feed(sent)
        assert len(messages) <= 1
        number = words.ids.write(entry)
        assert decoder.last_event_id == (number or "")
        if words.events.usual.shape is not None:
            json.loads(messages[0].data)


# ---- other blocks


def test_blocks_that_the_profile_has_no_words_for_are_not_sent() -> None:
    dialect = Shaped(PASSING, "42")
    assert dialect.gap(Gap(AT, None, GapReason.RESET)) == b""
    assert dialect.caught_up(AT) == b""
    assert dialect.opening(RunStatus("running")) == b""
    assert dialect.status(RunStatus("running")) == b""


def test_a_gap_is_said_in_the_profiles_ids() -> None:
    shape = '{"run": $run_id, "from": $requested, "to": $resumed_at, "why": $reason}'
    dialect = Shaped(replace(COUNTED, gap=control("gap", shape, "gap")), "42")
    said = {"run": "42", "from": "5", "to": str(NUMBER), "why": "trimmed"}
    gap = Gap(StreamId(0, 5), AT, GapReason.TRIMMED)
    (message,) = Decoder().feed(dialect.gap(gap))
    assert (message.type, message.own_id) == ("gap", False)
    assert json.loads(message.data) == said
    (message,) = Decoder().feed(dialect.gap(replace(gap, resumed_at=None)))
    assert json.loads(message.data) == {**said, "to": None}
    assert dialect.after_gap() == dialect


def test_how_the_run_stands_is_said_in_the_profiles_words() -> None:
    words = replace(
        COUNTED,
        statuses={"queued": "pending"},
        opening=control("opening", '{"type": "connected", "is": $status, "in": $phase}'),
        status=control("status", '{"run": $run_id, "is": $status, "in": $phase}', "status"),
    )
    dialect = Shaped(words, "42")
    assert isinstance(dialect, SaysStatus)
    assert dialect.opening(RunStatus("queued")) == (
        b'data: {"type":"connected","is":"pending","in":null}\n\n'
    )
    assert dialect.status(RunStatus("thinking", "planning")) == (
        b'event: status\ndata: {"run":"42","is":"thinking","in":"planning"}\n\n'
    )


def test_caught_up_is_a_block_or_nothing() -> None:
    block = control("caught_up", '{"at": $id}', "ready")
    dialect = Shaped(replace(COUNTED, caught_up=block), "42")
    assert dialect.caught_up(AT) == b'event: ready\ndata: {"at":"%d"}\n\n' % NUMBER


def test_a_heartbeat_is_a_comment_or_a_block() -> None:
    dialect = Shaped(COUNTED, "42")
    assert dialect.heartbeat(None) == b": heartbeat\n"
    assert dialect.heartbeat(AT) == b": heartbeat\nid: %d\n\n" % NUMBER
    assert dialect.heartbeat(StreamId(5, 5)) == b": heartbeat\n"
    named = Shaped(replace(COUNTED, heartbeat=control("heartbeat", "{}", "ping")), "42")
    assert named.heartbeat(None) == b"event: ping\ndata: {}\n\n"
    assert named.heartbeat(AT) == b"id: %d\nevent: ping\ndata: {}\n\n" % NUMBER


def test_the_greeting_and_a_move_carry_the_id_if_there_is_one() -> None:
    dialect = Shaped(COUNTED, "42")
    assert dialect.greeting(2000, None) == b"retry: 2000\n"
    assert dialect.greeting(2000, AT) == b"retry: 2000\nid: %d\n" % NUMBER
    assert dialect.greeting(2000, START) == b"retry: 2000\nid: 0\n"
    assert dialect.moved(AT) == b"id: %d\n\n" % NUMBER
    assert dialect.moved(StreamId(5, 5)) == b""


@pytest.mark.parametrize("other", [Shaped(PASSING, "43"), Shaped(replace(PASSING), "42"), None])
def test_viewers_of_the_same_run_in_the_same_words_share_their_bytes(other: Any) -> None:
    assert Shaped(PASSING, "42") == Shaped(PASSING, "42")
    assert hash(Shaped(PASSING, "42")) == hash(Shaped(PASSING, "42"))
    assert Shaped(PASSING, "42") != other
