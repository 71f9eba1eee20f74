"""Frames, checked with a decoder that was written from the standard."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.wire.event import EventFormat
from broker.wire.frame import (
    caught_up_block,
    encode,
    gap_block,
    greeting,
    heartbeat_block,
    id_block,
)
from broker.wire.gap import Gap, GapReason
from broker.wire.ids import StreamId
from tests.support.sse import Decoder, Message

FORMAT = EventFormat()
ID = StreamId(1718900000000, 0)


def frame(**fields: bytes) -> bytes:
    return encode(FORMAT.decode(ID, {name.encode(): value for name, value in fields.items()})).wire


def test_the_bytes_of_a_frame() -> None:
    assert frame(type=b"chunk", data=b'{"text":"hi"}') == (
        b'id: 1718900000000-0\nevent: chunk\ndata: {"text":"hi"}\n\n'
    )


@pytest.mark.parametrize("data", [b"a\nb", b"a\rb", b"a\r\nb"])
def test_each_line_of_the_data_is_a_field(data: bytes) -> None:
    assert frame(data=data) == b"id: 1718900000000-0\ndata: a\ndata: b\n\n"


def test_empty_data_is_still_dispatched() -> None:
    assert Decoder().feed(frame(type=b"a", data=b"")) == [Message("a", "", str(ID), True)]


@given(st.binary(max_size=60), st.binary(max_size=200))
def test_no_producer_can_break_out_of_a_frame(event_type: bytes, data: bytes) -> None:
    decoder = Decoder()
    messages = decoder.feed(frame(type=event_type, data=data))
    assert len(messages) == 1
    assert messages[0].id == str(ID)
    assert not decoder.comments
    assert decoder.retry is None
    assert not decoder.mid_frame
    expected = data.decode("utf-8", "replace").replace("\r\n", "\n").replace("\r", "\n")
    assert messages[0].data == expected


def test_control_events_carry_no_id() -> None:
    decoder = Decoder()
    gap = Gap(StreamId(1, 0), StreamId(4, 0), GapReason.TRIMMED)
    messages = decoder.feed(gap_block(gap) + caught_up_block(StreamId(4, 0)))
    assert [(message.type, message.data, message.own_id) for message in messages] == [
        ("runcast.gap", '{"requested":"1-0","resumed_at":"4-0","reason":"trimmed"}', False),
        ("runcast.caught-up", '{"id":"4-0"}', False),
    ]
    assert decoder.last_event_id == ""
    assert Gap(StreamId(1, 0), None, GapReason.RESET).document()["resumed_at"] is None


def test_a_heartbeat_is_a_comment_without_a_blank_line() -> None:
    assert heartbeat_block(as_event=False) == b": heartbeat\n"


def test_a_heartbeat_as_an_event() -> None:
    [message] = Decoder().feed(heartbeat_block(as_event=True))
    assert (message.type, message.own_id) == ("heartbeat", False)


@pytest.mark.parametrize("as_event", [True, False])
def test_a_heartbeat_can_move_the_cursor(as_event: bool) -> None:
    decoder = Decoder()
    messages = decoder.feed(heartbeat_block(as_event=as_event, position=ID))
    assert len(messages) == int(as_event)
    assert decoder.last_event_id == str(ID)
    assert not decoder.mid_frame


def test_an_id_block_moves_the_cursor_and_dispatches_nothing() -> None:
    decoder = Decoder()
    assert decoder.feed(id_block(ID)) == []
    assert decoder.last_event_id == str(ID)


def test_the_greeting_is_part_of_the_first_block() -> None:
    decoder = Decoder()
    assert decoder.feed(greeting(2345, ID)) == []
    assert decoder.retry == 2345
    [message] = decoder.feed(caught_up_block(ID))
    assert (message.type, decoder.last_event_id) == ("runcast.caught-up", str(ID))
    assert greeting(2345) == b"retry: 2345\n"
