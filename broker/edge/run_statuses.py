"""Keeps up to date how those runs stand whose viewers are told now and then."""

import asyncio
from types import TracebackType
from typing import Final, Self

from broker.edge.events import Statuses
from broker.engine.cancelling import cancel
from broker.engine.feed import Feed
from broker.engine.hub import Hub
from broker.engine.log import LogUnavailable

__all__ = ["RunStatusKeeper"]

_READS: Final = 8
"""How many runs are asked about at a time."""


class RunStatusKeeper:
    """One task for all runs. Use it as an async context manager."""

    def __init__(self, hub: Hub, statuses: Statuses, seconds: float) -> None:
        """
        Args:
            hub: has the runs.
            statuses: where to read.
            seconds: how often.
        """
        self._hub = hub
        self._statuses = statuses
        self._seconds = seconds
        self._slots = asyncio.Semaphore(_READS)
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._keep(), name="run statuses")
        return self

    async def __aexit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._task is not None:
            await cancel([self._task])

    async def _keep(self) -> None:
        while True:
            await asyncio.sleep(self._seconds)
            told = [feed for feed in self._hub.feeds if feed.says_status and feed.subscribers]
            await asyncio.gather(*map(self._refresh, told))

    async def _refresh(self, feed: Feed) -> None:
        async with self._slots:
            try:
                feed.status = await self._statuses.of(feed)
            except LogUnavailable:
                # The log has said so; what was known last is as good as anything.
                return
