"""The one place that relies on uvicorn's internals: its httptools protocol, extended.

Adds to each request's scope a way to drop its connection at once, and answers what is not HTTP
with a problem document as everything else. ASGI has no such way, and without
one a client that stopped reading holds its socket and buffers until the kernel gives up on it.

Holds for the uvicorn versions that pyproject.toml allows; `tests/unit/test_protocol.py` is the
contract, and fails loudly on one that differs.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from broker.edge.connection import ABORT_EXTENSION, DETACH_EXTENSION
from broker.server.detached import DetachedConnection
from broker.wire.problem import CONTENT_TYPE, BadHttp

__all__ = ["EdgeProtocol"]

_MOST_BYTES_KEPT: Final = 64 << 10
"""Of a head, or of trailers, in one go: the parser keeps all of it, and copies what it has of a
header with each piece that comes, for as long as it comes."""


class EdgeProtocol(HttpToolsProtocol):
    """uvicorn's HTTP/1.1 protocol, with a way out."""

    _deaf = False
    _steps = 0
    """How often a head, a body or a message has come to something."""
    _kept_bytes = 0
    """Of the pieces since then."""

    def on_message_begin(self) -> None:
        """Also puts the way to drop the connection into the request's scope."""
        super().on_message_begin()
        self._steps += 1
        self.scope["extensions"] = {ABORT_EXTENSION: {"abort": self.transport.abort}}

    def on_headers_complete(self) -> None:
        """Also puts the way to take the connection over into the request's scope."""
        self._steps += 1
        super().on_headers_complete()
        cycle = self.cycle
        if cycle is not None and cycle.scope is self.scope:
            # Of this very request: others may be parsed before its task begins.
            self.scope["extensions"][DETACH_EXTENSION] = {"detach": partial(self._detach, cycle)}

    def _detach(
        self, cycle: RequestResponseCycle, headers: Mapping[str, str]
    ) -> DetachedConnection | None:
        """Hands the connection over, for a `200` answer with these headers.

        For uvicorn the response is complete: the task may end, and nobody else writes. This
        protocol is of no use any more, nor is anything that it holds.

        Returns:
            The connection; `None` if the client has gone.
        """
        if cycle.disconnected or self.transport.is_closing():
            # The transport knows before we are told; uvicorn would miss an answer.
            cycle.disconnected = True
            return None
        chunked = cycle.scope["http_version"] != "1.0"
        cycle.response_started = cycle.response_complete = True
        cycle.keep_alive = False
        # What waits behind this request is never going to be answered.
        self.pipeline.clear()
        self.flow.resume_reading()
        self.server_state.total_requests += 1
        self.connections.discard(self)
        head = _head(headers, self.server_state.default_headers, chunked=chunked)
        connection = DetachedConnection(self.transport, self.server_state, head, chunked=chunked)
        # Protocol, cycle, scope and parser hold each other: without this they would stay until
        # the garbage collector's next full round.
        cycle.scope["extensions"] = {}
        self.cycle = self.scope = self.headers = self.parser = None  # type: ignore[assignment]
        return connection

    def data_received(self, data: bytes) -> None:
        """Takes nothing more from a client who has stopped to speak HTTP in the middle of an
        answer; refuses headers without an end."""
        if self._deaf:
            return
        before = self._steps
        super().data_received(data)
        self._kept_bytes = self._kept_bytes + len(data) if self._steps == before else 0
        if self._kept_bytes > _MOST_BYTES_KEPT and not self.transport.is_closing():
            self.send_400_response("too many headers")

    def on_body(self, body: bytes) -> None:
        """Also takes note of it."""
        self._steps += 1
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Also takes note of it."""
        self._steps += 1
        super().on_message_complete()

    def on_url(self, url: bytes) -> None:
        """Also refuses a target that is not ASCII (RFC 9112, 3.2), which uvicorn can't decode."""
        if not url.isascii():
            raise ValueError("the request target is not ASCII")
        super().on_url(url)

    def send_400_response(self, msg: str) -> None:
        """Answers a request that can't be parsed; not into the answer to an earlier one."""
        cycle = self.cycle
        answering = cycle is not None and cycle.response_started and not cycle.response_complete
        if answering or self.pipeline:
            self._deaf = True
            return
        if cycle is not None:
            # Its task may not have begun; it is not going to answer.
            cycle.disconnected = True
        body = BadHttp().body()
        head = (
            "HTTP/1.1 400 Bad Request\r\n"
            f"content-type: {CONTENT_TYPE}\r\n"
            f"content-length: {len(body)}\r\n"
            "connection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self.transport.close()


def _head(
    headers: Mapping[str, str], default_headers: Sequence[tuple[bytes, bytes]], *, chunked: bool
) -> bytes:
    lines = [b"HTTP/1.1 200 OK"]
    lines += [b"%b: %b" % pair for pair in default_headers]
    lines += [f"{name}: {value}".encode("latin-1") for name, value in headers.items()]
    if chunked:
        lines.append(b"transfer-encoding: chunked")
    lines.append(b"connection: close")
    return b"\r\n".join([*lines, b"", b""])
