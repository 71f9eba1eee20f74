"""`POST /v1/runs/{run_id}/commands`: what a worker finds, and what the sender is told."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from redis.asyncio import Redis

from tests.support.edges import Edge
from tests.support.producer import append, key_of
from tests.support.servers import available_kinds


@pytest.fixture(scope="session")
def redis_kind() -> str:
    """What is asked of Redis is tested on each kind elsewhere."""
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


async def command(edge: Edge, run_id: str, document: Any, **headers: str) -> httpx.Response:
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    async with httpx.AsyncClient() as http:
        return await http.post(
            f"{edge.url}/v1/runs/{run_id}/commands", json=document, headers=given
        )


async def commands_of(client: Redis, run_id: str) -> Any:
    return await client.xrange(f"{key_of(run_id)}:commands")


async def test_a_command_reaches_the_worker(edge: Edge, client: Redis, run_id: str) -> None:
    await append(client, run_id)
    answers = [
        await command(edge, run_id, document)
        for document in (
            {"type": "cancel"},
            {"type": "approve", "data": {"step": 3}},
            {"type": "input", "data": "yes"},
            {"type": "anything-else", "data": None},
        )
    ]
    assert [answer.status_code for answer in answers] == [202] * 4
    assert [answer.json()["open"] for answer in answers] == [True] * 4
    found = await commands_of(client, run_id)
    assert [answer.json()["id"] for answer in answers] == [entry_id for entry_id, _ in found]
    assert [fields for _, fields in found] == [
        {"type": "cancel", "data": "{}"},
        {"type": "approve", "data": '{"step":3}'},
        {"type": "input", "data": '"yes"'},
        {"type": "anything-else", "data": "null"},
    ]
    # It is no event of the run.
    assert await client.xlen(key_of(run_id)) == 1


async def test_a_run_that_has_not_begun_is_open(edge: Edge, client: Redis, run_id: str) -> None:
    answer = await command(edge, run_id, {"type": "cancel"})
    assert (answer.status_code, answer.json()["open"]) == (202, True)
    assert len(await commands_of(client, run_id)) == 1


@pytest.mark.parametrize("ended_by", ["xadd", "http"])
async def test_whether_the_run_is_open_is_said(
    edge: Edge, client: Redis, run_id: str, ended_by: str
) -> None:
    if ended_by == "xadd":
        await append(client, run_id, event_type="done")
    else:
        async with httpx.AsyncClient() as http:
            await http.post(edge.events_url(run_id), json={"type": "x", "final": True})
    answer = await command(edge, run_id, {"type": "cancel"})
    assert (answer.status_code, answer.json()["open"]) == (202, False)


async def test_a_key_makes_one_command(edge: Edge, client: Redis, run_id: str) -> None:
    answers = [
        await command(edge, run_id, {"type": "approve"}, idempotency_key="k" * 255)
        for _ in range(3)
    ]
    assert len({answer.json()["id"] for answer in answers}) == 1
    await command(edge, run_id, {"type": "approve"}, idempotency_key="other")
    await command(edge, run_id, {"type": "approve"})
    assert len(await commands_of(client, run_id)) == 3


async def test_commands_are_not_kept_for_ever(edge: Edge, client: Redis, run_id: str) -> None:
    await command(edge, run_id, {"type": "cancel"})
    assert await client.ttl(f"{key_of(run_id)}:commands") > 0


@pytest.mark.parametrize(
    "document", [[], {}, {"type": ""}, {"type": "a\nb"}, {"type": "runcast.x"}, {"kind": "cancel"}]
)
async def test_what_is_no_command(edge: Edge, client: Redis, run_id: str, document: Any) -> None:
    answer = await command(edge, run_id, document)
    assert answer.status_code == 400
    assert answer.json()["type"] == "urn:runcast:problem:bad-body"
    assert await commands_of(client, run_id) == []


async def test_other_refusals(edge: Edge, client: Redis, run_id: str) -> None:
    cancel = {"type": "cancel"}
    assert (await command(edge, "a%20b", cancel)).status_code == 400
    assert (await command(edge, run_id, cancel, content_type="text/plain")).status_code == 415
    assert (await command(edge, run_id, {"type": "x" * (1 << 20)})).status_code == 413
    await client.set(f"{key_of(run_id)}:commands", "a string")
    answer = await command(edge, run_id, cancel)
    assert (answer.status_code, answer.json()["type"]) == (409, "urn:runcast:problem:not-a-stream")
