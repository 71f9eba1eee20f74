"""A worker that knows nothing of Runcast: a process that appends with plain XADD.

As a program it reads what to append from its standard input, one JSON object a line, and prints the
ids that Redis gave.
"""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import redis

from tests.clients.systems.client import ROOT

__all__ = ["Worker", "worker"]

_SECONDS = 10


class Worker:
    """The process, as the test tells it what to do."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def append(self, run_id: str, event_type: str, data: str, *, id: str = "0-*") -> str:
        """Appends an event to the run; its id."""
        words = ["XADD", f"run:{run_id}", id, "type", event_type, "data", data]
        return str(await self.tell(words))

    async def tell(self, words: list[str]) -> object:
        """Has it send a command to Redis; the answer."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(words).encode() + b"\n")
        async with asyncio.timeout(_SECONDS):
            return json.loads(await self._process.stdout.readline())


@asynccontextmanager
async def worker(redis_url: str) -> AsyncIterator[Worker]:
    """Runs one while the context lasts."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", __name__, redis_url),
        cwd=ROOT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        yield Worker(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


def _main(url: str) -> None:
    with redis.Redis.from_url(url, decode_responses=True) as client:
        for line in sys.stdin:
            print(json.dumps(client.execute_command(*json.loads(line))), flush=True)


if __name__ == "__main__":
    _main(sys.argv[1])
