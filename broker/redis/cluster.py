"""A Redis Cluster: who has which slot, kept up to date, and redirections followed.

The map is asked for every second, and at once where a server says MOVED: keyspace notifications
stay behind when a slot moves, and nobody would say so. A Cluster's readers and writers never see a
slot in two places (Redis Cluster specification, "MOVED Redirection", "ASK redirection").
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import Any, Final, Self

import structlog
from redis.exceptions import (
    AskError,
    ClusterDownError,
    MovedError,
    RedisError,
    TryAgainError,
)

from broker.engine.cancelling import cancel
from broker.engine.flight import SingleFlight
from broker.redis.addresses import ClusterAddress
from broker.redis.connections import describe
from broker.redis.deployment import SLOTS, slot_of
from broker.redis.server import Server

__all__ = ["Cluster"]

logger = structlog.get_logger("runcast.redis")

_LOOK_SECONDS: Final = 1.0
_REDIRECTIONS: Final = 5
_TRY_AGAIN_SECONDS: Final = 0.05
"""While a slot moves, a command with several of its keys may find them on both sides."""

Place = tuple[str, int]


class Cluster:
    """See `Deployment`. Use it as an async context manager."""

    def __init__(
        self, address: ClusterAddress, *, connections: int, timeout_seconds: float
    ) -> None:
        """
        Args:
            address: with some of the nodes.
            connections: to each primary, for reads.
            timeout_seconds: how long one command may take.
        """
        self.on_moved: Callable[[], None] = _nobody_cares
        self.on_failover: Callable[[Server], None] = _nobody_cares
        self._address = address
        self._connections = connections
        self._timeout_seconds = timeout_seconds
        # Also nodes that are asked for directions only.
        self._known: dict[Place, Server] = {}
        self._slots: list[Server | None] = [None] * SLOTS
        self._primaries: list[Server] = []
        self._ranges: list[tuple[int, int, Place]] = []
        self._looking: SingleFlight[str, None] = SingleFlight()
        self._failing = False
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._keep_looking(), name="cluster map")
        return self

    async def __aexit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._task is not None:
            await cancel([self._task])
        await self._looking.aclose()
        for server in list(self._known.values()):
            await server.__aexit__(None, None, None)
        self._known.clear()

    @property
    def servers(self) -> Sequence[Server]:
        """The primaries that have slots."""
        return self._primaries

    @property
    def by_slot(self) -> bool:
        """Yes."""
        return True

    def server_of(self, key: str) -> Server | None:
        """Which has the key's slot; `None` while nobody has, or we have not been told."""
        return self._slots[slot_of(key)]

    def together(self, keys: Sequence[str]) -> Sequence[Sequence[str]]:
        """Those of one slot."""
        groups: dict[int, list[str]] = defaultdict(list)
        for key in keys:
            groups[slot_of(key)].append(key)
        return list(groups.values())

    async def ask(self, key: str, *words: bytes | str | int) -> Any:
        """See `Deployment.ask`."""
        server, redirected = self.server_of(key), False
        for _ in range(_REDIRECTIONS):
            if server is None:
                await self._look()
                server, redirected = self.server_of(key), False
                if server is None:
                    raise ClusterDownError("nobody has this slot")
            try:
                return await (server.ask_redirected if redirected else server.ask)(*words)
            except MovedError as moved:
                await self._look()
                # The map may lag behind what this node knows.
                server, redirected = await self._server_at(server, moved), False
            except AskError as asked:
                server, redirected = await self._server_at(server, asked), True
            except TryAgainError:
                await asyncio.sleep(_TRY_AGAIN_SECONDS)
        raise ClusterDownError("redirected too often")

    async def ping(self) -> None:
        """See `Deployment.ping`; also that every slot is served."""
        if not self._primaries:
            await self._look()
        if any(server is None for server in self._slots):
            raise ClusterDownError("some slots are served by nobody")
        await asyncio.gather(*(server.ask("PING") for server in self._primaries))

    # ---- inside

    async def _keep_looking(self) -> None:
        while True:
            try:
                await self._look()
            except (RedisError, OSError, TimeoutError) as error:
                if not self._failing:
                    self._failing = True
                    logger.warning("no node of the cluster answers", error=describe(error))
            else:
                self._failing = False
            await asyncio.sleep(_LOOK_SECONDS)

    async def _look(self) -> None:
        """Asks one of the nodes for the map; those that have slots first, then the seeds."""
        await self._looking.do("map", self._look_alone)

    async def _look_alone(self) -> None:
        places = dict.fromkeys((*self._places(), *self._address.seeds))
        failure: Exception = ClusterDownError("no node known")
        for place in places:
            try:
                # Another may answer while this one hangs.
                async with asyncio.timeout(_LOOK_SECONDS):
                    answer = await (await self._server(place)).ask("CLUSTER", "SLOTS")
            except (RedisError, OSError, TimeoutError) as error:
                failure = error
                continue
            if answer:
                await self._take(place, answer)
                return
            failure = ClusterDownError("no slot is assigned")
        raise failure

    def _places(self) -> list[Place]:
        servers = set(self._primaries)
        return [place for place, server in self._known.items() if server in servers]

    async def _take(self, asked: Place, answer: Sequence[Sequence[Any]]) -> None:
        """Takes over the map: first, last, and the primary of each range of slots."""
        ranges = []
        for first, last, primary, *_ in answer:
            # A node that does not know its own address has an empty one: it is where we asked.
            host = primary[0].decode() if primary[0] else asked[0]
            ranges.append((int(first), int(last), (host, int(primary[1]))))
        ranges.sort()
        if ranges == self._ranges:
            for server in self._primaries:
                server.confirm()
            return
        slots: list[Server | None] = [None] * SLOTS
        for first, last, place in ranges:
            slots[first : last + 1] = [await self._server(place)] * (last + 1 - first)
        taken_over = await self._taken_over(slots)
        self._ranges, self._slots = ranges, slots
        self._primaries = list({server: None for server in slots if server is not None})
        logger.info("cluster map", primaries=[server.shown for server in self._primaries])
        for before, now in taken_over:
            now.noticed_failover(before)
        self.on_moved()
        await self._let_go({place for _, _, place in ranges})

    async def _taken_over(self, slots: Sequence[Server | None]) -> list[tuple[Server, Server]]:
        """Who had slots until now, and who has them because it was the other's replica."""
        changes = {
            (before, now)
            for before, now in zip(self._slots, slots, strict=True)
            if before is not now and before is not None and now is not None
        }
        for now in {now for _, now in changes}:
            # It tells who it is before anything is read from it.
            with suppress(RedisError, OSError, TimeoutError):
                await now.ask("PING")
        for before, now in changes:
            now.inherit(before)
        return [(before, now) for before, now in changes if now.took_over_from(before)]

    async def _let_go(self, wanted: set[Place]) -> None:
        for place in [place for place in self._known if place not in wanted]:
            await self._known.pop(place).__aexit__(None, None, None)

    def _failed_over(self, server: Server) -> None:
        self.on_failover(server)

    async def _server_at(self, asked: Server, error: AskError) -> Server:
        host = error.host or asked.address.options["host"]
        return await self._server((host, error.port))

    async def _server(self, place: Place) -> Server:
        server = self._known.get(place)
        if server is None:
            server = Server(
                self._address.node(*place),
                connections=self._connections,
                timeout_seconds=self._timeout_seconds,
            )
            server.on_failover = partial(self._failed_over, server)
            self._known[place] = server
            await server.__aenter__()
        return server


def _nobody_cares(*_: object) -> None:
    """Until someone is told."""
