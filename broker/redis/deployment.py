"""The Redis that runs live in, whatever its shape: which server has a key, and how to ask it.

``addresses`` reads the URL · `Primaries` here is one server or several independent ones ·
``cluster`` is a Cluster. Both hash a key as Cluster does (CRC16 of the key or of its hash tag,
modulo 16,384), so that a producer in any language can tell where a run belongs.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from functools import partial
from types import TracebackType
from typing import Any, Final, Protocol, Self

from redis.crc import key_slot

from broker.redis.addresses import Address
from broker.redis.server import Server

__all__ = ["SLOTS", "Deployment", "Primaries", "slot_of"]

SLOTS: Final = 16384


def slot_of(key: str | bytes) -> int:
    """The key's slot, as in a Cluster (Redis Cluster specification, "Key distribution model")."""
    slot: int = key_slot(key.encode() if isinstance(key, str) else key)
    return slot


class Deployment(Protocol):
    """One server or many. Entered while it is in use."""

    on_moved: Callable[[], None]
    """Called when keys have, or may have, another server than before."""
    on_failover: Callable[[Server], None]
    """Called when another server has taken over from this one."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...

    @property
    def servers(self) -> Sequence[Server]:
        """Those that have keys now."""

    @property
    def by_slot(self) -> bool:
        """Whether one command may only have keys of one slot."""

    def server_of(self, key: str) -> Server | None:
        """Which has the key; `None` while nobody knows."""

    def together(self, keys: Sequence[str]) -> Sequence[Sequence[str]]:
        """The keys, in groups that one command may have."""

    async def ask(self, key: str, *words: bytes | str | int) -> Any:
        """A command's answer, from the server that has the key. Sent again only where the server
        said that it did nothing.

        Raises:
            RedisError, OSError: that server says no, or does not answer.
        """

    async def ping(self) -> None:
        """Returns when every server has answered.

        Raises:
            RedisError, OSError: one does not.
        """


class Primaries:
    """One server, or several that know nothing of each other, runs spread over them by hash."""

    def __init__(
        self, addresses: Sequence[Address], *, connections: int, timeout_seconds: float
    ) -> None:
        """
        Args:
            addresses: in an order that must be the same for whoever reads or writes.
            connections: to each, for reads.
            timeout_seconds: how long one command may take.
        """
        self.on_moved: Callable[[], None] = _nobody_cares
        self.on_failover: Callable[[Server], None] = _nobody_cares
        self._servers = [
            Server(address, connections=connections, timeout_seconds=timeout_seconds)
            for address in addresses
        ]
        for server in self._servers:
            server.on_failover = partial(self._failed_over, server)
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        for server in self._servers:
            await self._stack.enter_async_context(server)
        return self

    async def __aexit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._stack.aclose()

    @property
    def servers(self) -> Sequence[Server]:
        """All of them."""
        return self._servers

    @property
    def by_slot(self) -> bool:
        """No: these are no Cluster."""
        return False

    def server_of(self, key: str) -> Server:
        """The one that has the key's slot: the first has the lowest ones, and so on."""
        if len(self._servers) == 1:
            return self._servers[0]
        return self._servers[slot_of(key) * len(self._servers) // SLOTS]

    def together(self, keys: Sequence[str]) -> Sequence[Sequence[str]]:
        """Those of one server."""
        if len(self._servers) == 1:
            return [keys]
        groups: dict[Server, list[str]] = defaultdict(list)
        for key in keys:
            groups[self.server_of(key)].append(key)
        return list(groups.values())

    async def ask(self, key: str, *words: bytes | str | int) -> Any:
        """See `Deployment.ask`."""
        return await self.server_of(key).ask(*words)

    async def ping(self) -> None:
        """See `Deployment.ping`."""
        await asyncio.gather(*(server.ask("PING") for server in self._servers))

    def _failed_over(self, server: Server) -> None:
        self.on_failover(server)


def _nobody_cares(*_: object) -> None:
    """Until someone is told."""
