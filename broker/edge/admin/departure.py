"""Leaving because an operator says so: the same drain as at SIGTERM, after which the process stays
until that comes."""

import asyncio
from types import TracebackType
from typing import Self

import structlog

from broker.engine.cancelling import cancel
from broker.engine.hub import Hub

__all__ = ["Departure"]

logger = structlog.get_logger("runcast.server")


class Departure:
    """Owns the drain. Use it as an async context manager, within the hub's."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._draining: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._draining is not None:
            await cancel([self._draining])

    def begin(self, seconds: float) -> None:
        """Has the drain begin, spread over so many seconds. Idempotent, and none where the process
        is leaving anyway."""
        if self._draining is not None or self._hub.draining:
            return
        viewers = self._hub.subscriber_count
        logger.info("draining", why="an operator", viewers=viewers, seconds=seconds)
        self._draining = asyncio.create_task(self._hub.drain(seconds), name="drain")
        self._draining.add_done_callback(_report)


def _report(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        logger.error("drain failed", exc_info=error)
