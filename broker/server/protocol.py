"""The one place that relies on uvicorn's internals: its httptools protocol, extended.

Adds to each request's scope a way to drop its connection at once, and answers what is not HTTP
with a problem document as everything else. ASGI has no such way, and without
one a client that stopped reading holds its socket and buffers until the kernel gives up on it.

Holds for the uvicorn versions that pyproject.toml allows; `tests/unit/test_protocol.py` is the
contract, and fails loudly on one that differs.
"""

import asyncio
import socket
import sys
from typing import Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from broker.edge.asgi_sink import ABORT_EXTENSION
from broker.wire.problem import CONTENT_TYPE, BadHttp

__all__ = ["EdgeProtocol"]

_UNACKNOWLEDGED_MILLISECONDS: Final = 60_000
"""How long sent bytes may stay unacknowledged before the kernel ends the connection: a client
that vanished without a word would otherwise be kept for many minutes."""


class EdgeProtocol(HttpToolsProtocol):
    """uvicorn's HTTP/1.1 protocol, with a way out."""

    def connection_made(  # type: ignore[override]
        self, transport: asyncio.Transport
    ) -> None:
        """Also has the kernel give up on vanished clients sooner."""
        super().connection_made(transport)
        connection = transport.get_extra_info("socket")
        if (
            sys.platform == "linux"
            and connection is not None
            and connection.family in (socket.AF_INET, socket.AF_INET6)
        ):
            connection.setsockopt(
                socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _UNACKNOWLEDGED_MILLISECONDS
            )

    def on_message_begin(self) -> None:
        """Also puts the way out into the request's scope."""
        super().on_message_begin()
        self.scope["extensions"] = {ABORT_EXTENSION: {"abort": self.transport.abort}}

    def on_url(self, url: bytes) -> None:
        """Also refuses a target that is not ASCII (RFC 9112, 3.2), which uvicorn can't decode."""
        if not url.isascii():
            raise ValueError("the request target is not ASCII")
        super().on_url(url)

    def send_400_response(self, msg: str) -> None:
        """Answers a request that can't be parsed."""
        body = BadHttp().body()
        head = (
            "HTTP/1.1 400 Bad Request\r\n"
            f"content-type: {CONTENT_TYPE}\r\n"
            f"content-length: {len(body)}\r\n"
            "connection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self.transport.close()
