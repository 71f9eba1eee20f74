"""The detached sink: a subscriber's bytes go straight to the connection's transport.

One object and no task for a viewer, where ASGI needs three tasks. A batch is one chunk (RFC 9112,
section 7.1) that is the same `bytes` object for every viewer.
"""

import asyncio
from collections.abc import Callable
from typing import Final

from broker.engine.delivery import Joined, chunk_of

__all__ = ["DetachedSink"]

_LAST_CHUNK: Final = b"0\r\n\r\n"


class DetachedSink:
    """Writes to a transport; the subscriber keeps what is unsent bounded."""

    __slots__ = ("_chunked", "_on_closed", "_on_drained", "_over", "_transport", "_written")

    def __init__(self, transport: asyncio.Transport, *, chunked: bool) -> None:
        """
        Args:
            transport: the connection, whose response head has been written.
            chunked: whether the body is sent in chunks; HTTP/1.0 has none, and ends with the
                connection.
        """
        self._transport = transport
        self._chunked = chunked
        self._written = 0
        self._over = False
        self._on_drained: Callable[[], None] = _nobody
        self._on_closed: Callable[[], None] = _nobody

    def attach(self, on_drained: Callable[[], None], on_closed: Callable[[], None]) -> None:
        """Sets who is told."""
        self._on_drained = on_drained
        self._on_closed = on_closed

    @property
    def unsent_bytes(self) -> int:
        """Bytes that the kernel has not taken."""
        return 0 if self._over else self._transport.get_write_buffer_size()

    @property
    def taken_bytes(self) -> int:
        """Bytes that the kernel has taken."""
        return self._written - self.unsent_bytes

    def write(self, data: bytes) -> None:
        """Writes whole frames."""
        self._put(chunk_of(data) if self._chunked else data)

    def send(self, joined: Joined) -> None:
        """Writes a batch."""
        self._put(joined.chunk if self._chunked else joined.data)

    def finish(self) -> None:
        """Ends the response; the transport closes once all is taken."""
        if not self._over:
            if self._chunked:
                self._put(_LAST_CHUNK)
            self._transport.close()

    def abort(self) -> None:
        """Resets the connection."""
        self._transport.abort()

    # ---- for the protocol

    def resumed(self) -> None:
        """The transport's buffer is nearly empty again."""
        self._on_drained()

    def closed(self) -> None:
        """The connection is over."""
        self._over = True
        self._on_closed()

    def _put(self, data: bytes) -> None:
        if not self._over:
            self._written += len(data)
            self._transport.write(data)


def _nobody() -> None:
    """Nobody is attached yet."""
