"""Who asks for a delay gets at most one event in that time; everybody else is not held up."""

import json
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import httpx
import pytest
from redis.asyncio import Redis

from tests.support.edges import Edge
from tests.support.sse import Decoder
from tests.support.waiting import eventually

DELAY = 0.03


@pytest.fixture(scope="module")
def asked(redis_url: str, edge_settings: dict[str, Any]) -> Iterator[Edge]:
    edge = Edge(redis_url, profile="native,run-agent", publish=True, **edge_settings)
    yield edge
    edge.close()


class Times:
    """When an answer's events came."""

    def __init__(self, response: httpx.Response) -> None:
        self.run_id = response.headers["runcast-run"]
        self.text = ""
        self.at: list[float] = []
        self.done = False
        self._response = response

    async def read(self) -> None:
        """To the end."""
        decoder = Decoder()
        async for data in self._response.aiter_bytes():
            for message in decoder.feed(data):
                if message.type == "chunk":
                    self.text += json.loads(message.data)["content"]
                    self.at.append(time.monotonic())
                self.done |= message.type == "done"


@asynccontextmanager
async def ask(http: httpx.AsyncClient, edge: Edge, **parameters: Any) -> AsyncIterator[Times]:
    body = {"query": "why?", "session_id": uuid4().hex, "parameters": parameters}
    async with http.stream("POST", f"{edge.url}/v1/agents/slow/stream", json=body) as response:
        yield Times(response)


async def tell(client: Redis, run_id: str, texts: list[str]) -> None:
    async with client.pipeline() as pipeline:
        for index, text in enumerate(texts):
            data = json.dumps({"content": text, "index": index})
            pipeline.xadd(f"run:{run_id}", {"type": "chunk", "data": data})
        pipeline.xadd(f"run:{run_id}", {"type": "done", "data": "{}"})
        await pipeline.execute()


@pytest.mark.parametrize(
    ("texts", "parameters", "events"),
    [
        (["a ", "b ", "c "] * 7, {}, 21),
        (["one long text that is cut to pieces"], {"chunk_size": 3}, 12),
    ],
)
async def test_at_most_one_event_in_the_time(
    asked: Edge, client: Redis, texts: list[str], parameters: dict[str, Any], events: int
) -> None:
    delay = round(DELAY * 1000)
    async with (
        httpx.AsyncClient(timeout=20) as http,
        ask(http, asked, stream_delay_ms=delay, **parameters) as answer,
    ):
        begun = time.monotonic()
        await tell(client, answer.run_id, texts)
        await answer.read()
    assert answer.done
    assert answer.text == "".join(texts)
    assert len(answer.at) == events
    # What the network holds up comes closer together than it was sent; the whole does not.
    assert answer.at[-1] - begun >= DELAY * (events - 1) * 0.99


async def test_others_get_the_run_as_it_comes(asked: Edge, client: Redis) -> None:
    async with (
        httpx.AsyncClient(timeout=20) as http,
        ask(http, asked, stream_delay_ms=60_000) as answer,
    ):
        await tell(client, answer.run_id, ["a", "b", "c"])
        other = await http.get(asked.events_url(answer.run_id))
        assert other.text.count("event: chunk") == 3
    await eventually(lambda: asked.metric("runcast_viewers") == 0)
