"""Compressed streams from a real edge: the same bytes as without, as they come, and shared."""

import gzip
import json
import sys
import zlib
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any
from uuid import uuid4

import httpx
import pytest
from redis.asyncio import Redis

from tests.support.edges import Edge
from tests.support.sse import Decoder, Message

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

TOKENS = 40


@pytest.fixture(scope="module")
def edge(redis_url: str, edge_settings: dict[str, Any]) -> Iterator[Edge]:
    """With a profile that compresses."""
    started = Edge(redis_url, profile="native,run-agent", heartbeat_seconds=0.3, **edge_settings)
    yield started
    started.close()


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(timeout=10) as client:
        yield client


class Body:
    """A body as it comes, decoded by what its head says."""

    def __init__(self, response: httpx.Response) -> None:
        self.response = response
        self.raw = b""
        self.plain = b""
        self.messages: list[Message] = []
        self.coding = response.headers.get("content-encoding", "identity")
        self._pieces = response.aiter_raw()
        self._events = Decoder()
        self._inflate = zlib.decompressobj(wbits=31)
        self._frame = zstd.ZstdDecompressor()

    @property
    def chunks(self) -> list[int]:
        return [json.loads(one.data)["index"] for one in self.messages if one.type == "chunk"]

    @property
    def heartbeats(self) -> int:
        return len(self._events.comments)

    async def until(self, chunks: int) -> None:
        """Reads until it has so many chunks, and no further."""
        while len(self.chunks) < chunks:
            self._take(await anext(self._pieces))
        assert self.chunks == list(range(chunks))

    async def until_heartbeat(self) -> None:
        before = self.heartbeats
        while self.heartbeats == before:
            self._take(await anext(self._pieces))

    async def until_end(self) -> None:
        async for piece in self._pieces:
            self._take(piece)
        assert self.messages[-1].type == "done"
        if self.coding == "gzip":
            # Looks at the checksum and the size, too.
            assert gzip.decompress(self.raw) == self.plain

    def _take(self, piece: bytes) -> None:
        self.raw += piece
        match self.coding:
            case "gzip":
                plain = self._inflate.decompress(piece)
            case "zstd":
                plain = self._decode_frames(piece)
            case _:
                plain = piece
        self.plain += plain
        self.messages += self._events.feed(plain)

    def _decode_frames(self, piece: bytes) -> bytes:
        plain = b""
        while piece:
            plain += self._frame.decompress(piece)
            if not self._frame.eof:
                break
            piece = self._frame.unused_data
            self._frame = zstd.ZstdDecompressor()
        return plain


class Run:
    """A run that an agent of the test's own is at."""

    def __init__(self, edge: Edge, client: Redis) -> None:
        self.id = f"t-{uuid4().hex}"
        self.agent = f"agent-{uuid4().hex}"
        self.url = f"{edge.url}/v1/agents/{self.agent}/stream"
        self.count = 0
        self._client = client

    async def tell(self, count: int) -> None:
        async with self._client.pipeline(transaction=False) as pipeline:
            pipeline.set(f"agent:{self.agent}:current", self.id)
            for index in range(self.count, self.count + count):
                data = json.dumps({"content": f"token {index} ", "index": index})
                pipeline.xadd(f"run:{self.id}", {"type": "chunk", "data": data})
            await pipeline.execute()
        self.count += count

    async def end(self) -> None:
        await self._client.xadd(f"run:{self.id}", {"type": "done", "data": "{}"})


@pytest.fixture
async def run(edge: Edge, client: Redis) -> Run:
    made = Run(edge, client)
    await made.tell(TOKENS)
    return made


@asynccontextmanager
async def watch(http: httpx.AsyncClient, run: Run, accepted: str) -> AsyncIterator[Body]:
    async with http.stream("GET", run.url, headers={"accept-encoding": accepted}) as response:
        assert response.status_code == 200
        assert response.headers["vary"] == "accept-encoding"
        yield Body(response)


@pytest.mark.parametrize("coding", ["gzip", "zstd", "identity"])
async def test_each_event_can_be_decoded_as_it_comes(
    http: httpx.AsyncClient, run: Run, coding: str
) -> None:
    async with watch(http, run, coding) as body:
        assert body.coding == coding
        await body.until(run.count)
        for _ in range(5):
            await run.tell(1)
            await body.until(run.count)
        await body.until_heartbeat()
        for _ in range(5):
            await run.tell(1)
            await body.until(run.count)
        await run.end()
        await body.until_end()


async def test_viewers_come_and_go_and_each_gets_all_of_it(
    http: httpx.AsyncClient, run: Run
) -> None:
    """They share the bytes of what is live, and were sent other things before."""
    async with AsyncExitStack() as stack:
        bodies = []
        for turn, coding in enumerate(["gzip", "gzip", "zstd", "gzip", "identity", "gzip"]):
            bodies.append(await stack.enter_async_context(watch(http, run, coding)))
            await bodies[-1].until(run.count)
            await run.tell(3)
            for body in bodies:
                await body.until(run.count)
            if turn == 3:
                async with watch(http, run, "gzip") as brief:
                    await brief.until(run.count)
                await bodies[0].until_heartbeat()
        await run.end()
        for body in bodies:
            await body.until_end()


async def test_it_is_worth_it(http: httpx.AsyncClient, run: Run) -> None:
    async with watch(http, run, "gzip") as body:
        await body.until(run.count)
        assert len(body.raw) < len(body.plain) / 3
        replayed, plain = len(body.raw), len(body.plain)
        for _ in range(20):
            await run.tell(1)
            await body.until(run.count)
        assert len(body.raw) - replayed < (len(body.plain) - plain) / 2


async def test_profiles_that_do_not_compress_do_not(
    edge: Edge, http: httpx.AsyncClient, run: Run
) -> None:
    await run.end()
    response = await http.get(edge.events_url(run.id), headers={"accept-encoding": "gzip"})
    assert "content-encoding" not in response.headers
