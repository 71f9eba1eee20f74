"""A peer's server process: pinned to its cores, waited for, and gone when its context ends."""

import asyncio
import os
import signal
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final

from benchmarks.processes import process_tree
from benchmarks.systems.system import Place

__all__ = ["ServerProcess", "accepts_connections", "answers_http", "server_process"]

_START_SECONDS: Final = 30
_STOP_SECONDS: Final = 10
_POLL_SECONDS: Final = 0.05
_ASK_SECONDS: Final = 2
_LOG_TAIL_LINES: Final = 15


class ServerProcess:
    """A running server program and what it has started."""

    def __init__(self, name: str, process: Process, log: Path) -> None:
        self._name = name
        self._process = process
        self._log = log

    @property
    def pids(self) -> list[int]:
        """Its process and all descendants, now."""
        return process_tree(self._process.pid)

    async def until(self, ready: Callable[[], Awaitable[bool]]) -> None:
        """Waits until `ready` says so.

        Raises:
            OSError: the program has ended, or it takes too long; with the end of its log.
        """
        try:
            async with asyncio.timeout(_START_SECONDS):
                while not await ready():
                    if self._process.returncode is not None:
                        raise OSError(
                            f"{self._name} has ended with status {self._process.returncode}:\n"
                            f"{self._log_tail()}"
                        )
                    await asyncio.sleep(_POLL_SECONDS)
        except TimeoutError:
            raise OSError(
                f"{self._name} does not answer after {_START_SECONDS} s:\n{self._log_tail()}"
            ) from None

    def _log_tail(self) -> str:
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-_LOG_TAIL_LINES:])


@asynccontextmanager
async def server_process(
    name: str,
    command: Sequence[str],
    place: Place,
    environment: Mapping[str, str] | None = None,
) -> AsyncIterator[ServerProcess]:
    """Runs a program on the place's cores while the context lasts; its output goes to a file.

    `environment` is added to ours. The program should stay in the foreground and end on SIGTERM;
    what is left of it and its children after that is killed.
    """
    log = place.directory / f"{name}.log"
    cores = ",".join(map(str, sorted(place.cores)))
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            # Before the program itself, so that its threads and children inherit it.
            *("taskset", "--cpu-list", cores),
            *command,
            cwd=place.directory,
            env={**os.environ, **(environment or {})},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            # A group of its own: a Ctrl-C is ours to handle, and all of it can be killed at once.
            start_new_session=True,
        )
    try:
        yield ServerProcess(name, process, log)
    finally:
        await _stop(process)


async def _stop(process: Process) -> None:
    try:
        if process.returncode is None:
            process.terminate()
            # Who takes longer is killed with the rest.
            with suppress(TimeoutError):
                async with asyncio.timeout(_STOP_SECONDS):
                    await process.wait()
    finally:
        # Usually nobody of the group is left.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        async with asyncio.timeout(_STOP_SECONDS):
            await process.wait()


async def accepts_connections(port: int) -> bool:
    """Whether somebody listens on this port of 127.0.0.1."""
    try:
        async with asyncio.timeout(_ASK_SECONDS):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.transport.abort()
    return True


async def answers_http(port: int, request: bytes, status: int) -> bool:
    """Whether this HTTP request is answered with this status."""
    try:
        async with asyncio.timeout(_ASK_SECONDS):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                writer.write(request)
                line = await reader.readline()
            finally:
                writer.transport.abort()
    except OSError:
        return False
    return line.startswith(b"HTTP/1.1 %d" % status)
