"""What a request shows to prove who asks. Reads the request, checks nothing."""

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Final

from starlette.datastructures import Headers, QueryParams
from starlette.requests import cookie_parser
from starlette.types import Scope

from broker.edge.auth.identity import CredentialKind
from broker.wire.problem import NotAuthenticated

__all__ = ["API_KEY", "TICKET", "Presented", "present"]

API_KEY: Final = "X-API-Key"
TICKET: Final = "ticket"
_MOST_CHARACTERS: Final = 8192
"""Of any credential: far more than identity providers make, far less than would cost us."""


@dataclass(frozen=True, slots=True)
class Presented:
    """One credential of a request."""

    kind: CredentialKind
    text: str = field(repr=False)
    """The secret itself; of a session the whole `Cookie` header, unless its cookie has a name."""


def present(
    scope: Scope, kinds: Collection[CredentialKind], session_cookie: str | None
) -> Presented | None:
    """The credential that decides: what was shown on purpose, before what browsers send by
    themselves. Kinds that the route does not take are not looked at.

    Args:
        scope: the request's.
        kinds: what the route takes.
        session_cookie: the cookie's name; `None` for all of them.

    Raises:
        NotAuthenticated: it is too long, there are two of it, or it has not the form that it must.
    """
    headers = Headers(scope=scope)
    for kind in CredentialKind:
        if kind not in kinds:
            continue
        match kind:
            case CredentialKind.TICKET:
                given = _tickets(scope["query_string"])
            case CredentialKind.API_KEY:
                given = headers.getlist(API_KEY)
            case CredentialKind.BEARER:
                given = [_bearer(text) for text in headers.getlist("authorization")]
            case CredentialKind.SESSION:
                given = _session(headers, session_cookie)
        if not given:
            continue
        if len(given) > 1:
            raise NotAuthenticated("There are several credentials of the same kind: send one.")
        if len(given[0]) > _MOST_CHARACTERS:
            raise NotAuthenticated("The credential is longer than any that is taken.")
        return Presented(kind, given[0])
    return None


def _tickets(query: bytes) -> list[str]:
    # Most requests have none, and those are not to pay for it.
    if TICKET.encode() not in query:
        return []
    return QueryParams(query).getlist(TICKET)


def _bearer(text: str) -> str:
    scheme, _, token = text.partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise NotAuthenticated("Authorization is read in the form Bearer <token> alone.")
    return token.strip()


def _session(headers: Headers, name: str | None) -> list[str]:
    # HTTP/2 may send it in pieces (RFC 9113, 8.2.3).
    text = "; ".join(headers.getlist("cookie"))
    if name is None:
        return [text] if text else []
    value = cookie_parser(text).get(name)
    return [value] if value else []
