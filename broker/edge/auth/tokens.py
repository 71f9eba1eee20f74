"""Tokens: JWTs of the operator's identity provider (RFC 7519, signed as in RFC 7515).

The form is read in `compact`, strictly; signatures are PyJWT's and cryptography's to check. PyJWT's
own `decode` would read a token twice, at ten times the cost of an HMAC, and takes what need not be
taken: padding, times as text, infinite ones.
"""

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from broker.edge.auth.claims import (
    ClaimedRights,
    claim_path,
    lifetime,
    require_parties,
    subject_of,
    token_id,
)
from broker.edge.auth.compact import MALFORMED, CompactToken
from broker.edge.auth.identity import CredentialKind, Identity
from broker.edge.auth.presented import Presented
from broker.edge.auth.rights import Action, Rights
from broker.edge.auth.token_keys import TokenKey, TokenKeys
from broker.wire.ids import RunId
from broker.wire.problem import NotAuthenticated

__all__ = ["TokenRules", "Tokens"]

_TYPES: Final = frozenset({"jwt", "at+jwt"})
"""Of tokens that say what they may be used for (RFC 8725, 3.11). Others that the same key may have
signed are no proof of who asks: logout tokens, DPoP proofs, security events, our own tickets."""
_REMEMBERED: Final = 4096
"""Tokens whose check need not be done anew: 2 kB each, or so."""


@dataclass(frozen=True, slots=True)
class TokenRules:
    """What a token must be, and what it gives; see the settings that begin with `jwt_`."""

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
    """Checks them: a `Verifier`.

    What a token has proven is remembered until it ends, for as long as its key is the same: who
    comes back costs a hash.
    """

    def __init__(
        self, rules: TokenRules, keys: TokenKeys, clock: Callable[[], float] = time.time
    ) -> None:
        """
        Args:
            rules: what a token must be.
            keys: what signatures are checked with.
            clock: seconds since 1970.

        Raises:
            ValueError: the rules have rights that are none, or a claim's pointer that is none.
        """
        self._rules = rules
        self._keys = keys
        self._clock = clock
        self._subject_path = claim_path(rules.subject_claim)
        self._rights = ClaimedRights(
            rules.rights, rules.rights_claim, rules.roles_claim, rules.roles
        )
        self._proven: dict[tuple[CredentialKind, bytes], _Proven] = {}
        """By the hashes of tokens; the oldest first."""

    async def verify(self, presented: Presented, action: Action, run_id: RunId | None) -> Identity:
        """See `Verifier.verify`."""
        place = presented.kind, hashlib.sha256(presented.text.encode()).digest()
        proven = self._proven.get(place)
        if proven is not None:
            key = await self._keys.find(proven.header.key_id, proven.header.algorithm)
            if key is proven.key and self._clock() < proven.identity.until:
                return proven.identity
            self._proven.pop(place, None)
        proven = await self._prove(presented)
        if len(self._proven) >= _REMEMBERED:
            del self._proven[next(iter(self._proven))]
        self._proven[place] = proven
        return proven.identity

    async def _prove(self, presented: Presented) -> "_Proven":
        token = CompactToken.parse(presented.text)
        header = _Header.of(token.header, self._rules.algorithms)
        key = await self._keys.find(header.key_id, header.algorithm)
        if not key.signed(token.message, token.signature):
            raise NotAuthenticated("The token's signature is wrong.")
        claims = token.claims()
        rules = self._rules
        lasts = lifetime(claims, self._clock(), rules.leeway_seconds)
        require_parties(claims, rules.issuer, rules.audience)
        subject = subject_of(claims, self._subject_path)
        marks = {f"subject:{subject}"}
        own_name = token_id(claims)
        if own_name is not None:
            marks.add(f"token:{own_name}")
        identity = Identity(
            subject,
            self._rights.of(claims),
            presented.kind,
            until=lasts.until,
            issued_at=lasts.issued_at,
            marks=frozenset(marks),
        )
        return _Proven(header, key, identity)


@dataclass(frozen=True, slots=True)
class _Proven:
    """What a token has proven, and with what."""

    header: "_Header"
    key: TokenKey
    identity: Identity


@dataclass(frozen=True, slots=True)
class _Header:
    """What of a token's header is looked at. It is not signed yet: it says which key to try."""

    algorithm: str
    key_id: str | None

    @classmethod
    def of(cls, header: Mapping[str, Any], algorithms: Sequence[str]) -> "_Header":
        algorithm, key_id = header.get("alg"), header.get("kid")
        if not isinstance(algorithm, str) or algorithm not in algorithms:
            raise NotAuthenticated("The token is signed with an algorithm that is not taken here.")
        if key_id is not None and not isinstance(key_id, str):
            raise NotAuthenticated(MALFORMED)
        if not _is_type(header.get("typ", "JWT")):
            raise NotAuthenticated("The token is of a type that is not taken here (typ).")
        return cls(algorithm, key_id)


def _is_type(value: object) -> bool:
    return isinstance(value, str) and value.lower().removeprefix("application/") in _TYPES
