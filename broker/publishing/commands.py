"""Commands to a run, as its worker hears them."""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any, Final

import orjson

from broker.engine.cancelling import cancel
from broker.publishing.blocked import blocked_reads
from broker.redis.commands import commands_key
from broker.redis.deployment import Deployment
from broker.redis.streams import parse_id, xread_items
from broker.wire.ids import START, StreamId

__all__ = ["Command", "CommandReader"]

_QUEUED: Final = 100
"""Commands read ahead."""
_AT_ONCE: Final = 10


@dataclass(frozen=True, slots=True)
class Command:
    """Something that somebody wants of a run: ``cancel``, ``approve``, ``input``, or any other."""

    id: StreamId
    type: str
    data: Any
    """What its JSON stands for; the text itself where it is none."""


class CommandReader:
    """Reads a run's commands with a connection of its own. Must be closed."""

    def __init__(self, deployment: Deployment, key: str) -> None:
        """
        Args:
            deployment: where the run is.
            key: of the run's stream.
        """
        self._deployment = deployment
        self._key = commands_key(key)
        self._found: deque[Command] = deque()
        self._closed = False
        self._news = asyncio.Event()
        self._room = asyncio.Event()
        self._task = asyncio.create_task(self._read(), name=f"commands {key}")

    async def aclose(self) -> None:
        """Ends it; who iterates gets what was read, and then the end."""
        self._closed = True
        self._news.set()
        await cancel([self._task])

    async def commands(self) -> AsyncGenerator[Command, None]:
        """Each command, until this is closed."""
        while True:
            while self._found:
                command = self._found.popleft()
                self._room.set()
                yield command
            if self._closed:
                return
            self._news.clear()
            await self._news.wait()

    async def _read(self) -> None:
        position = START
        words = ("XREAD", "COUNT", _AT_ONCE)
        reads = blocked_reads(
            self._deployment,
            self._key,
            lambda: self._deployment.ask(self._key, "EXISTS", self._key),
            lambda block: (*words, "BLOCK", block, "STREAMS", self._key, str(position)),
        )
        async with contextlib.aclosing(reads):
            async for answer in reads:
                for _, entries in xread_items(answer):
                    for entry_id, fields in entries:
                        position = parse_id(entry_id)
                        await self._add(_command(position, fields))

    async def _add(self, command: Command) -> None:
        while len(self._found) >= _QUEUED:
            self._room.clear()
            await self._room.wait()
        self._found.append(command)
        self._news.set()


def _command(entry_id: StreamId, fields: Any) -> Command:
    items = iter(fields)
    pairs = fields if isinstance(fields, dict) else dict(zip(items, items, strict=True))
    text = pairs.get(b"data", b"")
    try:
        data = orjson.loads(text)
    except orjson.JSONDecodeError:
        data = text.decode("utf-8", "replace")
    return Command(entry_id, pairs.get(b"type", b"").decode("utf-8", "replace"), data)
