"""How frames leave the engine: the sink they go to, what a viewer wants, and joined batches."""

from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass
from typing import Any, Final, Protocol
from zlib import crc32

from broker.wire.content_coding import ContentCoding
from broker.wire.dialect import NATIVE, Dialect
from broker.wire.frame import Frame
from broker.wire.ids import StreamId

__all__ = ["Batch", "Fan", "Joined", "OneByOne", "Sink", "View", "chunk_of"]


class Sink(Protocol):
    """Where a subscriber's bytes go."""

    @property
    def unsent_bytes(self) -> int:
        """Bytes written that the client's connection has not taken yet."""

    @property
    def taken_bytes(self) -> int:
        """Grows with each byte that was unsent and has been taken since."""

    def write(self, data: bytes) -> None:
        """Queues whole frames. Never blocks; the subscriber keeps the queue bounded."""

    def send(self, joined: "Joined") -> int:
        """Queues a batch, in the form in which it is shared with other sinks of this kind.

        Returns:
            The bytes that are unsent now.
        """

    def finish(self) -> None:
        """Ends the stream after what is still unsent."""

    def abort(self) -> None:
        """Drops the connection at once."""

    @property
    def fan(self) -> Callable[[], "Fan"]:
        """Makes a fan for sinks like this one; the same callable for all that fit into one."""


class Fan(Protocol):
    """Sinks of one kind that get the same batches."""

    def add(self, sink: Any) -> None:
        """Takes in a sink whose `fan` made this."""

    def discard(self, sink: Any) -> None:
        """Lets go of it, before its stream is ended."""

    def send(self, joined: "Joined") -> Sequence[Sink]:
        """Queues a batch at each of them, in whatever way is quickest for this kind.

        Returns:
            Those that have unsent bytes now.
        """


class OneByOne:
    """A fan for sinks that know no quicker way."""

    def __init__(self) -> None:
        self._sinks: dict[Sink, None] = {}

    def add(self, sink: Sink) -> None:
        """Takes in a sink."""
        self._sinks[sink] = None

    def discard(self, sink: Sink) -> None:
        """Lets go of it."""
        self._sinks.pop(sink, None)

    def send(self, joined: "Joined") -> Sequence[Sink]:
        """Queues a batch at each."""
        return [sink for sink in self._sinks if sink.send(joined)]


@dataclass(frozen=True, slots=True)
class View:
    """What of a run a subscriber wants to see, and how."""

    types: frozenset[str] | None = None
    """Only these event types; `None` for all."""
    dialect: Dialect = NATIVE
    history: Dialect | None = None
    """The dialect of what is replayed, where that is another."""
    delay_seconds: float = 0
    """At most one event in this time; it is paced, and never live."""
    status_seconds: float | None = None
    """How often it is told how the run stands, by a `SaysStatus`; `None` for never."""


def chunk_of(data: bytes) -> bytes:
    """`data` as one chunk of an HTTP/1.1 body (RFC 9112, section 7.1)."""
    return b"%x\r\n%b\r\n" % (len(data), data)


class Joined:
    """Frames as one `bytes` object, made once for all who get them in the same dialect."""

    __slots__ = ("_checksum", "_data", "_encoded", "chunk", "frames", "last", "size")

    def __init__(self, frames: Sequence[Frame], dialect: Dialect = NATIVE) -> None:
        wires = dialect.encode(frames)
        self.frames = len(wires)
        """How many there are on the wire; a dialect may have merged or left out some."""
        self.last: StreamId | None = frames[-1].id if frames else None
        """The id of the last frame in it."""
        self._data: bytes | None = None
        self._checksum: int | None = None
        self._encoded: dict[ContentCoding, Joined] = {}
        self.size = sum(map(len, wires))
        """The frames' bytes, without the chunk around them."""
        # Joined with its chunk in one step: of a long replay, every copy is a quarter megabyte.
        self.chunk = b"".join([b"%x\r\n" % self.size, *wires, b"\r\n"]) if wires else b""
        """The frames as one chunk of an HTTP/1.1 body; nothing, not even a chunk, for none."""

    @property
    def data(self) -> bytes:
        """The frames alone, for connections that are framed by someone else."""
        if self._data is None:
            end = len(self.chunk) - 2
            self._data = self.chunk[end - self.size : end] if self.frames else b""
        return self._data

    @property
    def checksum(self) -> int:
        """The CRC-32 of the frames' bytes."""
        if self._checksum is None:
            self._checksum = crc32(self.data)
        return self._checksum

    def encoded(self, coding: ContentCoding) -> "Joined":
        """The same in a content coding, whatever was sent before; made once for all."""
        found = self._encoded.get(coding)
        if found is None:
            found = self._encoded[coding] = self.replaced(coding.encode(self.data))
        return found

    def replaced(self, data: bytes) -> "Joined":
        """The same frames in other bytes."""
        other = copy(self)
        other._data = data
        other._checksum = None
        other._encoded = {}
        other.size = len(data)
        other.chunk = chunk_of(data)
        return other


class Batch:
    """Frames that go out in one write, joined once for all who want the same of them."""

    __slots__ = ("_joined", "frames")

    def __init__(self, frames: Sequence[Frame]) -> None:
        assert frames
        self.frames = frames
        self._joined: dict[tuple[frozenset[str] | None, Dialect], Joined] = {}

    @property
    def last(self) -> Frame:
        """The newest frame, whether wanted or not."""
        return self.frames[-1]

    def joined(self, types: frozenset[str] | None, dialect: Dialect = NATIVE) -> Joined:
        """The frames of these types in this dialect as one `bytes` object."""
        key = (types, dialect)
        found = self._joined.get(key)
        if found is None:
            kept = [frame for frame in self.frames if types is None or frame.type in types]
            found = Joined(kept, dialect)
            # What a viewer has to themselves is not kept for others.
            if len(self._joined) < _MOST_FORMS:
                self._joined[key] = found
        return found


_MOST_FORMS: Final = 8
"""In so many forms one batch is kept, joined."""
