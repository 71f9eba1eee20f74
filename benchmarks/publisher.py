"""Publishes to Redis Streams over one connection, pipelined, at little cost.

Whoever publishes shares cores with the viewers, so this is the plain protocol and not a client
library: what it costs is not what is measured.
"""

import asyncio
from collections.abc import Sequence
from types import TracebackType
from typing import Final, Self
from urllib.parse import urlsplit

import hiredis

__all__ = ["RedisPublisher"]

_READ_BYTES: Final = 1 << 16
_ANSWER_SECONDS: Final = 30


class RedisPublisher:
    """Appends events to `run:{run}`, with the fields that Runcast reads by default."""

    def __init__(self, url: str) -> None:
        """Args:
        url: `redis://host:port/0`.
        """
        parts = urlsplit(url)
        assert parts.hostname is not None
        assert parts.port is not None
        self._address = parts.hostname, parts.port
        self._answers = hiredis.Reader()
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._beginnings: dict[str, bytes] = {}

    async def publish(self, events: Sequence[tuple[str, bytes]]) -> None:
        """Appends pairs of run and data in this order; returns when Redis has them all.

        Raises:
            OSError: it has not.
        """
        assert self._streams is not None
        reader, writer = self._streams
        writer.writelines(
            b"%s$%d\r\n%s\r\n" % (self._beginning(run), len(data), data) for run, data in events
        )
        async with asyncio.timeout(_ANSWER_SECONDS):
            await writer.drain()
            missing = len(events)
            while missing:
                received = await reader.read(_READ_BYTES)
                if not received:
                    raise ConnectionResetError("Redis has closed the connection")
                self._answers.feed(received)
                missing -= self._taken()

    def _taken(self) -> int:
        taken = 0
        while (answer := self._answers.gets()) is not False:
            if isinstance(answer, hiredis.ReplyError):
                raise OSError(f"Redis refuses an event: {answer}")
            taken += 1
        return taken

    def _beginning(self, run: str) -> bytes:
        """The command up to the length of the data."""
        beginning = self._beginnings.get(run)
        if beginning is None:
            key = f"run:{run}".encode()
            beginning = self._beginnings[run] = (
                b"*7\r\n$4\r\nXADD\r\n$%d\r\n%s\r\n$1\r\n*\r\n"
                b"$4\r\ntype\r\n$5\r\nchunk\r\n$4\r\ndata\r\n" % (len(key), key)
            )
        return beginning

    async def __aenter__(self) -> Self:
        async with asyncio.timeout(_ANSWER_SECONDS):
            self._streams = await asyncio.open_connection(*self._address)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._streams is not None
        _, writer = self._streams
        writer.transport.abort()
        self._streams = None
