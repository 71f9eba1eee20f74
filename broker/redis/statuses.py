"""How runs stand: what their workers say of them beside the stream (see `meta`)."""

from typing import Any

from redis.exceptions import RedisError

from broker.engine.feed import Feed
from broker.engine.log import LogUnavailable
from broker.redis.connections import describe
from broker.redis.deployment import Deployment
from broker.redis.meta import meta_key
from broker.redis.streams import Streams
from broker.wire.ids import START, RunId, StreamId
from broker.wire.status import (
    QUEUED,
    RUNNING,
    RunStatus,
    is_outcome,
    outcome,
    outcome_said,
    status_word,
)

__all__ = ["RedisStatuses"]


class RedisStatuses:
    """Reads them (HMGET, and XREVRANGE of a terminal event that leaves open how the run went)."""

    def __init__(self, deployment: Deployment, streams: Streams) -> None:
        self._deployment = deployment
        self._streams = streams

    async def of(self, feed: Feed) -> RunStatus:
        """What the worker says, and else what the stream tells; of a run that has ended, how.

        Raises:
            LogUnavailable: Redis can't be read now.
        """
        key = self._streams.key(feed.run_id)
        status, phase = map(_text, await self._ask(key, "HMGET", meta_key(key), "status", "phase"))
        if feed.final is not None:
            # Whoever has died, or been ended from outside, has said last that it is running.
            said = status if status is not None and is_outcome(status) else None
            if said is None:
                said = await self._said_at_the_end(feed.run_id, feed.final)
            return RunStatus(outcome(feed.final_type, said), phase)
        if status is not None:
            return RunStatus(status_word(status), phase)
        return RunStatus((QUEUED if feed.end == START else RUNNING).status, phase)

    async def _said_at_the_end(self, run_id: RunId, final: StreamId) -> str | None:
        key = self._streams.key(run_id)
        for _, fields in await self._ask(key, "XREVRANGE", key, str(final), str(final)) or ():
            items = iter(fields)
            event = self._streams.events(run_id).decode(final, dict(zip(items, items, strict=True)))
            return outcome_said(event.data)
        return None

    async def _ask(self, key: str, *words: str) -> Any:
        try:
            return await self._deployment.ask(key, *words)
        except (RedisError, OSError, TimeoutError) as error:
            raise LogUnavailable(describe(error)) from error


def _text(raw: bytes | None) -> str | None:
    return None if raw is None else raw.decode("utf-8", "replace")
