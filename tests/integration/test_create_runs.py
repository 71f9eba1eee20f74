"""`POST /v1/runs`: a run that is asked for once, answered before any worker has it."""

import asyncio
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from redis.asyncio import Redis

from tests.support.edges import Edge
from tests.support.producer import append, key_of
from tests.support.servers import available_kinds
from tests.support.viewer import watch

REQUESTS = "runs:requests"


@pytest.fixture(scope="session")
def redis_kind() -> str:
    """What is asked of Redis is tested on each kind elsewhere (test_requests_and_leases.py)."""
    return available_kinds()[0]


@pytest.fixture(scope="session")
def edge_settings() -> dict[str, Any]:
    """How viewers are served is not the matter here."""
    return {"publish": True}


@pytest.fixture(scope="module")
def edge(redis_url: str, edge_settings: dict[str, Any]) -> Iterator[Edge]:
    """A shared edge with these settings."""
    edge = Edge(redis_url, **edge_settings)
    yield edge
    edge.close()


async def create(edge: Edge, document: Any, **headers: str) -> httpx.Response:
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    async with httpx.AsyncClient() as http:
        return await http.post(f"{edge.url}/v1/runs", json=document, headers=given)


async def requests_for(client: Redis, run_id: str) -> list[dict[str, str]]:
    found: Any = await client.xrange(REQUESTS)
    return [fields for _, fields in found if fields["run_id"] == run_id]


def assert_problem(answer: httpx.Response, status: int, slug: str) -> dict[str, Any]:
    document: dict[str, Any] = answer.json()
    assert (answer.status_code, document["type"]) == (status, f"urn:runcast:problem:{slug}")
    assert answer.headers["content-type"] == "application/problem+json"
    return document


async def test_a_run_is_asked_for(edge: Edge, client: Redis, run_id: str) -> None:
    answer = await create(edge, {"run_id": run_id, "agent": "writer", "input": {"q": [1, "ä"]}})
    assert answer.status_code == 201
    assert answer.headers["location"] == f"/v1/runs/{run_id}/events"
    assert answer.json() == {
        "run_id": run_id,
        "events_url": f"/v1/runs/{run_id}/events",
        "commands_url": f"/v1/runs/{run_id}/commands",
    }
    assert await requests_for(client, run_id) == [
        {"run_id": run_id, "profile": "native", "agent": "writer", "input": '{"q":[1,"ä"]}'}
    ]
    # Viewers are told that it waits.
    async with watch(f"{edge.url}{answer.json()['events_url']}") as viewer:
        [event] = await viewer.until(1)
    assert event.type == "queued"


async def test_an_id_is_made_where_none_is_given(edge: Edge, client: Redis) -> None:
    made = [(await create(edge, {})).json()["run_id"] for _ in range(2)]
    assert made[0] != made[1]
    for run_id in made:
        [request] = await requests_for(client, run_id)
        assert (request["agent"], request["input"]) == ("", "null")


async def test_a_key_makes_one_run(edge: Edge, client: Redis, run_id: str) -> None:
    created = edge.metric("runcast_runs_created_total")
    answers = await asyncio.gather(
        *(create(edge, {"input": 1}, idempotency_key=run_id) for _ in range(5)),
        *(create(edge, {"input": 1}, idempotency_key=f'"{run_id}"') for _ in range(5)),
    )
    assert {answer.status_code for answer in answers} == {201}
    [made] = {answer.json()["run_id"] for answer in answers}
    assert {answer.headers["location"] for answer in answers} == {f"/v1/runs/{made}/events"}
    assert len(await requests_for(client, made)) == 1
    assert await client.xlen(key_of(made)) == 1
    assert edge.metric("runcast_runs_created_total") >= created + 1


async def test_a_key_is_for_one_request(edge: Edge, client: Redis, run_id: str) -> None:
    first = await create(edge, {"input": 1}, idempotency_key=run_id)
    answer = await create(edge, {"input": 2}, idempotency_key=run_id)
    assert_problem(answer, 422, "idempotency-key-reused")
    assert len(await requests_for(client, first.json()["run_id"])) == 1
    # The answer to the first is the same still, however its JSON is written.
    again = await create(edge, {"input": 1, "agent": None}, idempotency_key=run_id)
    assert again.json() == first.json()


async def test_a_run_id_is_for_one_request(edge: Edge, client: Redis, run_id: str) -> None:
    for _ in range(2):
        assert (await create(edge, {"run_id": run_id, "input": 1})).status_code == 201
    answer = await create(edge, {"run_id": run_id, "input": 2})
    assert_problem(answer, 409, "run-exists")
    assert len(await requests_for(client, run_id)) == 1


async def test_a_run_id_is_for_one_request_whatever_the_key(
    edge: Edge, client: Redis, run_id: str
) -> None:
    document = {"run_id": run_id, "input": 1}
    for key in ("a", "b", "b"):
        answer = await create(edge, document, idempotency_key=f"{run_id}-{key}")
        assert answer.status_code == 201
    other = await create(edge, {**document, "input": 2}, idempotency_key=f"{run_id}-c")
    assert_problem(other, 409, "run-exists")
    other = await create(edge, {**document, "run_id": f"{run_id}-2"}, idempotency_key=f"{run_id}-a")
    assert_problem(other, 422, "idempotency-key-reused")
    assert len(await requests_for(client, run_id)) == 1


async def test_a_run_that_has_ended_does_not_begin_again(
    edge: Edge, client: Redis, run_id: str
) -> None:
    final = await append(client, run_id, event_type="done")
    answer = await create(edge, {"run_id": run_id})
    assert assert_problem(answer, 409, "run-ended")["final"] == final
    assert await requests_for(client, run_id) == []


async def test_what_is_no_request(edge: Edge) -> None:
    documents: list[Any] = [[], "x", {"run_id": "a b"}, {"agent": ""}, {"runid": "x"}]
    for document in documents:
        assert_problem(await create(edge, document), 400, "bad-body")
    assert_problem(await create(edge, {}, idempotency_key='"'), 400, "bad-header")
    assert_problem(await create(edge, {"input": "x" * (1 << 20)}), 413, "too-large")
    assert_problem(await create(edge, {}, content_type="text/plain"), 415, "unsupported-media-type")


async def test_a_key_that_is_not_a_stream(edge: Edge, client: Redis, run_id: str) -> None:
    await client.set(key_of(run_id), "a string")
    assert_problem(await create(edge, {"run_id": run_id}), 409, "not-a-stream")
