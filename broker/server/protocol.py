"""The one place that relies on uvicorn's internals: its httptools protocol, extended.

Adds to each request's scope a way to drop its connection at once, and answers what is not HTTP
with a problem document as everything else. ASGI has no such way, and without
one a client that stopped reading holds its socket and buffers until the kernel gives up on it.

And bounds what clients can take up before there is a request: connections that are too many are
turned away before a byte is read; a head must come in time, and have so many bytes at most.

Holds for the uvicorn versions that pyproject.toml allows; `tests/unit/test_protocol.py` is the
contract, and fails loudly on one that differs.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from typing import ClassVar, Final

import httptools
from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from broker.edge.client_address import unmapped
from broker.edge.connection import ABORT_EXTENSION, DETACH_EXTENSION
from broker.edge.limits import ConnectionLimits
from broker.edge.refusals import ConnectionRefusal, Refusals, RequestRefusal
from broker.server.connection_limits import ConnectionLimiter
from broker.server.detached import DetachedConnection
from broker.server.slow_headers import SlowHeaders
from broker.wire.problem import (
    CONTENT_TYPE,
    BadHttp,
    HeadersTooLarge,
    Problem,
    TargetTooLong,
    TooManyConnections,
)
from broker.wire.problem import SlowHeaders as SlowHeadersProblem

__all__ = ["EdgeProtocol", "Reception", "protocol_for"]

_BEYOND_HEADERS: Final = 64
"""Bytes of a head that are neither target nor headers: method, version, line ends."""
_MOST_WAITING: Final = 16
"""Requests of one connection that wait behind another: one packet holds ten thousand."""
_RETRY_SECONDS: Final = 5


@dataclass(frozen=True, slots=True)
class Reception:
    """What the connections of a process have in common."""

    limits: ConnectionLimits
    limiter: ConnectionLimiter
    slow_headers: SlowHeaders
    refusals: Refusals


class EdgeProtocol(HttpToolsProtocol):
    """uvicorn's HTTP/1.1 protocol, with a way out. For each server there is a class of its own; see
    `protocol_for`."""

    # Not among uvicorn's own 28: a dict of thirty no longer shares its keys with the others of its
    # class, and takes five times the memory.
    __slots__ = (
        "_address",
        "_deaf",
        "_kept_bytes",
        "_owes_head",
        "_reason",
        "_served",
        "_steps",
        "_taken",
    )
    _reception: ClassVar[Reception]

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Takes it, or turns it away."""
        super().connection_made(transport)
        # Whether it was counted, and not turned away; and by what it is counted besides.
        self._taken = False
        self._address: str | None = None
        # Whether the client's time to send a head is running.
        self._owes_head = True
        # The request that is being answered; uvicorn keeps the one that came last.
        self._served: RequestResponseCycle | None = None
        self._deaf = False
        # How often a head, a body or a message has come to something; and the bytes of the pieces
        # since the one with that: the parser keeps all of a header, and copies what it has of it
        # with each piece that comes, for as long as it comes.
        self._steps = 0
        self._kept_bytes = 0
        # Why the parser was stopped, if it was us who did.
        self._reason = RequestRefusal.BAD_HTTP
        reception = self._reception
        client = self.client
        if client is not None:
            host = unmapped(client[0])
            if host is not client[0]:
                self.client = (host, client[1])
            self._address = reception.limiter.address_of(host)
        refusal = reception.limiter.enter(self._address)
        if refusal is not None:
            self.connections.discard(self)
            self._deaf = True
            transport.write(_TURNED_AWAY[refusal])
            transport.close()
            return
        self._taken = True
        reception.slow_headers.expect(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Also gives its place free, and tells the request that is being answered, where others
        wait behind it: uvicorn tells the last of them alone."""
        served = self._served
        if served is not None and not served.response_complete:
            served.disconnected = True
            served.message_event.set()
        super().connection_lost(exc)
        if self._taken:
            self._taken = False
            self._reception.limiter.leave(self._address)
            self._reception.slow_headers.came(self)

    def head_overdue(self) -> None:
        """Closes it: the client has not sent a head in its time."""
        self._reception.refusals.requests[RequestRefusal.SLOW_HEADERS] += 1
        if not self._steps and not self._kept_bytes:
            # Browsers open connections in advance, and would take an answer for that to whatever
            # they ask for next.
            self.transport.close()
            return
        self._close_with(SlowHeadersProblem(self._reception.limits.headers_seconds))

    def on_message_begin(self) -> None:
        """Also puts the way to drop the connection into the request's scope."""
        super().on_message_begin()
        self.scope["extensions"] = {ABORT_EXTENSION: {"abort": self.transport.abort}}

    def on_headers_complete(self) -> None:
        """Also puts the way to take the connection over into the request's scope."""
        self._steps += 1
        if len(self.pipeline) >= _MOST_WAITING:
            raise self._stopped(RequestRefusal.PIPELINE_TOO_LONG)
        most = self._reception.limits.headers_bytes
        if self._kept_bytes > most and _size(self.headers) > most:
            raise self._stopped(RequestRefusal.HEADERS_TOO_LARGE)
        if self._owes_head:
            self._owes_head = False
            self._reception.slow_headers.came(self)
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
        connection = DetachedConnection(
            self.transport,
            self.server_state,
            head,
            chunked=chunked,
            limiter=self._reception.limiter,
            address=self._address,
        )
        # Protocol, cycle, scope and parser hold each other: without this they would stay until
        # the garbage collector's next full round.
        cycle.scope["extensions"] = {}
        self.cycle = self.scope = self.headers = self.parser = None  # type: ignore[assignment]
        self._served = None
        return connection

    def data_received(self, data: bytes) -> None:
        """Has it parsed. Takes nothing more from a client who has stopped to speak HTTP in the
        middle of an answer."""
        if self._deaf:
            return
        self._unset_keepalive_if_required()
        if not self._owes_head and self.cycle.response_complete:
            # The next request, or what is left of the one that has its answer.
            self._owes_head = True
            self._reception.slow_headers.expect(self)
        before = self._steps
        self._kept_bytes += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            # There is nothing to change to; the request has its answer as HTTP/1.1.
            return
        except httptools.HttpParserError:
            self.send_400_response("")
            return
        if self._steps != before:
            self._kept_bytes = 0
            return
        limits = self._reception.limits
        if self._kept_bytes > limits.request_line_bytes + limits.headers_bytes + _BEYOND_HEADERS:
            self._reason = RequestRefusal.HEADERS_TOO_LARGE
            self.send_400_response("")

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._served = cycle
        super()._start_asgi_task(cycle, app)

    def on_body(self, body: bytes) -> None:
        """Also takes note of it."""
        self._steps += 1
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Also takes note of it."""
        self._steps += 1
        super().on_message_complete()

    def on_url(self, url: bytes) -> None:
        """Also bounds it, and refuses a target that is not ASCII (RFC 9112, 3.2), which uvicorn
        can't decode."""
        if len(self.url) + len(url) > self._reception.limits.request_line_bytes:
            raise self._stopped(RequestRefusal.TARGET_TOO_LONG)
        if not url.isascii():
            raise self._stopped(RequestRefusal.BAD_HTTP)
        super().on_url(url)

    def send_400_response(self, msg: str) -> None:
        """Answers a request that can't be parsed, or was stopped by us, with what is wrong."""
        reason = self._reason
        self._reception.refusals.requests[reason] += 1
        limits = self._reception.limits
        match reason:
            case RequestRefusal.TARGET_TOO_LONG:
                self._close_with(TargetTooLong(limits.request_line_bytes))
            case RequestRefusal.HEADERS_TOO_LARGE:
                self._close_with(HeadersTooLarge(limits.headers_bytes))
            case _:
                self._close_with(BadHttp())

    def _stopped(self, reason: RequestRefusal) -> Exception:
        """What makes the parser stop where it is."""
        self._reason = reason
        return ValueError(reason)

    def _close_with(self, problem: Problem) -> None:
        """Says what is wrong and closes; not into the answer to an earlier request."""
        cycle = self.cycle
        answering = cycle is not None and cycle.response_started and not cycle.response_complete
        if answering or self.pipeline:
            self._deaf = True
            return
        if self.transport.is_closing():
            return
        if cycle is not None:
            # Its task may not have begun; it is not going to answer.
            cycle.disconnected = True
        self.transport.write(_last_answer(problem))
        self.transport.close()


def protocol_for(reception: Reception) -> type[EdgeProtocol]:
    """The protocol of one server. A class, since uvicorn makes the connections; and since theirs is
    nothing that each of ten thousand should have to hold."""

    class Protocol(EdgeProtocol):
        __slots__ = ()
        _reception = reception

    return Protocol


def _size(headers: Sequence[tuple[bytes, bytes]]) -> int:
    """Their bytes, with colons, spaces and line ends."""
    return sum(len(name) + len(value) + 4 for name, value in headers)


def _last_answer(problem: Problem) -> bytes:
    """A whole response, after which the connection ends."""
    body = problem.body()
    lines = [
        f"HTTP/1.1 {problem.status} {HTTPStatus(problem.status).phrase}",
        f"content-type: {CONTENT_TYPE}",
        *(f"{name}: {value}" for name, value in problem.headers.items()),
        f"content-length: {len(body)}",
        "connection: close",
    ]
    return "\r\n".join([*lines, "", ""]).encode() + body


_TURNED_AWAY: Final = {
    ConnectionRefusal.PROCESS: _last_answer(
        TooManyConnections("This process has as many connections as it takes.", _RETRY_SECONDS)
    ),
    ConnectionRefusal.ADDRESS: _last_answer(
        TooManyConnections("Your address has as many connections as it may.", _RETRY_SECONDS)
    ),
    ConnectionRefusal.RATE: _last_answer(
        TooManyConnections("Too many connections come at once.", 1)
    ),
}


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
