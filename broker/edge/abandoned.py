"""Runs whose viewers have all gone: their workers are told to stop.

For routes where a request begins a run and its answer is the stream: a client that closes the
connection wants no more of it. Since a connection may also be cut, and the client be back at once,
at this edge or at another, they are told only after a while, and only if nobody has come meanwhile:
who comes leaves a mark of their own, and who goes looks whether theirs is still there.
"""

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Final, NamedTuple, Protocol, Self
from uuid import uuid4

import structlog
from redis.exceptions import RedisError

from broker.engine.cancelling import cancel
from broker.engine.ending import Ending
from broker.engine.hub import Hub
from broker.engine.log import LogUnavailable
from broker.engine.subscriber import Subscriber
from broker.redis.persistence import AppendError
from broker.redis.pointers import RedisPointers
from broker.wire.ids import RunId

__all__ = ["AbandonedRuns", "Commands"]

logger = structlog.get_logger("runcast.edge")

_WHY: Final = '{"reason":"viewer gone"}'
_GONE: Final = frozenset({Ending.CLIENT_GONE, Ending.STALLED})


class Commands(Protocol):
    """What is said to workers."""

    async def append(self, run_id: RunId, type: str, data: str) -> object:
        """Says something to the run's worker.

        Raises:
            AppendError, RedisError, OSError: Redis does not acknowledge it.
        """


class _Watched(NamedTuple):
    run_id: RunId
    mark: RunId
    commands: Commands


class AbandonedRuns:
    """Owns the waits. Use it as an async context manager."""

    def __init__(self, hub: Hub, marks: RedisPointers, after_seconds: float) -> None:
        """
        Args:
            hub: knows who watches here.
            marks: where viewers leave their marks.
            after_seconds: how long after the last viewer has gone; 0 for never.
        """
        self._hub = hub
        self._marks = marks
        self._after_seconds = after_seconds
        self._watching: dict[Subscriber, _Watched] = {}
        self._waits: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await cancel(list(self._waits))

    async def watched(
        self, run_id: RunId, commands: Commands
    ) -> Callable[[Subscriber], None] | None:
        """To be called before a viewer is connected; what it returns, when they are.

        Args:
            run_id: the run.
            commands: what its worker is told with.

        Raises:
            LogUnavailable: their mark can't be left.
        """
        if self._after_seconds == 0:
            return None
        mark = RunId(uuid4().hex)
        await self._marks.set(_key(run_id), mark)

        def began(subscriber: Subscriber) -> None:
            self._watching[subscriber] = _Watched(run_id, mark, commands)

        return began

    def left(self, subscriber: Subscriber) -> None:
        """To be called when any viewer's connection is over."""
        known = self._watching.pop(subscriber, None)
        if known is None or subscriber.ending not in _GONE or subscriber.feed.final is not None:
            return
        wait = self._wait(subscriber.feed.run_id, known)
        task = asyncio.create_task(wait, name=f"abandoned {known.run_id}")
        self._waits.add(task)
        task.add_done_callback(self._waits.discard)

    async def _wait(self, address: RunId, watched: _Watched) -> None:
        await asyncio.sleep(self._after_seconds)
        if self._hub.has_viewers(address):
            # Whoever of them goes last is asked about again.
            return
        try:
            if await self._marks.get(_key(watched.run_id)) != watched.mark:
                return
            await watched.commands.append(watched.run_id, "cancel", _WHY)
        except (AppendError, LogUnavailable, RedisError, OSError) as error:
            logger.warning(
                "run abandoned, and its worker not told", run=watched.run_id, error=str(error)
            )
        else:
            logger.info("run abandoned", run=watched.run_id)


def _key(run_id: RunId) -> str:
    return f"run:{run_id}:viewer"
