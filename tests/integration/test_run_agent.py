"""run-agent's answer from a real edge: resumed exactly, cut to size, ended in words it knows."""

import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import httpx
import pytest
from redis.asyncio import Redis

from tests.support.edges import Edge
from tests.support.sse import Decoder, Message

WORDS = [
    f"word {number} \N{WAVING HAND SIGN}\N{EMOJI MODIFIER FITZPATRICK TYPE-4}, "
    for number in range(12)
]


@pytest.fixture(scope="module")
def asked(redis_url: str, edge_settings: dict[str, Any]) -> Iterator[Edge]:
    edge = Edge(redis_url, profile="native,run-agent", publish=True, **edge_settings)
    yield edge
    edge.close()


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(timeout=10) as client:
        yield client


class Answer:
    """What came of one."""

    def __init__(self, response: httpx.Response) -> None:
        self.response = response
        self.messages: list[Message] = []
        self._decoder = Decoder()
        self._text = response.aiter_bytes()

    @property
    def run_id(self) -> str:
        return self.response.headers["runcast-run"]

    @property
    def documents(self) -> list[tuple[str, Any]]:
        """The run's events, and the start."""
        return [
            (message.type, json.loads(message.data))
            for message in self.messages
            if not message.type.startswith("runcast.")
        ]

    @property
    def chunks(self) -> list[Any]:
        return [document for kind, document in self.documents if kind == "chunk"]

    @property
    def text(self) -> str:
        return "".join(document["content"] for document in self.chunks)

    async def until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            self.messages += self._decoder.feed(await anext(self._text))

    async def until_end(self) -> None:
        async for data in self._text:
            self.messages += self._decoder.feed(data)


@asynccontextmanager
async def ask(
    http: httpx.AsyncClient, edge: Edge, session: str | None = None, **parameters: Any
) -> AsyncIterator[Answer]:
    body = {"query": "why?", "session_id": session, "parameters": parameters}
    async with http.stream("POST", f"{edge.url}/v1/agents/thinker/stream", json=body) as response:
        assert response.status_code == 200
        yield Answer(response)


async def tell(client: Redis, run_id: str, first: int, last: int) -> None:
    for index in range(first, last):
        data = json.dumps({"content": WORDS[index], "index": index})
        await client.xadd(f"run:{run_id}", {"type": "chunk", "data": data})


async def end(client: Redis, run_id: str, kind: str = "done", data: str = "{}") -> None:
    await client.xadd(f"run:{run_id}", {"type": kind, "data": data})


async def test_the_session_is_told_before_any_worker_has_answered(
    asked: Edge, http: httpx.AsyncClient
) -> None:
    async with ask(http, asked) as answer:
        await answer.until(lambda: bool(answer.documents))
        kind, document = answer.documents[0]
        assert kind == "start"
        assert document["message"] == "Stream started"
        assert document["session_id"]


@pytest.mark.parametrize("size", [None, 1, 7, 1000])
async def test_a_cut_answer_is_resumed_exactly(
    asked: Edge, http: httpx.AsyncClient, client: Redis, size: int | None
) -> None:
    """Wherever it was cut, with the same size of pieces or another."""
    session = uuid4().hex
    async with ask(http, asked, session, chunk_size=size) as answer:
        run_id = answer.run_id
        await tell(client, run_id, 0, 5)
        # In how many pieces depends on how much of it comes together.
        await answer.until(lambda: len(answer.text) >= len("".join(WORDS[:3])))
        had = answer.chunks
    await tell(client, run_id, 5, 9)
    for again in (size, 3):
        text = "".join(document["content"] for document in had)
        start = had[-1]["index"] + 1
        async with ask(http, asked, session, chunk_size=again, resume_from_index=start) as answer:
            assert answer.run_id == run_id
            expected = "".join(WORDS[:9])
            await answer.until(lambda: len(text + answer.text) >= len(expected))  # noqa: B023
            assert text + answer.text == expected
            had = had + answer.chunks[:4]
    await tell(client, run_id, 9, 12)
    await end(client, run_id)
    text = "".join(document["content"] for document in had)
    async with ask(http, asked, session, resume_from_index=had[-1]["index"] + 1) as answer:
        await answer.until_end()
        assert text + answer.text == "".join(WORDS)
        assert answer.documents[-1][0] == "done"


async def test_pieces_are_cut_live_as_well(
    asked: Edge, http: httpx.AsyncClient, client: Redis
) -> None:
    async with ask(http, asked, chunk_size=4) as answer:
        await answer.until(lambda: bool(answer.documents))
        await tell(client, answer.run_id, 0, 3)
        await end(client, answer.run_id)
        await answer.until_end()
        assert answer.text == "".join(WORDS[:3])
        assert answer.chunks[0]["content"] == "word"


@pytest.mark.parametrize(
    ("kind", "code"),
    [("failed", "STREAM_ERROR"), ("cancelled", "CANCELLED"), ("timed_out", "TIMED_OUT")],
)
async def test_a_failure_ends_it_with_an_error(
    asked: Edge, http: httpx.AsyncClient, client: Redis, kind: str, code: str
) -> None:
    async with ask(http, asked) as answer:
        await end(client, answer.run_id, kind)
        await answer.until_end()
        last, document = answer.documents[-1]
        assert last == "error"
        assert document["code"] == code


async def test_a_session_that_is_not_known_is_a_problem_that_clients_can_read(
    asked: Edge, http: httpx.AsyncClient
) -> None:
    body = {
        "query": "go on",
        "session_id": uuid4().hex,
        "parameters": {"resume_from_index": 3},
    }
    response = await http.post(f"{asked.url}/v1/agents/thinker/stream", json=body)
    assert response.status_code == 404
    assert response.json()["error"]["message"] == response.json()["detail"]


async def test_who_watches_an_agent_sees_what_it_is_at(
    asked: Edge, http: httpx.AsyncClient, client: Redis
) -> None:
    """As an EventSource does, which can't send a body."""
    agent, run_id = f"agent-{uuid4().hex}", f"t-{uuid4().hex}"
    await client.set(f"agent:{agent}:current", run_id)
    await tell(client, run_id, 0, 2)
    await end(client, run_id)
    async with http.stream("GET", f"{asked.url}/v1/agents/{agent}/stream") as response:
        answer = Answer(response)
        await answer.until_end()
    assert [kind for kind, _ in answer.documents] == ["start", "chunk", "chunk", "done"]
