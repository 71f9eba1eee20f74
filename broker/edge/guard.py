"""Who may do what: the question that every route asks, once it knows which run it is about."""

from enum import StrEnum
from typing import Final, Protocol

from starlette.types import Scope

from broker.wire.ids import RunId

__all__ = ["EVERYONE", "Action", "Guard"]


class Action(StrEnum):
    """What somebody wants to do with a run."""

    WATCH = "watch"
    PUBLISH = "publish"
    COMMAND = "command"
    CREATE = "create"


class Guard(Protocol):
    """Decides."""

    async def check(
        self, scope: Scope, action: Action, run_id: RunId | None, credentials: tuple[str, ...]
    ) -> None:
        """Returns if it is allowed.

        Args:
            scope: the request's.
            action: what is wanted.
            run_id: of which run; `None` for one that is yet to be.
            credentials: what may prove who asks, on this route; empty for any.

        Raises:
            Problem: it is not.
        """


class _Everyone:
    """Allows everything to everyone: whoever reaches the edge may."""

    async def check(
        self, scope: Scope, action: Action, run_id: RunId | None, credentials: tuple[str, ...]
    ) -> None:
        """Always returns."""


EVERYONE: Final[Guard] = _Everyone()
