"""Requests for runs, as a worker takes them: a consumer group on their stream."""

import contextlib
from collections.abc import AsyncGenerator, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from redis.exceptions import ResponseError

from broker.publishing.blocked import blocked_reads
from broker.redis.deployment import Deployment
from broker.redis.persistence import insist
from broker.redis.scripts import KEEP
from broker.redis.streams import xread_items
from broker.wire.ids import RunId, is_run_id

__all__ = ["BadRequest", "Request", "RequestGroup", "parse_request"]


@dataclass(frozen=True, slots=True)
class Request:
    """Somebody wants a run."""

    entry_id: bytes
    """Of the request in its stream."""
    run_id: RunId
    profile: str
    """The wire format that it was asked for in, such as ``native``."""
    agent: str
    """Who is to do it; may be empty."""
    input: Any
    """What its JSON stands for; the text itself where it is none."""
    attempt: int = 1
    """Above 1, workers have died of it, or with it."""
    owner: str | None = None
    """The subject that it is for; `None` for nobody in particular."""


class BadRequest(ValueError):
    """The entry is no request that could be answered."""


class RequestGroup:
    """One consumer of the group."""

    def __init__(
        self, deployment: Deployment, key: str, group: str, consumer: str, *, retry_seconds: float
    ) -> None:
        """
        Args:
            deployment: where the stream is.
            key: the stream.
            group: of all workers that share the work.
            consumer: this one's name, which no other has.
            retry_seconds: for how long a command is tried again.
        """
        self._deployment = deployment
        self._key = key
        self._group = group
        self._consumer = consumer
        self._retry_seconds = retry_seconds

    async def join(self) -> None:
        """Makes the group if it is not there.

        Raises:
            AppendError: Redis can't be reached.
        """
        await insist(self._ensure, retry_seconds=self._retry_seconds)

    async def reads(
        self, count: Callable[[], int], block_seconds: float
    ) -> AsyncGenerator[Sequence[tuple[bytes, Any]], None]:
        """New entries, ids and fields, as they come; none now and then.

        Args:
            count: how many may come with the next read.
            block_seconds: the longest that one waits.
        """
        words = ("XREADGROUP", "GROUP", self._group, self._consumer, "COUNT")
        reads = blocked_reads(
            self._deployment,
            self._key,
            self._ensure,
            lambda block: (*words, count(), "BLOCK", block, "STREAMS", self._key, ">"),
            block_seconds=block_seconds,
        )
        async with contextlib.aclosing(reads):
            async for answer in reads:
                yield [entry for _, entries in xread_items(answer) for entry in entries]

    async def claim(self, count: int, idle_seconds: float) -> list[tuple[bytes, Any, int]]:
        """Entries that others have read and not been at work on for so long, now this one's.

        Returns:
            Ids, fields, and how often each has been given to a worker.

        Raises:
            AppendError: Redis can't be reached.
        """
        idle = int(idle_seconds * 1000)
        words = ("XAUTOCLAIM", self._key, self._group, self._consumer, idle, "0", "COUNT", count)
        answer = await self._insist(*words)
        claimed = []
        for entry in answer[1]:
            if entry is None:
                # Before 7.0: it was deleted.
                continue
            entry_id, fields = entry
            pending = await self._insist(
                "XPENDING", self._key, self._group, entry_id, entry_id, 1, self._consumer
            )
            if pending:
                claimed.append((entry_id, fields, int(pending[0][3])))
        return claimed

    async def keep(self, entry_ids: Collection[bytes]) -> list[bytes]:
        """Says that this consumer is at work on these.

        Returns:
            Those that others have claimed.

        Raises:
            AppendError: Redis can't be reached.
        """
        lost: list[bytes] = await insist(
            lambda: KEEP.run(
                self._deployment, (self._key,), self._group, self._consumer, *entry_ids
            ),
            retry_seconds=self._retry_seconds,
        )
        return lost

    async def acknowledge(self, entry_id: bytes) -> None:
        """Says that the request is done with.

        Raises:
            AppendError: Redis can't be reached.
        """
        await self._insist("XACK", self._key, self._group, entry_id)

    async def leave(self) -> None:
        """Takes the consumer out of the group, if it has no request in hand.

        Raises:
            AppendError: Redis can't be reached.
        """
        pending = await self._insist(
            "XPENDING", self._key, self._group, "-", "+", 1, self._consumer
        )
        if not pending:
            await self._insist("XGROUP", "DELCONSUMER", self._key, self._group, self._consumer)

    async def _ensure(self) -> None:
        # It begins with the oldest request: some may have come before the first worker.
        try:
            await self._deployment.ask(
                self._key, "XGROUP", "CREATE", self._key, self._group, "0", "MKSTREAM"
            )
        except ResponseError as error:
            if not str(error).startswith("BUSYGROUP"):
                raise

    async def _insist(self, *words: bytes | str | int) -> Any:
        return await insist(
            lambda: self._deployment.ask(self._key, *words), retry_seconds=self._retry_seconds
        )


def parse_request(entry_id: bytes, fields: Any, attempt: int) -> Request:
    """The request that the entry stands for.

    Raises:
        BadRequest: it has no run id.
    """
    pairs = _texts(fields)
    run_id = pairs.get("run_id", "")
    if not is_run_id(run_id):
        raise BadRequest("no run id")
    text = pairs.get("input", "")
    try:
        given = orjson.loads(text)
    except orjson.JSONDecodeError:
        given = text
    return Request(
        entry_id,
        RunId(run_id),
        pairs.get("profile", ""),
        pairs.get("agent", ""),
        given,
        attempt,
        pairs.get("owner") or None,
    )


def _texts(fields: Any) -> Mapping[str, str]:
    items = iter(fields or ())
    pairs = fields if isinstance(fields, dict) else dict(zip(items, items, strict=True))
    return {
        name.decode("utf-8", "replace"): value.decode("utf-8", "replace")
        for name, value in pairs.items()
    }
