"""Bearer tokens: of several kinds, told apart by their form."""

from broker.edge.auth.identity import Identity
from broker.edge.auth.presented import Presented
from broker.edge.auth.rights import Action
from broker.edge.auth.verifier import Verifier
from broker.wire.ids import RunId
from broker.wire.problem import NotAuthenticated

__all__ = ["Bearer"]


class Bearer:
    """Passes each to the verifier that it is for."""

    def __init__(
        self, tokens: Verifier | None, api_keys: Verifier | None, others: Verifier | None
    ) -> None:
        """
        Args:
            tokens: checks JWTs.
            api_keys: checks what is none.
            others: checks what neither of them is there for.
        """
        self._signed = tokens or others
        self._opaque = api_keys or others

    async def verify(self, presented: Presented, action: Action, run_id: RunId | None) -> Identity:
        """See `Verifier.verify`."""
        # A JWS has three parts (RFC 7515, 7.1).
        verifier = self._signed if presented.text.count(".") == 2 else self._opaque
        if verifier is None:
            raise NotAuthenticated("Tokens of this form are not taken here.")
        return await verifier.verify(presented, action, run_id)
