"""Tokens: JWTs of the operator's identity provider."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from broker.edge.auth.identity import Identity
from broker.edge.auth.presented import Presented
from broker.edge.auth.rights import Action, Rights
from broker.edge.auth.token_keys import TokenKeys
from broker.wire.ids import RunId

__all__ = ["TokenRules", "Tokens"]


@dataclass(frozen=True, slots=True)
class TokenRules:
    """What a token must be, and what it gives."""

    algorithms: Sequence[str]
    issuer: str | None
    audience: str
    leeway_seconds: float
    subject_claim: str
    rights: str
    rights_claim: str | None
    roles_claim: str | None
    roles: Mapping[str, Rights]


class Tokens:
    """Checks them: a `Verifier`."""

    def __init__(self, rules: TokenRules, keys: TokenKeys) -> None:
        self._rules = rules
        self._keys = keys

    async def verify(self, presented: Presented, action: Action, run_id: RunId | None) -> Identity:
        """See `Verifier.verify`."""
        raise NotImplementedError
