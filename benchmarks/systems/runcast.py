"""Runcast as a user runs it: `runcast serve`, from this checkout, with its defaults.

Twice, since it has two ways to hear of new events: keyspace notifications, and one blocked read
for some dozens of runs.
"""

import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import ClassVar, Final

from redis.asyncio import Redis

from benchmarks.publisher import RedisPublisher
from benchmarks.systems.ports import free_ports
from benchmarks.systems.process import ServerProcess, answers_http, server_process
from benchmarks.systems.system import Ability, Place, Requests, Running, Store, System
from broker import __version__

__all__ = ["Runcast", "RuncastBlock", "RunningRuncast"]

_CHECKOUT: Final = Path(__file__).resolve().parents[2]
_GIT_SECONDS: Final = 10
_READY: Final = b"GET /readyz HTTP/1.1\r\nHost: benchmark\r\n\r\n"
_EVENTS: Final = b"GET /v1/runs/{run}/events HTTP/1.1\r\nHost: benchmark\r\n"


class RunningRuncast(Running):
    """An edge that runs."""

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


class Runcast(System):
    """With keyspace notifications."""

    name: ClassVar[str] = "runcast"
    title: ClassVar[str] = "Runcast"
    store: ClassVar[Store] = Store.REDIS
    abilities: ClassVar[frozenset[Ability]] = frozenset({Ability.REPLAY, Ability.RESUME})
    tail: ClassVar[str] = "notify"
    """The setting of this name."""

    def install(self, say: Callable[[str], None]) -> None:
        """It is this checkout."""

    def version(self) -> str:
        """The version, and the commit where there is a git."""
        try:
            commit = subprocess.run(
                ["git", "describe", "--always", "--dirty"],
                cwd=_CHECKOUT,
                capture_output=True,
                text=True,
                timeout=_GIT_SECONDS,
                check=True,
            ).stdout.strip()
        except (OSError, subprocess.SubprocessError):
            return __version__
        return f"{__version__} ({commit})"

    @asynccontextmanager
    async def run(self, place: Place) -> AsyncIterator[Running]:
        """See `System`."""
        if self.tail == "notify":
            async with Redis.from_url(place.redis_url) as client:
                await client.config_set("notify-keyspace-events", "Kt")
        [port] = free_ports(1)
        command = [
            *(sys.executable, "-m", "broker", "serve"),
            *("--redis-url", place.redis_url),
            *("--port", str(port)),
            *("--log-level", "warning"),
        ]
        environment = {"PYTHONPATH": str(_CHECKOUT), "RUNCAST_TAIL": self.tail}
        environment |= self.settings(place)
        async with server_process(self.name, command, place, environment) as process:
            await process.until(lambda: answers_http(port, _READY, 200))
            async with RedisPublisher(place.redis_url) as publisher:
                yield self.running(process, publisher, port)

    def settings(self, place: Place) -> Mapping[str, str]:
        """Further settings, as environment variables."""
        return {}

    def running(
        self, process: ServerProcess, publisher: RedisPublisher, port: int
    ) -> "RunningRuncast":
        """What is there once it runs."""
        return RunningRuncast(process, publisher, port)


class RuncastBlock(Runcast):
    """With blocked reads, as on a Redis whose notifications are off."""

    name: ClassVar[str] = "runcast-block"
    title: ClassVar[str] = "Runcast (blocked reads)"
    tail: ClassVar[str] = "block"
