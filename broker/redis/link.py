"""A connection to Redis that many share: commands go out as they come, answers come in that order.

This is every event's way in. redis-py gives each command a connection of its pool for itself, a
timer and several turns of a task, which costs more than the command does; here it is one write, and
one future. redis-py still opens the connection, with TLS, AUTH, SELECT and whatever its pool knows
of (Sentinel, credentials), and then hands its transport over. That is the only use of its
internals: see `_take_over` and its contract test.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Final

import hiredis
from redis._parsers import BaseParser
from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import InvalidResponse, RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from broker.redis.connections import open_connection

__all__ = ["Link"]

_INCOMPLETE: Final = object()
_MOST_PENDING: Final = 10_000
"""Commands under way on one connection: far more than the engine's bounds let there be."""


class Link(asyncio.Protocol):
    """One connection. Made by `open`; must be closed."""

    def __init__(self, connection: AbstractConnection) -> None:
        """
        Args:
            connection: redis-py's, connected.
        """
        self.on_push: Callable[[Any], None] | None = None
        """Once it is set, it is told all that the server sends, which is then no answer to
        anything: the connection is subscribed to channels. An error ends it."""
        self._connection = connection
        self._loop = asyncio.get_running_loop()
        self._reader = hiredis.Reader(
            protocolError=InvalidResponse,
            replyError=BaseParser.parse_error,
            notEnoughData=_INCOMPLETE,
        )
        self._pending: deque[tuple[asyncio.Future[Any], float]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._error: Exception | None = None
        self.heard_at = time.monotonic()
        """When the server last said anything, in the system's monotonic seconds."""
        self.lost = asyncio.Event()
        """Set once the connection is of no use any more."""
        self._transport = _take_over(connection, self)

    @classmethod
    async def open(cls, client: Redis) -> "Link":
        """A connection of its own to the client's server, with the client's settings.

        Raises:
            RedisError, OSError: it can't be had.
        """
        return cls(await open_connection(client))

    def __len__(self) -> int:
        """How many commands wait for their answer."""
        return len(self._pending)

    def ask(self, *words: bytes | str | int, timeout: float) -> asyncio.Future[Any]:
        """Sends a command; its answer, as RESP has it. Leaving the future costs nothing.

        Args:
            words: the command and its arguments.
            timeout: seconds; when they are over, the server is taken for dead, and with it all
                that is under way here.

        Raises:
            RedisError: the server says no, the connection is lost, or the time is over.
        """
        if self._error is None and len(self._pending) >= _MOST_PENDING:
            self._fail(RedisConnectionError("too many commands wait for redis"))
        future = self._loop.create_future()
        if self._error is not None:
            future.set_exception(self._error)
            return future
        due = self._loop.time() + timeout
        self._pending.append((future, due))
        if self._timer is None:
            self._timer = self._loop.call_at(due, self._look_at_time)
        self._transport.write(_packed(words))
        return future

    def send(self, *words: bytes | str | int) -> None:
        """Sends a command whose answer comes as a push."""
        if self._error is None:
            self._transport.write(_packed(words))

    def abandon(self, reason: str) -> None:
        """Has all that is under way fail, and everything after it."""
        self._fail(RedisConnectionError(reason))

    async def aclose(self) -> None:
        """Closes it; what is under way fails."""
        self._fail(RedisConnectionError("the connection was closed"))
        await self._connection.disconnect(nowait=True)

    def check(self) -> None:
        """
        Raises:
            RedisError: the connection is lost, for this reason.
        """
        if self._error is not None:
            raise self._error

    # ---- asyncio.Protocol

    def data_received(self, data: bytes) -> None:
        """Hands answers to whom they belong."""
        reader, pending, on_push = self._reader, self._pending, self.on_push
        reader.feed(data)
        self.heard_at = time.monotonic()
        try:
            while (answer := reader.gets()) is not _INCOMPLETE:
                if on_push is not None:
                    if isinstance(answer, RedisError):
                        raise answer
                    on_push(answer)
                elif pending:
                    future, _ = pending.popleft()
                    # Who asked may have left.
                    if not future.done():
                        if isinstance(answer, Exception):
                            future.set_exception(answer)
                        else:
                            future.set_result(answer)
                elif not isinstance(answer, hiredis.PushNotification):
                    # Such as "-ERR max number of clients reached".
                    raise RedisConnectionError(f"redis said unasked: {answer}")
        except RedisError as error:
            self._fail(error)

    def connection_lost(self, exc: Exception | None) -> None:
        """Fails what is under way."""
        reason = f": {exc}" if exc is not None else ""
        self._fail(RedisConnectionError(f"connection lost{reason}"))

    # ---- inside

    def _look_at_time(self) -> None:
        self._timer = None
        if not self._pending:
            return
        # The earliest need not be the first: blocking commands are given more time than others.
        due = min(due for _, due in self._pending)
        if self._loop.time() >= due:
            self._fail(RedisTimeoutError("redis did not answer in time"))
        else:
            self._timer = self._loop.call_at(due, self._look_at_time)

    def _fail(self, error: Exception) -> None:
        if self._error is not None:
            return
        self._error = error
        self.lost.set()
        if self._timer is not None:
            self._timer.cancel()
        self._transport.abort()
        while self._pending:
            future, _ = self._pending.popleft()
            if not future.done():
                future.set_exception(error)


def _take_over(
    connection: AbstractConnection, protocol: asyncio.Protocol
) -> asyncio.WriteTransport:
    """redis-py's connection's transport, which speaks to `protocol` from now on."""
    reader, writer = connection._reader, connection._writer
    assert reader is not None
    assert writer is not None
    if reader.at_eof():
        raise RedisConnectionError("connection lost")
    writer.transport.set_protocol(protocol)
    return writer.transport


def _packed(words: tuple[bytes | str | int, ...]) -> bytes:
    packed: bytes = hiredis.pack_command(words)  # type: ignore[arg-type]  # stub: a tuple of one
    return packed
