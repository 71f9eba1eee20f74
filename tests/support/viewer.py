"""A viewer: one HTTP connection to a run's events, over a plain socket, that keeps what it saw.

Speaks HTTP by hand so that a test sees the bytes: status, headers, chunks, and how it ended.
"""

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from tests.support.sse import Decoder, Message
from tests.support.waiting import eventually

__all__ = ["Viewer", "together", "watch"]

_SMALL_BUFFER = 16 << 10


@dataclass
class Viewer:
    """What came over one connection. Use it as an async context manager."""

    url: str
    last_event_id: str | None = None
    headers: dict[str, str] = field(default_factory=dict)
    reading: bool = True
    """Whether the body is taken from the start; else from `start_reading` on."""

    status: int = 0
    response_headers: dict[str, str] = field(default_factory=dict)
    messages: list[Message] = field(default_factory=list)
    body: bytearray = field(default_factory=bytearray)
    whole: bool = False
    """Whether the response ended as HTTP says, not by a cut."""
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    decoder: Decoder = field(default_factory=Decoder)

    _reader: asyncio.StreamReader | None = None
    writer: asyncio.StreamWriter | None = None
    _task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        await self.connect()
        return self

    async def __aexit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def connect(self) -> None:
        """Sends the request, reads the response's head, and begins to read the body."""
        parts = urlsplit(self.url)
        assert parts.hostname is not None
        connection = socket.socket()
        connection.setblocking(False)
        if not self.reading:
            # Else the kernel takes megabytes on behalf of a viewer that reads nothing.
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _SMALL_BUFFER)
        await asyncio.get_running_loop().sock_connect(connection, (parts.hostname, parts.port))
        self._reader, self.writer = await asyncio.open_connection(sock=connection)
        target = parts.path + (f"?{parts.query}" if parts.query else "")
        headers = {"host": parts.netloc, "accept": "text/event-stream", **self.headers}
        if self.last_event_id is not None:
            headers["last-event-id"] = self.last_event_id
        lines = [f"GET {target} HTTP/1.1", *(f"{name}: {text}" for name, text in headers.items())]
        self.writer.write("\r\n".join([*lines, "", ""]).encode("latin-1"))
        head = await self._reader.readuntil(b"\r\n\r\n")
        status_line, *header_lines = head.decode("latin-1").split("\r\n")
        self.status = int(status_line.split()[1])
        for line in header_lines:
            if line:
                name, _, value = line.partition(":")
                self.response_headers[name.lower()] = value.strip()
        if self.reading:
            self.start_reading()

    def start_reading(self) -> None:
        """Begins to take the body, where `reading` was off."""
        self._task = asyncio.create_task(self._read())

    async def close(self) -> None:
        """Cuts the connection."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        if self.writer is not None:
            self.writer.transport.abort()
            with contextlib.suppress(OSError):
                await self.writer.wait_closed()
        self.ended.set()

    @property
    def events(self) -> list[Message]:
        """The run's own events, without control events and heartbeats."""
        return [message for message in self.messages if message.of_run]

    @property
    def ids(self) -> list[str]:
        """The ids of the run's events."""
        return [message.id for message in self.events]

    @property
    def gaps(self) -> list[dict[str, Any]]:
        """The gaps that were said."""
        return [json.loads(m.data) for m in self.messages if m.type == "runcast.gap"]

    @property
    def caught_up(self) -> bool:
        """Whether the replay was said to be done."""
        return any(message.type == "runcast.caught-up" for message in self.messages)

    async def until(self, count: int, *, within: float = 10) -> list[Message]:
        """Waits for that many events of the run."""
        await eventually(lambda: len(self.events) >= count, within=within)
        return self.events

    async def until_caught_up(self, *, within: float = 10) -> None:
        """Waits for the end of the replay."""
        await eventually(lambda: self.caught_up, within=within)

    async def until_last_event_id(self, event_id: str, *, within: float = 10) -> None:
        """Waits until a reconnect would send that id."""
        await eventually(lambda: self.decoder.last_event_id == event_id, within=within)

    async def until_ended(self, *, within: float = 10) -> None:
        """Waits for the end of the response."""
        async with asyncio.timeout(within):
            await self.ended.wait()

    def json(self) -> Any:
        """The body as a JSON document."""
        return json.loads(bytes(self.body))

    async def _read(self) -> None:
        assert self._reader is not None
        try:
            if self.response_headers.get("transfer-encoding") == "chunked":
                await self._read_chunks(self._reader)
            else:
                length = int(self.response_headers.get("content-length", "0"))
                self._take(await self._reader.readexactly(length))
            self.whole = True
        except (asyncio.IncompleteReadError, OSError):
            self.whole = False
        finally:
            self.ended.set()

    async def _read_chunks(self, reader: asyncio.StreamReader) -> None:
        while size := int((await reader.readuntil(b"\r\n")).strip(), 16):
            self._take(await reader.readexactly(size))
            assert await reader.readexactly(2) == b"\r\n"
        assert await reader.readexactly(2) == b"\r\n"

    def _take(self, data: bytes) -> None:
        self.body += data
        if self.response_headers.get("content-type", "").startswith("text/event-stream"):
            self.messages += self.decoder.feed(data)


def watch(url: str, last_event_id: str | None = None, **options: Any) -> Viewer:
    """A viewer of `url`, to be entered."""
    return Viewer(url, last_event_id, **options)


@contextlib.asynccontextmanager
async def together(viewers: Iterable[Viewer]) -> AsyncIterator[list[Viewer]]:
    """Connects viewers at the same time, and closes them all whatever happens."""
    entered = list(viewers)
    try:
        await asyncio.gather(*(viewer.connect() for viewer in entered))
        yield entered
    finally:
        await asyncio.gather(*(viewer.close() for viewer in entered))
