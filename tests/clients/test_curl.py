"""`curl -N`, with which an operator looks at a run. It does not resume by itself."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from redis.asyncio import Redis

from tests.support.cuttable import Cuttable
from tests.support.edges import Edge
from tests.support.producer import append
from tests.support.sse import Decoder, Message
from tests.support.waiting import eventually

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")

_RECEIVE_FAILED = 56
"""curl's exit code for a connection that was reset."""


class _Curl:
    """A curl process, and what it printed."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.messages: list[Message] = []
        self.status = ""
        self._decoder = Decoder()

    async def read(self) -> None:
        """Keeps what it prints until it ends: the stream, and then the status."""
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        while data := await self.process.stdout.read(1 << 16):
            self.messages += self._decoder.feed(data)
        self.status = (await self.process.stderr.read()).decode()

    @property
    def ids(self) -> list[str]:
        """The ids of the run's events."""
        return [message.id for message in self.messages if message.of_run]

    async def until_ended(self) -> int:
        """Waits until it ends by itself; its exit code."""
        async with asyncio.timeout(10):
            return await self.process.wait()


@asynccontextmanager
async def _curl(url: str, last_event_id: str | None = None) -> AsyncIterator[_Curl]:
    resume = () if last_event_id is None else ("--header", f"Last-Event-ID: {last_event_id}")
    process = await asyncio.create_subprocess_exec(
        *("curl", "-N", "--silent", "--write-out", "%{stderr}%{http_code}", *resume, url),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    curl = _Curl(process)
    reading = asyncio.create_task(curl.read(), name="curl reader")
    try:
        yield curl
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        await reading


async def test_replays_then_follows_then_exits_at_the_terminal_event(
    edge: Edge, client: Redis, run_id: str
) -> None:
    written = [await append(client, run_id, "a"), await append(client, run_id, "b")]
    async with _curl(edge.events_url(run_id)) as curl:
        await eventually(lambda: curl.ids == written)
        written.append(await append(client, run_id, "c"))
        await eventually(lambda: curl.ids == written)
        written.append(await append(client, run_id, "{}", "done"))
        assert await curl.until_ended() == 0
    assert curl.status == "200"
    assert curl.ids == written
    assert [message.type for message in curl.messages if message.of_run] == [
        *("chunk", "chunk", "chunk", "done")
    ]

    async with _curl(edge.events_url(run_id), written[1]) as curl:
        assert await curl.until_ended() == 0
    assert curl.status == "200"
    assert curl.ids == written[2:]

    async with _curl(edge.events_url(run_id), written[-1]) as curl:
        assert await curl.until_ended() == 0
    assert curl.status == "204"
    assert curl.messages == []


async def test_a_cut_is_an_error_and_the_last_id_continues_the_run(
    edge: Edge, client: Redis, run_id: str
) -> None:
    written = [await append(client, run_id, "a")]
    async with Cuttable(edge.port) as line:
        async with _curl(line.events_url(run_id)) as curl:
            await eventually(lambda: curl.ids == written)
            line.cut()
            assert await curl.until_ended() == _RECEIVE_FAILED
        line.mend()
        missed = [await append(client, run_id, "b"), await append(client, run_id, "{}", "done")]
        async with _curl(line.events_url(run_id), curl.ids[-1]) as curl:
            assert await curl.until_ended() == 0
        assert curl.ids == missed
