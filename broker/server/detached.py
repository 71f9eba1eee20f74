"""The detached connection: a viewer's bytes go straight to the transport, and nothing else is kept.

Once a stream has begun, neither a parser nor a task is needed for it any more. So this object
replaces the HTTP protocol on the transport, and is the subscriber's sink: all that a quiet viewer
costs besides its subscriber. A batch is one chunk (RFC 9112, section 7.1), the same `bytes` object
for every viewer.
"""

import asyncio
from typing import Final

from uvicorn.server import ServerState

from broker.edge.connection import Listener
from broker.engine.delivery import Joined, chunk_of

__all__ = ["DetachedConnection"]

_LAST_CHUNK: Final = b"0\r\n\r\n"


class DetachedConnection(asyncio.Protocol):
    """The protocol of a transport whose response head has been written, and a sink.

    What the client sends from here on is ignored, since the answer has no end that a next request
    could wait for; only its leaving is noticed.
    """

    __slots__ = (
        "_chunked",
        "_held",
        "_listener",
        "_open",
        "_paused",
        "_queued",
        "_state",
        "_transport",
    )

    def __init__(
        self, transport: asyncio.Transport, state: ServerState, head: bytes, *, chunked: bool
    ) -> None:
        """
        Args:
            transport: the connection; from now on this is its protocol.
            state: where the server counts its connections.
            head: the response's head, to go out with the first bytes of its body.
            chunked: whether the body is sent in chunks; HTTP/1.0 has none, and ends with the
                connection.
        """
        self._transport = transport
        self._state = state
        self._chunked = chunked
        self._listener: Listener | None = None
        self._held: list[bytes] | None = [head]
        # Whether what is written goes to the transport: not before `release`, nor after the end.
        self._open = False
        # Of what was written while something was unsent.
        self._queued = 0
        transport.set_protocol(self)
        # The transport says at once that the kernel did not take all, and when it has: between
        # the two, and only then, there is something unsent.
        transport.set_write_buffer_limits(0)
        self._paused = transport.get_write_buffer_size() > 0
        state.connections.add(self)  # type: ignore[arg-type]

    def attach(self, listener: Listener) -> None:
        """Sets who is told."""
        self._listener = listener

    def release(self) -> None:
        """Sends what was written so far, in one piece, and whatever comes from here on at once."""
        held, self._held = self._held, None
        if held is None:
            return
        self._open = True
        self._put(b"".join(held))

    # ---- the sink

    @property
    def unsent_bytes(self) -> int:
        """Bytes that the kernel has not taken."""
        return self._transport.get_write_buffer_size() if self._paused else 0

    @property
    def taken_bytes(self) -> int:
        """Of the bytes that were ever unsent, those that the kernel has taken."""
        return self._queued - self.unsent_bytes

    def write(self, data: bytes) -> None:
        """Writes whole frames."""
        self._put(chunk_of(data) if self._chunked else data)

    def send(self, joined: Joined) -> int:
        """Writes a batch."""
        data = joined.chunk if self._chunked else joined.data
        if not self._open:
            self._put(data)
            return 0
        # Written out here for speed: this is what happens a thousand times for an event.
        self._transport.write(data)
        return self._queue(data) if self._paused else 0

    def finish(self) -> None:
        """Ends the response; the transport closes once all is taken."""
        if self._chunked:
            self._put(_LAST_CHUNK)
        self.release()
        self._open = False
        self._transport.close()

    def abort(self) -> None:
        """Resets the connection."""
        self._held = None
        self._open = False
        self._transport.abort()

    def _put(self, data: bytes) -> None:
        if self._held is not None:
            self._held.append(data)
        elif self._open:
            self._transport.write(data)
            if self._paused:
                self._queue(data)

    def _queue(self, data: bytes) -> int:
        """Counts what was written while something was unsent; returns what is unsent now."""
        self._queued += len(data)
        return self._transport.get_write_buffer_size()

    # ---- the protocol

    def pause_writing(self) -> None:
        """The kernel did not take all."""
        self._paused = True

    def resume_writing(self) -> None:
        """The kernel has taken all."""
        self._paused = False
        if self._listener is not None:
            self._listener.drained()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is over."""
        self._held = None
        self._open = self._paused = False
        self._state.connections.discard(self)
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.closed()

    def shutdown(self) -> None:
        """The server leaves, and waits for its connections no longer."""
        self.abort()
