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
    "abort_of",
    "detach_of",
]

ABORT_EXTENSION: Final = "runcast.abort"
"""A way to drop the connection at once; ASGI has none."""
DETACH_EXTENSION: Final = "runcast.detach"
"""A way to keep the connection when the request's task ends."""


class DetachedConnection(Sink, Protocol):
    """A connection that is the engine's: no task waits for it."""

    def attach(self, on_drained: Callable[[], None], on_closed: Callable[[], None]) -> None:
        """Sets who is told, before anything is written.

        Args:
            on_drained: called each time that a backlog has been taken.
            on_closed: called once, when the connection is over, for whatever reason.
        """


Detach = Callable[[Mapping[str, str]], DetachedConnection | None]
"""Writes the head of a `200` answer with these headers, and hands the connection over; `None` if
it is over already."""


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
