"""Tickets."""

from collections.abc import Sequence

from broker.edge.auth.identity import Identity
from broker.edge.auth.presented import Presented
from broker.edge.auth.rights import Action
from broker.wire.ids import RunId

__all__ = ["Tickets"]


class Tickets:
    """Signs them, and checks them: a `Verifier`."""

    def __init__(self, secrets: Sequence[bytes], *, audience: str, longest_seconds: float) -> None:
        self._secrets = secrets

    async def verify(self, presented: Presented, action: Action, run_id: RunId | None) -> Identity:
        """See `Verifier.verify`."""
        raise NotImplementedError
