"""What the clients have in common: a program that prints what it sees, one JSON object a line."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, Protocol

from tests.clients.systems.documented import Seen

__all__ = ["ROOT", "Client", "Program", "program"]

ROOT: Final = Path(__file__).parents[3]
"""Where `python -m tests.…` finds us."""


class Client(Protocol):
    """A client of one run's stream."""

    @property
    def seen(self) -> list[Seen]:
        """What it dispatched so far."""

    @property
    def stopped(self) -> bool:
        """Whether it has come to its end, and will not ask again."""


class Program:
    """A program in a process of its own. Its lines have `type`, `data` and `id`."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.seen: list[Seen] = []

    @property
    def stopped(self) -> bool:
        """Whether it has ended, by itself and in good order."""
        if self._process.returncode is None:
            return False
        assert self._process.returncode == 0, f"it failed: {self._process.returncode}"
        return True

    async def read(self) -> None:
        """Keeps what it prints until it ends."""
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            self.seen.append(Seen(**json.loads(line)))


@asynccontextmanager
async def program(*words: str, directory: Path = ROOT) -> AsyncIterator[Program]:
    """Runs a program while the context lasts."""
    process = await asyncio.create_subprocess_exec(
        *words, cwd=directory, stdout=asyncio.subprocess.PIPE, limit=1 << 20
    )
    running = Program(process)
    reading = asyncio.create_task(running.read(), name="client output")
    try:
        yield running
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        await reading
