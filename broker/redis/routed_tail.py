"""The tail of a deployment: one strategy per server, each run with the server that has its key."""

import asyncio
import random
from types import TracebackType
from typing import Self

from broker.engine.cancelling import cancel
from broker.engine.hub import Follower
from broker.redis.auto_tail import AutoTail
from broker.redis.block_tail import BlockTail
from broker.redis.deployment import Deployment
from broker.redis.notify_tail import NotifyTail
from broker.redis.server import Server
from broker.redis.shared_runs import SharedRuns
from broker.redis.streams import Keys
from broker.redis.tail import RedisTail, TailSettings, TailStats
from broker.wire.ids import RunId

__all__ = ["RoutedTail"]


class RoutedTail:
    """Watches runs wherever they are now. Use it as an async context manager, attached to a hub."""

    def __init__(
        self,
        deployment: Deployment,
        settings: TailSettings,
        keys: Keys,
        random_source: random.Random,
    ) -> None:
        """
        Args:
            deployment: where the runs are.
            settings: bounds and intervals.
            keys: how keys are made.
            random_source: for the jitter of the backoff.
        """
        self.stats = TailStats()
        self._deployment = deployment
        self._settings = settings
        self._keys = keys
        self._random = random_source
        self._runs = SharedRuns(keys, self)
        self._tails: dict[Server, RedisTail] = {}
        # Where each run is watched; `None` while nobody knows where it is.
        self._home: dict[RunId, Server | None] = {}
        self._moved = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._deployment.on_moved = self._moved.set
        await self._settle()
        self._task = asyncio.create_task(self._keep_settling(), name="tail places")
        return self

    async def __aexit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._task is not None:
            await cancel([self._task])
        for tail in self._tails.values():
            await tail.__aexit__(None, None, None)

    @property
    def strategy(self) -> str:
        """The strategy in use; that of most servers, where they differ."""
        used = [tail.strategy for tail in self._tails.values()]
        return max(used, key=used.count) if used else self._settings.strategy

    @property
    def connection_count(self) -> int:
        """Connections of all servers' tails."""
        return sum(tail.connection_count for tail in self._tails.values())

    def attach(self, follower: Follower) -> None:
        """Sets who is told."""
        self._runs.attach(follower)

    def watch(self, run_id: RunId) -> None:
        """Begins to look at a run."""
        self._runs.watch(run_id)

    def unwatch(self, run_id: RunId) -> None:
        """Stops looking at it."""
        self._runs.unwatch(run_id)

    def begin(self, run_id: RunId) -> None:
        """See `Watcher`."""
        self._home[run_id] = None
        self._place(run_id)

    def stop(self, run_id: RunId) -> None:
        """See `Watcher`."""
        home = self._home.pop(run_id, None)
        if home is not None and home in self._tails:
            self._tails[home].unwatch(run_id)

    def _place(self, run_id: RunId) -> None:
        before, now = self._home[run_id], self._deployment.server_of(self._keys.key(run_id))
        if now not in self._tails:
            # Not known, or so new that its tail is about to be made: it is placed then.
            now = None
        if before is now:
            return
        self._home[run_id] = now
        if before is not None and before in self._tails:
            self._tails[before].unwatch(run_id)
        if now is not None:
            self._tails[now].watch(run_id)

    async def _keep_settling(self) -> None:
        while True:
            await self._moved.wait()
            await self._settle()

    async def _settle(self) -> None:
        self._moved.clear()
        servers = list(self._deployment.servers)
        for server in servers:
            if server not in self._tails:
                tail = self._make(server)
                tail.attach(self._runs)
                self._tails[server] = await tail.__aenter__()
        for run_id in self._home:
            self._place(run_id)
        for server in [server for server in self._tails if server not in servers]:
            tail = self._tails.pop(server)
            await tail.__aexit__(None, None, None)

    def _make(self, server: Server) -> RedisTail:
        strategy, by_slot = self._settings.strategy, self._deployment.by_slot
        common = (server, self._settings, self._keys, self._random, self.stats)
        if strategy == "block":
            return BlockTail(*common, by_slot=by_slot)
        if strategy == "notify" or by_slot:
            # In a Cluster, blocked reads take a connection per slot: not unless asked for.
            return NotifyTail(*common, looks_at_setup=True)
        return AutoTail(*common)
