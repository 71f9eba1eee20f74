"""Who asks, once it is proven."""

import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from broker.edge.auth.rights import Rights

__all__ = ["ANYONE", "CredentialKind", "Identity"]


class CredentialKind(StrEnum):
    """What may prove who asks; if there are several, the first of these decides: what was put there
    on purpose, before what browsers send by themselves."""

    TICKET = "ticket"
    """`?ticket=`, which this edge or another has signed."""
    API_KEY = "api_key"
    """`X-API-Key`."""
    BEARER = "bearer"
    """`Authorization: Bearer`."""
    SESSION = "session"
    """The application's cookie."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who asks, what they may do, and for how long that is known. Has no secret in it, except that
    `again` may hold one where nobody sees it."""

    subject: str | None
    """Who they are to the operator; `None` for a credential that is nobody's in particular."""
    rights: Rights
    kind: CredentialKind | None = None
    """What has proved it; `None` where nothing need be proved."""
    until: float = math.inf
    """Seconds since 1970 at which the right ends."""
    issued_at: float | None = None
    """Seconds since 1970 at which the credential was made, where it says so."""
    marks: frozenset[str] = frozenset()
    """By what it may be revoked: `subject:…`, `key:…`, `token:…`."""
    again: "Callable[[], Awaitable[Identity]] | None" = field(
        default=None, repr=False, compare=False
    )
    """Has it proved anew, for a credential whose right can end without a sign; raises as a
    `Verifier` does."""


ANYONE: Final = Identity(None, Rights(("watch:*", "publish:*", "command:*", "admin", "metrics")))
"""Whoever asks, where no authentication is set up."""
