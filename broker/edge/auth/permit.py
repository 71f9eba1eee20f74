"""A permit: that somebody may do something with a run. Only a guard gives one."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from broker.edge.auth.identity import Identity
from broker.edge.auth.rights import Action
from broker.wire.ids import RunId

__all__ = ["Permit"]


@dataclass(frozen=True, slots=True)
class Permit:
    """What an endpoint must have before it does anything; see `Gate`."""

    identity: Identity
    run_id: RunId | None
    """The run that it is for; `None` where there is none, or none yet."""
    owned: bool
    """Whether it rests on whose run it is: not valid for another run in the same place."""
    to_name: bool
    """Whether it is for a new run alone whose id is given, and is one that they may use."""
    check: Callable[[], None] = field(repr=False)
    """Returns if it still holds, for what takes its time.

    Raises:
        NotAuthenticated: it does not: expired or revoked meanwhile.
    """
    ask_also: "Callable[[Action, RunId | None], Awaitable[Permit]]" = field(repr=False)

    @property
    def subject(self) -> str | None:
        """Who asks."""
        return self.identity.subject

    async def also(self, action: Action, run_id: RunId | None) -> "Permit":
        """A permit of the same person's for something else, where it is known only now.

        Raises:
            Problem: they may not, or it can't be found out.
        """
        return await self.ask_also(action, run_id)
