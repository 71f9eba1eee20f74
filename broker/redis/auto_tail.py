"""The tail's strategy *auto*: notifications where the server has them on, else blocked reads.

What the server has may change while we run, by its operator's hand or by a failover to another
node: so it is asked again and again, and all runs move to the other strategy when it has. Each run
is looked at when it arrives there, so the move loses nothing.
"""

import asyncio
import random
from contextlib import AsyncExitStack, suppress
from types import TracebackType
from typing import Self

import structlog
from redis.exceptions import RedisError

from broker.engine.cancelling import cancel
from broker.engine.hub import Follower
from broker.redis.block_tail import BlockTail
from broker.redis.notifications import see_to_notifications
from broker.redis.notify_tail import NotifyTail
from broker.redis.server import Server
from broker.redis.streams import Keys
from broker.redis.tail import TailSettings, TailStats
from broker.wire.ids import RunId

__all__ = ["AutoTail"]

logger = structlog.get_logger("runcast.tail")


class AutoTail:
    """Watches runs in the way that the server allows now. Use it as an async context manager."""

    def __init__(
        self,
        server: Server,
        settings: TailSettings,
        keys: Keys,
        random_source: random.Random,
        stats: TailStats,
    ) -> None:
        """See `BlockTail`."""
        self.stats = stats
        self._settings = settings
        self._server = server
        self._block = BlockTail(server, settings, keys, random_source, stats)
        self._notify = NotifyTail(
            server, settings, keys, random_source, stats, looks_at_setup=False
        )
        self._used: BlockTail | NotifyTail = self._block
        self._runs: dict[RunId, None] = {}
        self._stack = AsyncExitStack()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        for tail in (self._block, self._notify):
            await self._stack.enter_async_context(tail)
        await self._choose()
        logger.info("tail chosen", strategy=self.strategy)
        self._task = asyncio.create_task(self._keep_choosing(), name="tail choice")
        return self

    async def __aexit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._task is not None:
            await cancel([self._task])
        await self._stack.aclose()

    @property
    def strategy(self) -> str:
        """The one in use."""
        return self._used.strategy

    @property
    def connection_count(self) -> int:
        """Connections of both."""
        return self._block.connection_count + self._notify.connection_count

    def attach(self, follower: Follower) -> None:
        """Sets who is told."""
        self._block.attach(follower)
        self._notify.attach(follower)

    def watch(self, run_id: RunId) -> None:
        """Begins to look at a run."""
        self._runs[run_id] = None
        self._used.watch(run_id)

    def unwatch(self, run_id: RunId) -> None:
        """Stops looking at it."""
        self._runs.pop(run_id, None)
        self._used.unwatch(run_id)

    async def _keep_choosing(self) -> None:
        while True:
            await asyncio.sleep(self._settings.block_seconds)
            before = self.strategy
            await self._choose()
            if self.strategy != before:
                logger.warning(
                    "tail changed: redis' notify-keyspace-events did, or our rights",
                    runs=len(self._runs),
                    before=before,
                    now=self.strategy,
                )

    async def _choose(self) -> None:
        # While Redis is away there is nothing to choose by: the tails come back by themselves.
        with suppress(RedisError, OSError, TimeoutError):
            on = await see_to_notifications(
                self._server, may_turn_on=self._settings.enable_notifications
            )
            self._use(self._notify if on and not self._notify.refused else self._block)

    def _use(self, tail: BlockTail | NotifyTail) -> None:
        if tail is self._used:
            return
        before, self._used = self._used, tail
        for run_id in self._runs:
            tail.watch(run_id)
            before.unwatch(run_id)
