"""What checks a credential, of whatever kind."""

from typing import Protocol

from broker.edge.auth.identity import Identity
from broker.edge.auth.presented import Presented
from broker.edge.auth.rights import Action
from broker.wire.ids import RunId

__all__ = ["Verifier"]


class Verifier(Protocol):
    """Finds out who asks."""

    async def verify(self, presented: Presented, action: Action, run_id: RunId | None) -> Identity:
        """Who has such a credential.

        Args:
            presented: the credential.
            action: what is wanted, for who decides elsewhere; others ignore it.
            run_id: with which run; the same.

        Raises:
            NotAuthenticated: it proves nothing: wrong, expired, revoked.
            Forbidden: it does, but what is wanted is not theirs.
            Unavailable: it can't be found out now.
        """
