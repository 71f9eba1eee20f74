"""A line to an edge that a test can cut: a TCP proxy that carries bytes and understands no more
of HTTP than where a request's head ends.
"""

import asyncio
import contextlib
import socket
import struct
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

from tests.support.waiting import eventually

__all__ = ["Cuttable", "Request"]

_HEAD_END: Final = b"\r\n\r\n"
_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)
"""SO_LINGER, on, for zero seconds: closing sends RST, as a line that breaks does."""


@dataclass(frozen=True, slots=True)
class Request:
    """The head of a request that came over the line."""

    target: str
    headers: dict[str, str]

    @classmethod
    def parse(cls, head: bytes) -> "Request":
        """From its bytes, without the blank line."""
        first, *lines = head.decode("latin-1").split("\r\n")
        pairs = (line.partition(":") for line in lines)
        return cls(first.split()[1], {name.lower(): value.strip() for name, _, value in pairs})

    @property
    def last_event_id(self) -> str | None:
        """From where it wants to resume."""
        return self.headers.get("last-event-id")


class Cuttable:
    """The line. Use it as an async context manager; clients connect to `url`."""

    def __init__(self, edge_port: int) -> None:
        self.requests: list[Request] = []
        """Every request that reached the edge, in order. Only requests without a body."""
        self._edge_port = edge_port
        self._refusing = False
        self._hold_after: bytes | None = None
        self._holding = False
        self._clients: set[asyncio.StreamWriter] = set()
        self._carriers: set[asyncio.Task[None]] = set()
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
        assert self._listener is not None
        self._listener.close()
        self.cut()
        if self._carriers:
            await asyncio.wait(self._carriers)
        await self._listener.wait_closed()

    @property
    def url(self) -> str:
        """Where it listens."""
        assert self._listener is not None
        return f"http://127.0.0.1:{self._listener.sockets[0].getsockname()[1]}"

    def events_url(self, run_id: str, query: str = "") -> str:
        """Where a run's events are, over this line."""
        return f"{self.url}/v1/runs/{run_id}/events" + (f"?{query}" if query else "")

    def resumed_from(self, run_id: str) -> list[str | None]:
        """The Last-Event-ID of every request for a run's events, in order."""
        path = f"/v1/runs/{run_id}/events"
        return [
            request.last_event_id
            for request in self.requests
            if request.target.partition("?")[0] == path
        ]

    def cut(self) -> None:
        """Resets all present connections, and each new one until `mend`."""
        self._refusing = True
        self._hold_after, self._holding = None, False
        for client in self._clients:
            _reset(client)

    def mend(self) -> None:
        """Lets connections through again."""
        self._refusing = False

    def hold_after(self, marker: bytes) -> None:
        """From the next occurrence of `marker` on, carries nothing more to that client."""
        self._hold_after = marker

    async def until_holding(self) -> None:
        """Waits until `hold_after` has come true."""
        await eventually(lambda: self._holding)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._refusing:
            _reset(writer)
            return
        task = asyncio.current_task()
        assert task is not None
        self._carriers.add(task)
        self._clients.add(writer)
        edge_reader, edge_writer = await asyncio.open_connection("127.0.0.1", self._edge_port)
        directions = {
            asyncio.create_task(self._carry_up(reader, edge_writer), name="line up"),
            asyncio.create_task(self._carry_down(edge_reader, writer), name="line down"),
        }
        try:
            await asyncio.wait(directions, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for direction in directions:
                direction.cancel()
            await asyncio.gather(*directions, return_exceptions=True)
            self._clients.discard(writer)
            for end in (writer, edge_writer):
                end.close()
                with contextlib.suppress(OSError):
                    await end.wait_closed()
            self._carriers.discard(task)

    async def _carry_up(self, client: asyncio.StreamReader, edge: asyncio.StreamWriter) -> None:
        head = b""
        while data := await client.read(1 << 16):
            head += data
            while _HEAD_END in head:
                request, _, head = head.partition(_HEAD_END)
                self.requests.append(Request.parse(request))
            edge.write(data)
            await edge.drain()

    async def _carry_down(self, edge: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        while data := await edge.read(1 << 16):
            marker = self._hold_after
            found = -1 if marker is None else data.find(marker)
            if marker is not None and found >= 0:
                client.write(data[: found + len(marker)])
                await client.drain()
                self._holding = True
                await asyncio.Event().wait()
            client.write(data)
            await client.drain()


def _reset(writer: asyncio.StreamWriter) -> None:
    connection: socket.socket = writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    writer.transport.abort()
