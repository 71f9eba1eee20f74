"""Origins: whose pages may use this edge. Pure.

Browsers send cookies by themselves, whatever page had them ask; so where a cookie proves who asks,
it is looked at which page that was.
"""

from collections.abc import Sequence
from typing import Final

from starlette.datastructures import Headers
from starlette.types import Scope

from broker.wire.problem import Forbidden

__all__ = ["Origins"]

_ALL: Final = "*"
_OWN_SITE: Final = frozenset({"same-origin", "none"})
"""The page is ours, or there is none: somebody has typed the address."""


class Origins:
    """An exact list."""

    def __init__(self, allowed: Sequence[str], *, credentials: bool = False) -> None:
        """
        Args:
            allowed: such as `https://app.example.com`; `*` for all.
            credentials: whether their pages may have the browser send cookies; never those of all.
        """
        self.all = _ALL in allowed
        self.allowed = frozenset(allowed) - {_ALL}
        self.credentials = credentials and not self.all

    def check(self, scope: Scope) -> None:
        """Returns if no stranger's page has had a browser send this.

        Every browser says by `Origin` which page has it send a `POST`, or anything whose answer
        the page could read (Fetch, "origin header"); and today's say by `Sec-Fetch-Site` of every
        request how the page is related to us (Fetch Metadata; over TLS, and on localhost). Pages
        can set neither. What has neither comes from no browser, or from an old one for a page that
        can't read the answer, and asks for nothing that changes anything: a `GET`.

        `Sec-Fetch-Site` goes by what the browser sees, so it is right behind any proxy. Without it,
        the origin must be that of the request's scheme and `Host`, or the same with `https`, since
        TLS may end before us. Where a proxy changes `Host` as well, old browsers are refused,
        unless the origin is on the list.

        Raises:
            Forbidden: one may have.
        """
        headers = Headers(scope=scope)
        origins = headers.getlist("origin")
        if len(origins) > 1 or "null" in origins:
            # A page without an origin (in a sandbox, from a file) is nobody's in particular.
            raise _stranger()
        if self.credentials and origins and origins[0] in self.allowed:
            return
        sites = headers.getlist("sec-fetch-site")
        if sites:
            own = len(sites) == 1 and sites[0] in _OWN_SITE
        else:
            own = not origins or origins[0] in _own_origins(scope, headers)
        if not own:
            raise _stranger()


def _own_origins(scope: Scope, headers: Headers) -> Sequence[str]:
    hosts = headers.getlist("host")
    if len(hosts) != 1 or not hosts[0]:
        return ()
    host = hosts[0].lower()
    return (f"{scope['scheme']}://{host}", f"https://{host}")


def _stranger() -> Forbidden:
    return Forbidden("The session's cookie is not taken from pages of this origin.")
