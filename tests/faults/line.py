"""A line between two parties: a TCP proxy that carries bytes as badly as it is told to.

Knows nothing of what it carries. Every fault of a network that shows above the kernel is here:
late, slow, in slices, reset, and dead without a word.
"""

import asyncio
import contextlib
import random
import socket
import struct
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

__all__ = ["GOOD", "Line", "Weather"]

_CHUNK: Final = 1 << 16
_SMALL_BUFFER: Final = 16 << 10
_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)


@dataclass(frozen=True, slots=True)
class Weather:
    """How bytes are carried, in both directions."""

    latency_seconds: float = 0.0
    """Before each piece; half as much again or less, by chance."""
    bytes_per_second: float = 0.0
    """Zero is without a limit."""
    slice_bytes: int = 0
    """The most that is sent in one go; zero is without a limit."""


GOOD: Final = Weather()


@dataclass(eq=False)
class _Carriage:
    """One connection through the line."""

    client: asyncio.StreamWriter
    server: asyncio.StreamWriter
    dead: asyncio.Event
    """Set when nothing more is carried, though both ends stay open."""


class Line:
    """The line. Use it as an async context manager; clients connect to `port`."""

    def __init__(self, name: str, port: int, source: random.Random) -> None:
        """
        Args:
            name: for logs.
            port: where it leads, on this host.
            source: of all chance.
        """
        self.name = name
        self.weather = GOOD
        self._target = port
        self._source = source
        self._carriages: set[_Carriage] = set()
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
        assert self._listener is not None
        self._listener.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._listener.wait_closed()

    @property
    def port(self) -> int:
        """Where it listens."""
        assert self._listener is not None
        port: int = self._listener.sockets[0].getsockname()[1]
        return port

    @property
    def url(self) -> str:
        """Where it listens, for viewers."""
        return f"http://127.0.0.1:{self.port}"

    def reset(self, share: float = 1.0) -> int:
        """Breaks this share of the connections with a RST to both ends; how many."""
        chosen = [each for each in self._carriages if self._source.random() < share]
        for carriage in chosen:
            _reset(carriage.client)
            _reset(carriage.server)
        return len(chosen)

    def go_dead(self, share: float = 1.0) -> int:
        """Carries nothing more for this share of the connections, which stay open: half-open
        connections, as after a machine has vanished. New ones are not concerned.

        Returns:
            How many.
        """
        chosen = [each for each in self._carriages if self._source.random() < share]
        for carriage in chosen:
            carriage.dead.set()
        return len(chosen)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer), name=self.name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            server_reader, server_writer = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            _reset(writer)
            return
        if writer.transport.is_closing():
            # The client has reset its connection meanwhile.
            server_writer.transport.abort()
            return
        carriage = _Carriage(writer, server_writer, asyncio.Event())
        for end in (writer, server_writer):
            _bound(end)
        self._carriages.add(carriage)
        directions = {
            asyncio.create_task(self._carry(reader, server_writer, carriage), name="line up"),
            asyncio.create_task(self._carry(server_reader, writer, carriage), name="line down"),
        }
        try:
            await asyncio.wait(directions, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for direction in directions:
                direction.cancel()
            await asyncio.wait(directions)
            # What was written is with the kernel: nothing is lost by this.
            for end in (writer, server_writer):
                if not end.transport.is_closing():
                    end.transport.abort()
            with contextlib.suppress(OSError):
                await asyncio.gather(writer.wait_closed(), server_writer.wait_closed())
            self._carriages.discard(carriage)

    async def _carry(
        self, source: asyncio.StreamReader, target: asyncio.StreamWriter, carriage: _Carriage
    ) -> None:
        """One direction, until either end closes; then what was read has been written."""
        try:
            while data := await source.read(_CHUNK):
                while data:
                    weather = self.weather
                    piece = data[: weather.slice_bytes or len(data)]
                    data = data[len(piece) :]
                    delay = weather.latency_seconds * self._source.uniform(0.5, 1.5)
                    if weather.bytes_per_second:
                        delay += len(piece) / weather.bytes_per_second
                    if delay or weather.slice_bytes:
                        await asyncio.sleep(delay)
                    if carriage.dead.is_set():
                        await asyncio.Event().wait()
                    target.write(piece)
                    await target.drain()
            if carriage.dead.is_set():
                await asyncio.Event().wait()
            if target.can_write_eof():
                target.write_eof()
        except OSError:
            return


def _bound(writer: asyncio.StreamWriter) -> None:
    """Keeps the line from being a store: what the reader does not take must hold up the writer."""
    writer.transport.set_write_buffer_limits(high=0)
    connection: socket.socket = writer.get_extra_info("socket")
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SMALL_BUFFER)


def _reset(writer: asyncio.StreamWriter) -> None:
    if writer.transport.is_closing():
        return
    connection: socket.socket = writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    writer.transport.abort()
