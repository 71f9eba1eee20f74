"""Forward auth."""

from typing import Self

from broker.edge.auth.identity import Identity
from broker.edge.auth.presented import Presented
from broker.edge.auth.rights import Action
from broker.wire.ids import RunId

__all__ = ["ForwardAuth"]


class ForwardAuth:
    """Asks the operator's own endpoint: a `Verifier`. Use it as an async context manager."""

    def __init__(self, url: str, *, timeout_seconds: float, cache_seconds: float) -> None:
        self._url = url

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    async def verify(self, presented: Presented, action: Action, run_id: RunId | None) -> Identity:
        """See `Verifier.verify`."""
        raise NotImplementedError
