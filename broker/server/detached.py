"""The detached connection: a viewer's bytes go straight to the transport, and nothing else is kept.

Once a stream has begun, neither a parser nor a task is needed for it any more. So this object
replaces the HTTP protocol on the transport, and is the subscriber's sink: all that a quiet viewer
costs besides its subscriber. A batch is one chunk (RFC 9112, section 7.1), the same `bytes` object
for every viewer.
"""

import asyncio
from collections.abc import Callable
from typing import Final

from uvicorn.server import ServerState

from broker.edge.connection import Listener
from broker.engine.delivery import Fan, Joined, OneByOne, chunk_of
from broker.server.connection_limits import ConnectionLimiter
from broker.server.descriptor_fan import DescriptorFan

__all__ = ["DetachedConnection"]

_LAST_CHUNK: Final = b"0\r\n\r\n"


class DetachedConnection(asyncio.Protocol):
    """The protocol of a transport whose response head has been written, and a sink.

    What the client sends from here on is ignored, since the answer has no end that a next request
    could wait for; only its leaving is noticed.
    """

    __slots__ = (
        "_address",
        "_chunked",
        "_held",
        "_limiter",
        "_listener",
        "_open",
        "_paused",
        "_queued",
        "_state",
        "_transport",
        "descriptor",
        "joined_fan",
        "ready",
    )

    def __init__(
        self,
        transport: asyncio.Transport,
        state: ServerState,
        head: bytes,
        *,
        chunked: bool,
        limiter: ConnectionLimiter,
        address: str | None,
    ) -> None:
        """
        Args:
            transport: the connection; from now on this is its protocol.
            state: where the server counts its connections.
            head: the response's head, to go out with the first bytes of its body.
            chunked: whether the body is sent in chunks; HTTP/1.0 has none, and ends with the
                connection.
            limiter: who is told when it is over.
            address: by what the connection is counted there.
        """
        self._transport = transport
        self._state = state
        self._limiter = limiter
        self._address = address
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
        self.descriptor = _descriptor_of(transport)
        self.ready = False
        self.joined_fan: DescriptorFan | None = None
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
        self.put(b"".join(held))
        self._look_at_readiness()

    # ---- the sink

    @property
    def fan(self) -> Callable[[], Fan]:
        """How many like this one are written to."""
        return DescriptorFan if self._chunked and self.descriptor >= 0 else OneByOne

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
        self.put(chunk_of(data) if self._chunked else data)

    def send(self, joined: Joined) -> int:
        """Writes a batch."""
        self.put(joined.chunk if self._chunked else joined.data)
        return self.unsent_bytes

    def finish(self) -> None:
        """Ends the response; the transport closes once all is taken."""
        if self._chunked:
            self.put(_LAST_CHUNK)
        self.release()
        self._shut()
        self._transport.close()

    def abort(self) -> None:
        """Resets the connection."""
        self._shut()
        self._transport.abort()

    def put(self, data: bytes | memoryview) -> None:
        """Writes bytes as they are."""
        if self._held is not None:
            self._held.append(bytes(data))
        elif self._open:
            self._transport.write(data)
            if self._paused:
                self._queued += len(data)

    def _shut(self) -> None:
        """From here on nothing is written."""
        self._held = None
        self._open = False
        self._look_at_readiness()

    def _look_at_readiness(self) -> None:
        self.ready = self._open and not self._paused
        if self.joined_fan is not None:
            self.joined_fan.changed(self)

    # ---- the protocol

    def pause_writing(self) -> None:
        """The kernel did not take all."""
        self._paused = True
        self._look_at_readiness()

    def resume_writing(self) -> None:
        """The kernel has taken all."""
        self._paused = False
        self._look_at_readiness()
        if self._listener is not None:
            self._listener.drained()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is over."""
        self._paused = False
        self._shut()
        self._state.connections.discard(self)
        self._limiter.leave(self._address)
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.closed()

    def shutdown(self) -> None:
        """The server leaves, and waits for its connections no longer."""
        self.abort()


def _descriptor_of(transport: asyncio.Transport) -> int:
    """The socket's descriptor, if what is written to it is what the client gets; else -1."""
    connection = transport.get_extra_info("socket")
    if connection is None or transport.get_extra_info("sslcontext") is not None:
        return -1
    descriptor: int = connection.fileno()
    return descriptor
