"""`runcast` commands as users run them: processes with pipes, in an empty directory."""

import asyncio
import contextlib
import os
import signal
import sys
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Outcome", "RunningCommand", "run_command", "running_command"]

_SECONDS = 20


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a command left."""

    code: int
    out: str
    err: str

    @property
    def complaint(self) -> str:
        """What it said on standard error, which must be one line."""
        lines = self.err.splitlines()
        assert len(lines) == 1, self.err
        return lines[0]


class RunningCommand:
    """A command that runs; what it writes is read as it comes."""

    def __init__(self, process: asyncio.subprocess.Process, directory: Path) -> None:
        assert process.stdout is not None
        assert process.stderr is not None
        self.directory = directory
        self._stdout = process.stdout
        self._stderr = process.stderr
        self._process = process

    async def line(self) -> str:
        """The next line of its standard output; empty at the end."""
        async with asyncio.timeout(_SECONDS):
            return (await self._stdout.readline()).decode().rstrip("\n")

    async def error_line(self) -> str:
        """The next line of its standard error; empty at the end."""
        async with asyncio.timeout(_SECONDS):
            return (await self._stderr.readline()).decode().rstrip("\n")

    async def write(self, data: bytes) -> None:
        """Gives it input."""
        assert self._process.stdin is not None
        self._process.stdin.write(data)
        async with asyncio.timeout(_SECONDS):
            await self._process.stdin.drain()

    def interrupt(self) -> None:
        """Ctrl-C."""
        self._process.send_signal(signal.SIGINT)

    async def finish(self, given: bytes = b"") -> Outcome:
        """Ends its input, after `given`, and waits for its end; leaves out what was read before."""
        async with asyncio.timeout(_SECONDS):
            out, err = await self._process.communicate(self._input(given))
            return Outcome(await self._process.wait(), out.decode(), err.decode())

    async def kill(self) -> None:
        """Ends it if it still runs."""
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
        async with asyncio.timeout(_SECONDS):
            await self._process.communicate(self._input(b""))

    def _input(self, data: bytes) -> bytes | None:
        return data if self._process.stdin is not None else None


@contextlib.asynccontextmanager
async def running_command(
    *arguments: str, stdin: int = asyncio.subprocess.PIPE, environment: dict[str, str] | None = None
) -> AsyncIterator[RunningCommand]:
    """Runs a command while the context lasts.

    Args:
        arguments: of `runcast`.
        stdin: a descriptor that is its input, instead of a pipe that is written to from here.
        environment: what is added to ours.
    """
    with tempfile.TemporaryDirectory(prefix="runcast-test-command-") as directory:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "broker", *arguments),
            stdin=stdin,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            cwd=directory,
            env={
                **os.environ,
                "RUNCAST_EMBEDDED_DIRECTORY": str(Path(directory) / "valkey"),
                **(environment or {}),
            },
        )
        command = RunningCommand(process, Path(directory))
        try:
            yield command
        finally:
            await command.kill()


async def run_command(
    *arguments: str,
    given: bytes = b"",
    stdin: int = asyncio.subprocess.PIPE,
    environment: dict[str, str] | None = None,
) -> Outcome:
    """Runs a command to its end, with this on its standard input."""
    async with running_command(*arguments, stdin=stdin, environment=environment) as command:
        return await command.finish(given)
