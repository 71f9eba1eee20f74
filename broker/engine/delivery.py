"""How frames leave the engine: the sink they go to, what a viewer wants, and joined batches."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

from broker.wire.frame import Frame
from broker.wire.ids import StreamId

__all__ = ["Batch", "Joined", "Sink", "View", "chunk_of"]


class Sink(Protocol):
    """Where a subscriber's bytes go."""

    @property
    def unsent_bytes(self) -> int:
        """Bytes written that the client's connection has not taken yet."""

    @property
    def taken_bytes(self) -> int:
        """Bytes that the connection has taken so far; only ever grows."""

    def write(self, data: bytes) -> None:
        """Queues whole frames. Never blocks; the subscriber keeps the queue bounded."""

    def send(self, joined: "Joined") -> None:
        """Queues a batch, in the form in which it is shared with other sinks of this kind."""

    def finish(self) -> None:
        """Ends the stream after what is still unsent."""

    def abort(self) -> None:
        """Drops the connection at once."""


@dataclass(frozen=True, slots=True)
class View:
    """What of a run a subscriber wants to see, and how."""

    types: frozenset[str] | None = None
    """Only these event types; `None` for all."""
    control: bool = True
    """Whether control events are written."""
    heartbeat_as_event: bool = False


def chunk_of(data: bytes) -> bytes:
    """`data` as one chunk of an HTTP/1.1 body (RFC 9112, section 7.1)."""
    return b"%x\r\n%b\r\n" % (len(data), data)


@dataclass(frozen=True)
class Joined:
    """A batch as one kind of viewer gets it."""

    data: bytes
    frames: int
    last: StreamId | None
    """The id of the last frame in it."""

    @cached_property
    def chunk(self) -> bytes:
        """The data as one chunk of an HTTP/1.1 body; made once, for all who share it."""
        return chunk_of(self.data)


class Batch:
    """Frames that go out in one write, joined once for all who want the same types."""

    __slots__ = ("_joined", "frames")

    def __init__(self, frames: Sequence[Frame]) -> None:
        assert frames
        self.frames = frames
        self._joined: dict[frozenset[str] | None, Joined] = {}

    @property
    def last(self) -> Frame:
        """The newest frame, whether wanted or not."""
        return self.frames[-1]

    def joined(self, types: frozenset[str] | None) -> Joined:
        """The frames of these types as one `bytes` object."""
        found = self._joined.get(types)
        if found is None:
            kept = [frame for frame in self.frames if types is None or frame.type in types]
            data = b"".join([frame.wire for frame in kept])
            found = Joined(data, len(kept), kept[-1].id if kept else None)
            self._joined[types] = found
        return found
