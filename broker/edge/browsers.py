"""What browsers are told: whose pages may read an answer, and what they may do with it.

Stands around the whole application, so that no answer is without it: refusals, streams and what
nobody serves. It adds to an answer's head and touches nothing else. A stream's head may leave
without passing through `send`: then it is added where the connection is taken over.

Starlette's `CORSMiddleware` sees `send` only, and tells strangers' pages what those on the list
are told.
"""

from collections.abc import Awaitable, Iterable, Mapping
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from broker.edge.auth.origins import Origins
from broker.edge.auth.presented import API_KEY
from broker.edge.connection import DETACH_EXTENSION, Detach, DetachedConnection, detach_of
from broker.edge.publishing.origin import IDEMPOTENCY_KEY, PRODUCER, SEQUENCE
from broker.edge.publishing.publish import LEASE

__all__ = ["Browsers"]

_SAFE: Final = {
    # What is sent is what it says it is: JSON of a stranger's is never run as a script.
    "x-content-type-options": "nosniff",
    # Addresses may have a ticket in them.
    "referrer-policy": "no-referrer",
    # Not even as an image or script of another site's page. Does not concern pages that ask by
    # CORS: those on the list.
    "cross-origin-resource-policy": "same-origin",
    # Nothing of this is a page; those that are have a policy of their own.
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
}
_TAKEN: Final = ", ".join(
    (
        *("Accept", "Authorization", "Cache-Control", "Content-Type", "Last-Event-ID"),
        *(API_KEY, IDEMPOTENCY_KEY, PRODUCER, SEQUENCE, LEASE),
    )
)
_SHOWN: Final = "Location, Retry-After, Runcast-Gap, Runcast-Run, WWW-Authenticate"
_METHODS: Final = "GET, HEAD, POST"
_PREFLIGHT_SECONDS: Final = 7200
"""How long a browser may remember what it was told: as long as Chromium does at most."""
_PREFLIGHT_FIELDS: Final = (
    (b"access-control-allow-methods", _METHODS.encode()),
    (b"access-control-allow-headers", _TAKEN.encode()),
    (b"access-control-max-age", str(_PREFLIGHT_SECONDS).encode()),
)


_ORIGIN: Final = b"origin"
_PREFLIGHT: Final = b"access-control-request-method"


class Browsers:
    """An ASGI application around another."""

    def __init__(self, app: ASGIApp, origins: Origins) -> None:
        """
        Args:
            app: what is served.
            origins: whose pages may read it.
        """
        self._app = app
        # Answers that are not the same for all pages must not be kept for another's.
        varies = bool(origins.allowed)
        self._to_allowed = {
            origin.encode(): _Head(_SAFE | _readable_by(origin, origins.credentials), varies)
            for origin in origins.allowed
        }
        readable = _readable_by("*", False) if origins.all else {}
        self._to_others = _Head(_SAFE | readable, varies)
        self._others_may_read = origins.all

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        origins = [value for name, value in scope["headers"] if name == _ORIGIN]
        allowed = self._to_allowed.get(origins[0]) if len(origins) == 1 else None
        head = allowed or self._to_others
        may_read = allowed is not None or self._others_may_read
        if scope["method"] == "OPTIONS" and origins and may_read and _is_preflight(scope):
            fields = head.fields(_PREFLIGHT_FIELDS)
            await send({"type": "http.response.start", "status": 204, "headers": fields})
            await send({"type": "http.response.body", "body": b""})
            return
        detach = detach_of(scope)
        if detach is not None:
            scope["extensions"][DETACH_EXTENSION] = {"detach": _detach_with(head, detach)}
        await self._app(scope, receive, _send_with(head, send))


class _Head:
    """What is added to the head of an answer."""

    def __init__(self, texts: Mapping[str, str], varies: bool, /) -> None:
        self._texts = dict(texts)
        self._fields = [(name.encode(), text.encode()) for name, text in texts.items()]
        self._varies = varies

    def texts(self, headers: Mapping[str, str]) -> dict[str, str]:
        """A stream's headers, with what is added; what it says itself stays."""
        texts = {**self._texts, **headers}
        if self._varies:
            vary = texts.get("vary")
            texts["vary"] = "origin" if vary is None else f"{vary}, origin"
        return texts

    def fields(self, headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        """The same, as ASGI has them."""
        fields = list(headers)
        said = {name for name, _ in fields}
        fields += [field for field in self._fields if field[0] not in said]
        if self._varies:
            vary = b", ".join([value for name, value in fields if name == b"vary"] + [b"origin"])
            fields = [field for field in fields if field[0] != b"vary"] + [(b"vary", vary)]
        return fields


def _send_with(head: _Head, send: Send) -> Send:
    # Not a coroutine of its own: there would be one more for each piece of a stream.
    def send_with(message: Message) -> Awaitable[None]:
        if message["type"] == "http.response.start":
            message = {**message, "headers": head.fields(message.get("headers", ()))}
        return send(message)

    return send_with


def _detach_with(head: _Head, detach: Detach) -> Detach:
    def detach_with(headers: Mapping[str, str]) -> DetachedConnection | None:
        return detach(head.texts(headers))

    return detach_with


def _readable_by(origin: str, credentials: bool, /) -> dict[str, str]:
    readable = {
        "access-control-allow-origin": origin,
        "access-control-expose-headers": _SHOWN,
    }
    return readable | ({"access-control-allow-credentials": "true"} if credentials else {})


def _is_preflight(scope: Scope) -> bool:
    return any(name == _PREFLIGHT for name, _ in scope["headers"])
