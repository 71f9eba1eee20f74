"""Tickets: short-lived tokens for one run, for clients that can't send a header.

A ticket is a JWT (RFC 7519) that edges sign and check with a secret that they share, so that each
is good at every edge and nothing need be kept. Its type in the header keeps it from passing for
another kind of token, and other tokens from passing for it (RFC 8725, 3.11).

============== ==================================================================================
claim          value
============== ==================================================================================
``iss``        ``runcast``
``aud``        the setting `ticket_audience`
``sub``        the subject; absent for nobody in particular
``run``        the run's id
``rights``     what it allows with that run: of ``watch``, ``publish``, ``command``
``iat``        when it was made
``exp``        when it ends; exactly then, since edges check what edges have signed
``jti``        its own id
``auth_time``  when the credential was made that it was asked for with; absent where that is not
               known
``marks``      by what that credential can be revoked, besides the subject
============== ==================================================================================
"""

import hmac
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final
from uuid import uuid4

from broker.edge.auth.compact import CompactToken
from broker.edge.auth.identity import CredentialKind, Identity
from broker.edge.auth.presented import Presented
from broker.edge.auth.rights import Action, Rights
from broker.wire.ids import RunId, is_run_id
from broker.wire.problem import NotAuthenticated

__all__ = ["LEAST_DAYS_REVOKED", "MOST_SECONDS", "TICKET_ACTIONS", "Ticket", "Tickets"]

TICKET_ACTIONS: Final = (Action.WATCH, Action.PUBLISH, Action.COMMAND)
"""What tickets can be for."""
MOST_SECONDS: Final = 30 * 24 * 3600
"""No ticket lasts longer, whoever has signed it: what was revoked is remembered for longer."""

LEAST_DAYS_REVOKED: Final = MOST_SECONDS // (24 * 3600) + 1
"""That a revocation is kept: longer than any ticket lasts."""

_TYPE: Final = "runcast-ticket+jwt"
_ISSUER: Final = "runcast"
_ALGORITHM: Final = "HS256"
_CLOCKS_DIFFER_SECONDS: Final = 5
"""How far the clock of the edge that has signed it may be ahead."""
_REQUIRED: Final = frozenset({"iss", "aud", "run", "rights", "iat", "exp", "jti"})


@dataclass(frozen=True, slots=True)
class Ticket:
    """One that was made."""

    text: str = field(repr=False)
    """The ticket itself: a secret."""
    id: str
    """Its `jti`, by which it can be revoked: no secret."""
    expires_at: int
    """Seconds since 1970."""


class Tickets:
    """Signs them, and checks them: a `Verifier`."""

    def __init__(self, secrets: Sequence[bytes], *, audience: str, longest_seconds: float) -> None:
        """
        Args:
            secrets: the first one signs, all are good.
            audience: whose tickets these are.
            longest_seconds: how long those last that are made here; longer ones, of edges with
                another setting, are good all the same.
        """
        self._secrets = list(secrets)
        self._audience = audience
        self._longest = min(longest_seconds, MOST_SECONDS)

    def make(
        self, parent: Identity, run_id: RunId, actions: Sequence[Action], seconds: float | None
    ) -> Ticket:
        """A ticket that gives a part of somebody's rights, which the caller has checked.

        Args:
            parent: whose. It ends with their right, and is revoked with it.
            run_id: the run that it is for.
            actions: what it allows, of `TICKET_ACTIONS`.
            seconds: how long, at most; `None` for as long as can be. It ends on a whole second.

        Raises:
            NotAuthenticated: their right ends before a ticket could be used.
        """
        now = time.time()
        lasts = self._longest if seconds is None else min(seconds, self._longest)
        expires_at = int(min(math.ceil(now + lasts), parent.until))
        if expires_at <= now:
            raise NotAuthenticated("The credential is about to expire.")
        claims: dict[str, Any] = {
            "iss": _ISSUER,
            "aud": self._audience,
            "run": run_id,
            "rights": list(dict.fromkeys(actions)),
            "iat": int(now),
            "exp": expires_at,
            "jti": uuid4().hex,
            "marks": sorted(parent.marks - {_subject_mark(parent.subject)}),
        }
        if parent.subject is not None:
            claims["sub"] = parent.subject
        if parent.issued_at is not None:
            # Not the ticket's own time: one that was made in the moment before an edge heard that
            # its parent was revoked would seem newer than that.
            claims["auth_time"] = int(parent.issued_at)
        # Imported here, with cryptography behind it: most edges start without.
        import jwt

        text = jwt.encode(claims, self._secrets[0], _ALGORITHM, headers={"typ": _TYPE})
        return Ticket(text, claims["jti"], expires_at)

    async def verify(self, presented: Presented, action: Action, run_id: RunId | None) -> Identity:
        """See `Verifier.verify`."""
        # Not PyJWT, which takes ten times as long: nobody else has a say in what a ticket is.
        try:
            return _identity(self._claims(presented.text))
        except (TypeError, ValueError):
            # Whoever has signed it has not gone by the form.
            raise NotAuthenticated(_NOT_GOOD) from None

    def _claims(self, text: str) -> Mapping[str, Any]:
        """What the ticket says, if one of us has signed it."""
        token = CompactToken.parse(text)
        header = token.header
        if header.get("alg") != _ALGORITHM or header.get("typ") != _TYPE:
            raise NotAuthenticated(_NOT_GOOD)
        if not any(_signed(token, secret) for secret in self._secrets):
            raise NotAuthenticated(_NOT_GOOD)
        claims = token.claims()
        ours = claims.get("iss") == _ISSUER and claims.get("aud") == self._audience
        if not ours or not claims.keys() >= _REQUIRED:
            raise NotAuthenticated(_NOT_GOOD)
        return claims


def _signed(token: CompactToken, secret: bytes) -> bool:
    return hmac.compare_digest(hmac.digest(secret, token.message, "sha256"), token.signature)


_NOT_GOOD: Final = "The ticket is none of those that are made here."
_EXPIRED: Final = "The ticket has expired: ask for another one."


def _identity(claims: Mapping[str, Any]) -> Identity:
    """Who has the ticket with these claims, whose signature is right.

    Raises:
        TypeError, ValueError: a claim is not what it must be.
        NotAuthenticated: it has expired.
    """
    run_id = _text(claims["run"])
    if not is_run_id(run_id):
        raise ValueError("no run id")
    rights = _rights(run_id, tuple(map(_text, claims["rights"])))
    issued_at, until = _seconds(claims["iat"]), _seconds(claims["exp"])
    begins = max(issued_at, _seconds(claims.get("nbf", 0)))
    if begins > time.time() + _CLOCKS_DIFFER_SECONDS:
        raise ValueError("not made yet")
    if until - issued_at > MOST_SECONDS + 1:
        raise ValueError("lasts for too long")
    if until <= time.time():
        raise NotAuthenticated(_EXPIRED)
    subject = _text(claims["sub"]) if "sub" in claims else None
    authenticated_at = _seconds(claims["auth_time"]) if "auth_time" in claims else None
    marks = {f"token:{_text(claims['jti'])}", *map(_text, claims.get("marks", ()))}
    if subject is not None:
        marks.add(_subject_mark(subject))
    return Identity(
        subject,
        rights,
        CredentialKind.TICKET,
        until,
        authenticated_at,
        frozenset(marks),
    )


@lru_cache(maxsize=1024)
def _rights(run_id: str, actions: tuple[str, ...]) -> Rights:
    # Many tickets are for the same run.
    if not actions or not set(actions) <= set(TICKET_ACTIONS):
        raise ValueError("no rights that tickets have")
    return Rights(f"{action}:{run_id}" for action in actions)


def _subject_mark(subject: str | None) -> str:
    return f"subject:{subject or ''}"


def _text(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise TypeError("not a text")
    return value


def _seconds(value: object) -> int:
    # A bool is an int to Python.
    if type(value) is not int or not 0 <= value <= _LATEST:
        raise TypeError("not a time")
    return value


_LATEST: Final = 1 << 40
"""Of any time, in seconds since 1970: far from where arithmetic with it goes wrong."""
