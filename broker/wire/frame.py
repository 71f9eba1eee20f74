"""Frames: the bytes of one event in `text/event-stream` (WHATWG HTML, section 9.2).

Lines end in LF only: some clients split on LF LF and would never see a CRLF block end.
"""

import re
from functools import lru_cache
from typing import Final, NamedTuple

import orjson

from broker.wire.event import Event
from broker.wire.gap import Gap
from broker.wire.ids import StreamId

__all__ = [
    "Frame",
    "caught_up_block",
    "encode",
    "gap_block",
    "greeting",
    "heartbeat_block",
    "id_block",
]

_LINE_BREAK: Final = re.compile(rb"\r\n|\r|\n")
_SHORT_TYPE: Final = 256
"""Types of up to so many characters are encoded once."""


class Frame(NamedTuple):
    """An event in its wire form, shared by every subscriber of the run."""

    id: StreamId
    type: str
    wire: bytes
    final: bool

    @property
    def data(self) -> bytes:
        """The event's data, its line breaks as LF. Taken from the wire form, so that a window
        need not keep it twice."""
        start = self.wire.index(b"\n") + 1
        if self.type:
            start = self.wire.index(b"\n", start) + 1
        return self.wire[start + len(b"data: ") : -2].replace(b"\ndata: ", b"\n")


def encode(event: Event) -> Frame:
    """The event's frame. Each line of the data is a ``data:`` line of its own."""
    data = event.data
    if b"\n" in data or b"\r" in data:
        data = b"\ndata: ".join(_LINE_BREAK.split(data))
    ms, seq = event.id
    event_line = _short_event_line if len(event.type) <= _SHORT_TYPE else _event_line
    wire = b"id: %d-%d\n%bdata: %b\n\n" % (ms, seq, event_line(event.type), data)
    return Frame(event.id, event.type, wire, event.final)


def _event_line(event_type: str) -> bytes:
    return f"event: {event_type}\n".encode() if event_type else b""


# A producer has a handful of types; one that makes up new ones costs a few bytes each here.
_short_event_line = lru_cache(maxsize=1024)(_event_line)


def greeting(retry_milliseconds: int, position: StreamId | None = None) -> bytes:
    """The stream's first bytes: how long to wait before a reconnect, and where it would begin.

    Without a blank line after it, so that it becomes part of the first block: weak parsers
    dispatch an empty event for a block that has no data, and some ignore an id in such a block.

    Args:
        retry_milliseconds: for EventSource's reconnects.
        position: the viewer's cursor, or the place that `from=` stood for: a connection cut
            before its first event resumes there, rather than wherever "latest" is by then.
    """
    retry = b"retry: %d\n" % retry_milliseconds
    return retry if position is None else retry + b"id: %b\n" % str(position).encode()


def gap_block(gap: Gap) -> bytes:
    """The control event that says what could not be served. Has no id: the cursor stays."""
    return b"event: runcast.gap\ndata: %b\n\n" % orjson.dumps(gap.document())


def caught_up_block(position: StreamId) -> bytes:
    """The control event after the replay: from here on, events arrive as they happen."""
    return b'event: runcast.caught-up\ndata: {"id":"%b"}\n\n' % str(position).encode()


def id_block(position: StreamId) -> bytes:
    """A block that moves the viewer's cursor and dispatches nothing."""
    return b"id: %b\n\n" % str(position).encode()


def heartbeat_block(*, as_event: bool, position: StreamId | None = None) -> bytes:
    """Bytes that keep a quiet connection alive.

    A comment line without a blank line after it, since weak parsers dispatch an empty event
    for a lone comment block. With a `position`, it also moves the viewer's cursor.
    """
    moved = b"" if position is None else b"id: %b\n" % str(position).encode()
    if as_event:
        return b"event: heartbeat\n%bdata: {}\n\n" % moved
    return b": heartbeat\n" + (moved + b"\n" if moved else b"")
