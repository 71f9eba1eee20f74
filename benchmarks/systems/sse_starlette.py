"""The endpoint that everybody writes by hand, as a peer: see `sse_starlette_server`."""

import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import ClassVar, Final

from benchmarks.publisher import RedisPublisher
from benchmarks.systems.ports import free_ports
from benchmarks.systems.process import ServerProcess, accepts_connections, server_process
from benchmarks.systems.system import Ability, CantInstall, Place, Requests, Running, Store, System

__all__ = ["SseStarlette"]

_CHECKOUT: Final = Path(__file__).resolve().parents[2]
_EVENTS: Final = b"GET /runs/{run} HTTP/1.1\r\nHost: benchmark\r\n"


class _RunningSseStarlette(Running):
    def __init__(self, process: ServerProcess, publisher: RedisPublisher, port: int) -> None:
        self._process = process
        self._publisher = publisher
        self.requests = Requests(
            port=port,
            first=_EVENTS + b"\r\n",
            again=_EVENTS + b"Last-Event-ID: {cursor}\r\n\r\n",
        )

    @property
    def pids(self) -> Sequence[int]:
        return self._process.pids

    async def publish(self, events: Sequence[tuple[str, bytes]]) -> None:
        await self._publisher.publish(events)


class SseStarlette(System):
    """sse-starlette on uvicorn with uvloop and httptools, one XREAD per viewer."""

    name: ClassVar[str] = "sse-starlette"
    title: ClassVar[str] = "sse-starlette, XREAD per viewer"
    store: ClassVar[Store] = Store.REDIS
    abilities: ClassVar[frozenset[Ability]] = frozenset({Ability.REPLAY, Ability.RESUME})

    def install(self, say: Callable[[str], None]) -> None:
        """It comes with the `bench` extra."""
        try:
            version("sse-starlette")
        except PackageNotFoundError:
            raise CantInstall("sse-starlette is missing: install the extra `bench`") from None

    def version(self) -> str:
        """sse-starlette's and uvicorn's."""
        return f"{version('sse-starlette')}, uvicorn {version('uvicorn')}"

    @asynccontextmanager
    async def run(self, place: Place) -> AsyncIterator[Running]:
        """See `System`."""
        [port] = free_ports(1)
        command = [
            *(sys.executable, "-m", "uvicorn", "benchmarks.systems.sse_starlette_server:app"),
            *("--port", str(port)),
            *("--loop", "uvloop"),
            *("--http", "httptools"),
            *("--backlog", "4096"),
            *("--log-level", "warning"),
            *("--timeout-graceful-shutdown", "1"),
            "--no-access-log",
        ]
        environment = {"PYTHONPATH": str(_CHECKOUT), "BENCHMARK_REDIS_URL": place.redis_url}
        async with server_process(self.name, command, place, environment) as process:
            await process.until(lambda: accepts_connections(port))
            async with RedisPublisher(place.redis_url) as publisher:
                yield _RunningSseStarlette(process, publisher, port)
