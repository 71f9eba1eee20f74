"""Who may administrate an edge without authentication: whoever is on its machine, by themselves.

Such an edge is for development, or stands behind a proxy that lets viewers in; neither they nor the
page of a stranger in a developer's browser may see who else is there, or send them away.
"""

import ipaddress
from collections.abc import Callable, Collection
from typing import Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import Scope

from broker.edge.auth.guard import EVERYONE
from broker.edge.auth.identity import CredentialKind
from broker.edge.auth.permit import Permit
from broker.edge.auth.rights import Action
from broker.edge.client_address import unmapped
from broker.wire.ids import RunId
from broker.wire.problem import Forbidden

__all__ = ["NearbyGuard", "is_loopback"]

_OF_PROXIES: Final = ("forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-real-ip")


class NearbyGuard:
    """Lets in who is on this machine."""

    def __init__(self, check_origin: Callable[[Scope], None]) -> None:
        """
        Args:
            check_origin: raises `Forbidden` for what a stranger's page has a browser send.
        """
        self._check_origin = check_origin

    async def permit(
        self,
        scope: Scope,
        action: Action,
        run_id: RunId | None,
        *,
        kinds: Collection[CredentialKind] = (),
        profile: str = "native",
        owner_only: bool = False,
    ) -> Permit:
        """See `Guard.permit`."""
        if not _is_nearby(scope):
            raise Forbidden(
                "Without authentication, this is only for who asks directly, from the same machine."
            )
        try:
            self._check_origin(scope)
        except Forbidden:
            raise Forbidden("This is not for the pages of others.") from None
        return await EVERYONE.permit(scope, action, run_id)


def is_loopback(host: str) -> bool:
    """Whether nobody on another machine can mean this address or name."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _is_nearby(scope: Scope) -> bool:
    client = scope.get("client")
    headers = Headers(scope=scope)
    hosts = headers.getlist("host")
    return (
        client is not None
        and is_loopback(unmapped(client[0]))
        # The browser of somebody who was lured to a name that leads here asks for that name.
        and len(hosts) == 1
        and is_loopback(_name_of(hosts[0]))
        and not any(name in headers for name in _OF_PROXIES)
    )


def _name_of(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""
