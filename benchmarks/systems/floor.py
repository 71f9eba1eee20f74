"""The floor for a Python server, as a system: see `floor_server`."""

import asyncio
import platform
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import ClassVar, Final

from benchmarks.systems.ports import free_ports
from benchmarks.systems.process import ServerProcess, accepts_connections, server_process
from benchmarks.systems.system import Ability, Place, Requests, Running, Store, System

__all__ = ["Floor"]

_ANSWER_SECONDS: Final = 60
_PROGRAM: Final = Path(__file__).with_name("floor_server.py")


class _RunningFloor(Running):
    def __init__(
        self,
        process: ServerProcess,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        port: int,
    ) -> None:
        self._process = process
        self._reader = reader
        self._writer = writer
        self.requests = Requests(
            port=port, first=b"GET /{run} HTTP/1.1\r\nHost: benchmark\r\n\r\n", again=None
        )

    @property
    def pids(self) -> Sequence[int]:
        return self._process.pids

    async def publish(self, events: Sequence[tuple[str, bytes]]) -> None:
        lines = b"".join(b"%s %s\n" % (run.encode(), data) for run, data in events)
        async with asyncio.timeout(_ANSWER_SECONDS):
            self._writer.write(lines + b"\n")
            if not await self._reader.readline():
                raise ConnectionResetError("the floor has closed the publisher's connection")


class Floor(System):
    """A bare loop: what any Python server pays at least."""

    name: ClassVar[str] = "floor"
    title: ClassVar[str] = "floor: a bare send() loop"
    store: ClassVar[Store] = Store.NONE
    abilities: ClassVar[frozenset[Ability]] = frozenset()

    def install(self, say: Callable[[str], None]) -> None:
        """It needs nothing."""

    def version(self) -> str:
        """The interpreter's."""
        return f"Python {platform.python_version()}"

    @asynccontextmanager
    async def run(self, place: Place) -> AsyncIterator[Running]:
        """See `System`."""
        port, events_port = free_ports(2)
        # Without the package: the registry of all systems would be in its memory.
        command = [sys.executable, "-P", str(_PROGRAM), str(port), str(events_port)]
        async with server_process(self.name, command, place) as process:
            await process.until(lambda: accepts_connections(events_port))
            async with asyncio.timeout(_ANSWER_SECONDS):
                reader, writer = await asyncio.open_connection("127.0.0.1", events_port)
            try:
                yield _RunningFloor(process, reader, writer, port)
            finally:
                writer.transport.abort()
