"""A request's body, taken piece by piece within bounds; and an answer that may come before its end.

Nothing is read ahead: a body that is not asked for stays in the socket, and its sender waits. With
`Expect: 100-continue` it is not even sent before the first `pieces`.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable
from typing import Final

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from broker.wire.problem import SlowBody, TooLarge, Unavailable

__all__ = ["LEAVING", "RETURN_SECONDS", "ClientGone", "RequestBody"]

LEAVING: Final = "This process is leaving."
RETURN_SECONDS: Final = 1
"""Another one serves by then."""
_LOOK_SECONDS: Final = 0.25
"""How often a wait for the client looks whether this process is leaving."""
_LINGER_SECONDS: Final = 0.5
_LINGER_BYTES: Final = 1 << 20
_SMALL_BYTES: Final = 64 << 10


class ClientGone(Exception):
    """The connection has ended in the middle of the body: nobody is there to be answered."""


class RequestBody:
    """The body of one request."""

    def __init__(self, scope: Scope, receive: Receive, leaving: Callable[[], bool]) -> None:
        """
        Args:
            scope: the request's.
            receive: the request's.
            leaving: whether this process is about to end.
        """
        headers = Headers(scope=scope)
        self._scope = scope
        self._receive = receive
        self._leaving = leaving
        self._stated = _content_length(headers)
        self._expects = headers.get("expect", "").lower() == "100-continue"
        self._begun = False
        # In HTTP/2 a body need not be announced by any header.
        announced = bool(self._stated) or "transfer-encoding" in headers
        self._ended = scope["http_version"].startswith("1") and not announced
        self._size = 0
        self._patience = 0.0
        self._deadline = 0.0

    async def pieces(self, most_bytes: int, patience_seconds: float) -> AsyncGenerator[bytes, None]:
        """The pieces as they come.

        Args:
            most_bytes: more is refused.
            patience_seconds: how long until the end, or until the caller says `progressed`.

        Raises:
            TooLarge: there is more than is taken; at once, where the client says so beforehand.
            SlowBody: it took longer.
            Unavailable: this process is leaving.
            ClientGone: the client is.
        """
        self._patience = patience_seconds
        self.progressed()
        if (self._stated or 0) > most_bytes:
            raise TooLarge("The body", most_bytes, "bytes")
        while not self._ended:
            piece = await self._next()
            if self._size > most_bytes:
                raise TooLarge("The body", most_bytes, "bytes")
            if piece:
                yield piece

    def progressed(self) -> None:
        """Has the time begin anew: what came was of use, or it was not the client that was slow."""
        self._deadline = asyncio.get_running_loop().time() + self._patience

    async def whole(self, most_bytes: int, patience_seconds: float) -> bytes:
        """All of it; otherwise as `pieces`."""
        return b"".join([piece async for piece in self.pieces(most_bytes, patience_seconds)])

    async def answer(self, response: Response, send: Send) -> None:
        """Sends the response, and ends the connection where the body has not come to its end.

        What is left of a small body is taken first, so that the connection can go on. Of a large
        one, it is taken for a moment after the response: a socket that is closed with unread bytes
        is reset, and the client might never see the answer.
        """
        on_its_way = self._begun or not self._expects
        small = self._stated is not None and self._stated <= _SMALL_BYTES
        if on_its_way and small:
            await self._throw_away_rest()
        if self._ended:
            await response(self._scope, self._receive, send)
            return
        if self._scope["http_version"].startswith("1"):
            response.headers["connection"] = "close"
        await send(
            {
                "type": "http.response.start",
                "status": response.status_code,
                "headers": response.raw_headers,
            }
        )
        await send({"type": "http.response.body", "body": response.body, "more_body": True})
        if on_its_way and not small:
            await self._throw_away_rest()
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    # ---- inside

    async def _next(self) -> bytes:
        loop = asyncio.get_running_loop()
        while True:
            if self._leaving():
                raise Unavailable(LEAVING, RETURN_SECONDS)
            try:
                async with asyncio.timeout_at(min(self._deadline, loop.time() + _LOOK_SECONDS)):
                    return self._take(await self._receive())
            except TimeoutError:
                if loop.time() >= self._deadline:
                    raise SlowBody(self._patience) from None

    def _take(self, message: Message) -> bytes:
        if message["type"] == "http.disconnect":
            raise ClientGone
        self._begun = True
        self._ended = not message.get("more_body", False)
        piece: bytes = message.get("body", b"")
        self._size += len(piece)
        return piece

    async def _throw_away_rest(self) -> None:
        most = self._size + _LINGER_BYTES
        try:
            # A server that leaves does not wait for long.
            async with asyncio.timeout(_LOOK_SECONDS if self._leaving() else _LINGER_SECONDS):
                while not self._ended and self._size < most:
                    self._take(await self._receive())
        except (TimeoutError, ClientGone):
            # They had their chance to read the answer.
            return
        except asyncio.CancelledError:
            # A server that leaves waits no longer: the same.
            if not self._leaving():
                raise


def _content_length(headers: Headers) -> int | None:
    """What the client says; `None` if it does not. The server has checked its form."""
    text = headers.get("content-length", "")
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 20 else None
