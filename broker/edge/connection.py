"""What an edge may get from its server beyond ASGI: a connection of its own.

Our server (`broker.server.protocol`) offers both extensions below in the request's scope; under any
other, neither is there, and everything goes through ASGI.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

from starlette.types import Scope

from broker.engine.delivery import Sink

__all__ = [
    "ABORT_EXTENSION",
    "DETACH_EXTENSION",
    "Detach",
    "DetachedConnection",
    "Listener",
    "abort_of",
    "detach_of",
]

ABORT_EXTENSION: Final = "runcast.abort"
"""A way to drop the connection at once; ASGI has none."""
DETACH_EXTENSION: Final = "runcast.detach"
"""A way to keep the connection when the request's task ends."""


class Listener(Protocol):
    """Who is told of what happens to a detached connection."""

    def drained(self) -> None:
        """A backlog has been taken."""

    def closed(self) -> None:
        """The connection is over, for whatever reason; once."""


class DetachedConnection(Sink, Protocol):
    """A connection that is the engine's: no task waits for it."""

    def attach(self, listener: Listener) -> None:
        """Sets who is told, before anything is written."""

    def release(self) -> None:
        """Sends the head and what was written so far, in one piece; later bytes go at once."""


Detach = Callable[[Mapping[str, str]], DetachedConnection | None]
"""Hands the connection over, for a `200` answer with these headers; `None` if it is over
already."""


def abort_of(scope: Scope) -> Callable[[], None]:
    """How to drop the connection; does nothing where the server has no way to."""
    abort: Callable[[], None] = _extension(scope, ABORT_EXTENSION).get("abort", _nothing)
    return abort


def detach_of(scope: Scope) -> Detach | None:
    """How to take the connection over, if the server lets one."""
    detach: Detach | None = _extension(scope, DETACH_EXTENSION).get("detach")
    return detach


def _extension(scope: Scope, name: str) -> Mapping[str, Any]:
    extension: Mapping[str, Any] = (scope.get("extensions") or {}).get(name, {})
    return extension


def _nothing() -> None:
    """For servers that can't drop a connection: the response is cut short instead."""
