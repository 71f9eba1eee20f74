"""API keys."""

from pathlib import Path

from broker.edge.auth.identity import Identity
from broker.edge.auth.presented import Presented
from broker.edge.auth.rights import Action
from broker.wire.ids import RunId

__all__ = ["ApiKeys"]


class ApiKeys:
    """A file of keys: a `Verifier`, and a `Source`."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def verify(self, presented: Presented, action: Action, run_id: RunId | None) -> Identity:
        """See `Verifier.verify`."""
        raise NotImplementedError

    async def look(self) -> bool:
        """See `Source.look`."""
        raise NotImplementedError

    def revoked(self, identity: Identity) -> bool:
        """See `Source.revoked`."""
        raise NotImplementedError
