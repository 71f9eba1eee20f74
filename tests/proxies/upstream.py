"""An upstream that tells what a proxy sends it, and fails as a test asks; it understands no more of
HTTP than it must.

Edges do not show what they are told of a client's address and scheme, and never break an answer off
on purpose.
"""

import asyncio
import contextlib
import json
from dataclasses import dataclass
from enum import Enum, auto
from types import TracebackType
from typing import Final, Self

__all__ = ["BreaksOff", "Told", "Upstream"]

_HEAD_END: Final = b"\r\n\r\n"
_HEALTH: Final = ("/readyz", "/healthz")


@dataclass(frozen=True, slots=True)
class Told:
    """A request as it came from the proxy; not those for its health."""

    method: str
    target: str
    headers: dict[str, list[str]]
    """By lower-case names, each with all its values in order."""
    body: bytes

    def __getitem__(self, name: str) -> str:
        """The only value of a header."""
        (value,) = self.headers[name]
        return value


class BreaksOff(Enum):
    """Where it cuts a connection; requests for its health are answered."""

    WITHIN_ANSWER = auto()
    BEFORE_ANSWER = auto()


class Upstream:
    """Listens while the context lasts."""

    def __init__(self) -> None:
        self.told: list[Told] = []
        self.breaks_off: BreaksOff | None = None
        self.ready = True
        self.unready_told = 0
        """How often it has said that it is not ready."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._listener: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        self._listener = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    @property
    def port(self) -> int:
        assert self._listener is not None
        port: int = self._listener.sockets[0].getsockname()[1]
        return port

    async def close(self) -> None:
        """Refuses new connections, and cuts those that are there; idempotent."""
        assert self._listener is not None
        self._listener.close()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        await self._listener.wait_closed()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
                await self._serve(reader, writer)
        except asyncio.CancelledError:
            # Only `close` cancels; asyncio's own callback for connections would report it.
            pass
        finally:
            writer.close()
            self._tasks.discard(task)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            told = await _read_request(reader)
            breaks_off = None
            if told.target not in _HEALTH:
                self.told.append(told)
                breaks_off = self.breaks_off
            if breaks_off is BreaksOff.BEFORE_ANSWER:
                return
            refused = told.target == "/readyz" and not self.ready
            self.unready_told += refused
            status = b"503 Service Unavailable" if refused else b"200 OK"
            document = json.dumps({"method": told.method, "headers": told.headers}).encode()
            writer.write(
                b"HTTP/1.1 %b\r\ncontent-type: application/json\r\ncontent-length: %d%b"
                % (status, len(document), _HEAD_END)
            )
            await writer.drain()
            if breaks_off is BreaksOff.WITHIN_ANSWER:
                return
            writer.write(document)
            await writer.drain()


async def _read_request(reader: asyncio.StreamReader) -> Told:
    head = await reader.readuntil(_HEAD_END)
    first, *lines = head.removesuffix(_HEAD_END).decode("latin-1").split("\r\n")
    method, target, _ = first.split()
    headers: dict[str, list[str]] = {}
    for line in lines:
        name, _, value = line.partition(":")
        headers.setdefault(name.lower(), []).append(value.strip())
    if headers.get("transfer-encoding") == ["chunked"]:
        body = await _read_chunks(reader)
    else:
        body = await reader.readexactly(int(headers.get("content-length", ["0"])[0]))
    return Told(method, target, headers, body)


async def _read_chunks(reader: asyncio.StreamReader) -> bytes:
    body = b""
    while size := int(await reader.readuntil(b"\r\n"), 16):
        body += (await reader.readexactly(size + 2))[:-2]
    await reader.readexactly(2)
    return body
