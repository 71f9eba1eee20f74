"""Whose a connection or a request is, by its address.

Behind a proxy, the connection's address is the proxy's, and `X-Forwarded-For` has the client's.
Anybody can write that header: it is believed only of proxies that are trusted, and only as far as
these have written it, from its end. So a client can choose what stands before its own address, and
nothing reads that.
"""

import ipaddress
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final, cast

from starlette.types import ASGIApp
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

__all__ = ["AddressGroups", "behind_proxies", "unmapped"]

_KEPT: Final = 4096
_MOST_CHARACTERS: Final = 64
"""Of an address, its zone included."""
_MAPPED: Final = "::ffff:"
_UNKNOWN: Final = "unknown"


def behind_proxies(app: ASGIApp, trusted_proxies: Sequence[str]) -> ASGIApp:
    """The application, told the client's address and scheme by the proxies that are trusted.

    Args:
        app: what is served.
        trusted_proxies: addresses and networks; without any, nothing is read of the headers.
    """
    if not trusted_proxies:
        return app
    # The same protocol, in uvicorn's words.
    told = ProxyHeadersMiddleware(cast(Any, app), list(trusted_proxies))
    return cast(ASGIApp, told)


def unmapped(host: str) -> str:
    """An IPv4 address as such, where a socket for both gives it as one of IPv6."""
    if host.startswith(_MAPPED) and "." in host:
        return host.removeprefix(_MAPPED)
    return host


class AddressGroups:
    """Which addresses count as one: each of IPv4, and each /64 of IPv6, which is the least that a
    subscriber is given and can choose from (RFC 6177)."""

    def __init__(self, trusted_proxies: Sequence[str]) -> None:
        """
        Args:
            trusted_proxies: addresses and networks, many clients behind each.
        """
        self._trusted = [ipaddress.ip_network(proxy) for proxy in trusted_proxies]
        self._known = lru_cache(maxsize=_KEPT)(self._find)

    def group(self, host: str | None) -> str | None:
        """What counts as one with this address; `None` for a proxy that is trusted, or where there
        is no address."""
        if host is None:
            return None
        # A proxy may write what is none; whatever it is, it is one.
        return _UNKNOWN if len(host) > _MOST_CHARACTERS else self._known(host)

    def _find(self, host: str) -> str | None:
        try:
            address = ipaddress.ip_address(unmapped(host))
        except ValueError:
            return _UNKNOWN
        if any(address in network for network in self._trusted):
            return None
        if address.version == 4:
            return str(address)
        return str(ipaddress.IPv6Address(int(address) >> 64 << 64)) + "/64"
