"""Publishes with whole HTTP requests, pipelined over kept connections, at little cost.

Whoever publishes shares cores with the viewers, so requests are bytes made once and responses
are counted by a parser in C: what publishing costs is not what is measured.
"""

import asyncio
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

import httptools

__all__ = ["HttpPublisher"]

_CONNECT_SECONDS: Final = 10
_ANSWER_SECONDS: Final = 60


class HttpPublisher:
    """Sends requests to one server while the context lasts.

    Requests with the same key go over the same connection, one behind the other without waiting
    for responses, so that the server takes them in their order.
    """

    def __init__(self, port: int, *, connections: int = 1) -> None:
        """Args:
        port: the server's, on 127.0.0.1.
        connections: over how many keys are spread. More than one helps with servers that
            answer a request before they read the next of its connection.
        """
        self._port = port
        self._count = connections
        self._connections: list[_Connection] = []
        self._of_key: dict[str, _Connection] = {}

    async def send(self, requests: Iterable[tuple[str, bytes]]) -> None:
        """Sends pairs of key and request; returns when all are answered with success.

        Raises:
            OSError: one was not.
        """
        batches: dict[_Connection, list[bytes]] = {}
        for key, request in requests:
            batches.setdefault(self._connection(key), []).append(request)
        async with asyncio.timeout(_ANSWER_SECONDS):
            await asyncio.gather(*(connection.send(batch) for connection, batch in batches.items()))

    def _connection(self, key: str) -> "_Connection":
        connection = self._of_key.get(key)
        if connection is None:
            connection = self._connections[len(self._of_key) % self._count]
            self._of_key[key] = connection
        return connection

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(_CONNECT_SECONDS):
                for _ in range(self._count):
                    _, connection = await loop.create_connection(
                        _Connection, "127.0.0.1", self._port
                    )
                    self._connections.append(connection)
        except BaseException:
            self._abort()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._abort()

    def _abort(self) -> None:
        for connection in self._connections:
            connection.abort()


@dataclass(slots=True)
class _Batch:
    """Requests sent together."""

    unanswered: int
    done: asyncio.Future[None]
    failure: str | None = None


class _Connection(asyncio.Protocol):
    """One connection, and the batches whose responses are still to come on it."""

    def __init__(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._batches: deque[_Batch] = deque()
        self._transport: asyncio.Transport | None = None

    async def send(self, requests: list[bytes]) -> None:
        """Sends all at once; returns when all are answered."""
        if self._transport is None or self._transport.is_closing():
            raise ConnectionError("the server has closed the publisher's connection")
        batch = _Batch(len(requests), asyncio.get_running_loop().create_future())
        self._batches.append(batch)
        self._transport.writelines(requests)
        await batch.done

    def abort(self) -> None:
        """Closes it at once."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the loop."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Called by the loop."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._fail(ConnectionError(f"the server's response is not HTTP: {error}"))
            self.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the loop."""
        self._fail(ConnectionError(f"the publisher's connection was lost: {exc or 'closed'}"))

    def on_message_complete(self) -> None:
        """Called by the parser at each response's end."""
        batch = self._batches[0]
        status = self._parser.get_status_code()
        if status >= 300:
            batch.failure = f"a publication was answered with status {status}"
        batch.unanswered -= 1
        if batch.unanswered:
            return
        self._batches.popleft()
        if batch.done.done():
            return
        if batch.failure is None:
            batch.done.set_result(None)
        else:
            batch.done.set_exception(OSError(batch.failure))

    def _fail(self, error: Exception) -> None:
        while self._batches:
            batch = self._batches.popleft()
            if not batch.done.done():
                batch.done.set_exception(error)
