"""What a stranger or a careless producer can send. Each gets an answer; nobody else notices."""

import asyncio
import json
from typing import Any

import httpx
import pytest
from redis.asyncio import Redis

from tests.support.edges import Edge
from tests.support.producer import append, key_of
from tests.support.viewer import watch
from tests.support.waiting import eventually

PROBLEM = "application/problem+json"


async def get(url: str, **options: Any) -> httpx.Response:
    async with httpx.AsyncClient() as http:
        return await http.get(url, **options)


def assert_problem(answer: httpx.Response, status: int, slug: str) -> dict[str, Any]:
    assert answer.status_code == status
    assert answer.headers["content-type"] == PROBLEM
    document: dict[str, Any] = answer.json()
    assert document["type"] == f"urn:runcast:problem:{slug}"
    assert document["status"] == status
    assert document["title"]
    assert document["detail"].isprintable()
    assert len(document["detail"]) < 500
    return document


@pytest.mark.parametrize(
    "run_id", ["a%20b", "%7Ba%7D", "a*", "x" * 129, "%00", "a%0d%0aSet-Cookie:x", "%C3%A4", ".."]
)
async def test_bad_run_ids(edge: Edge, run_id: str) -> None:
    # Sent as it is: clients would tidy some of these up.
    reader, writer = await asyncio.open_connection("127.0.0.1", edge.port)
    writer.write(f"GET /v1/runs/{run_id}/events HTTP/1.1\r\nhost: x\r\n\r\n".encode())
    head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
    writer.close()
    assert head.startswith("http/1.1 400")
    assert f"content-type: {PROBLEM}" in head
    assert "set-cookie" not in head


@pytest.mark.parametrize(
    "cursor",
    ["abc", "-1-0", "18446744073709551616-0", "0-18446744073709551616", "1" * 5_000, "12", "1-0;"],
)
async def test_bad_cursors(edge: Edge, run_id: str, cursor: str) -> None:
    answer = await get(edge.events_url(run_id), headers={"last-event-id": cursor})
    assert_problem(answer, 400, "bad-cursor")
    for name in ("last_event_id", "lastEventId", "since"):
        answer = await get(edge.events_url(run_id), params={name: cursor})
        assert_problem(answer, 400, "bad-cursor")


@pytest.mark.parametrize("cursor", ["1-0\r\nX-Injected: yes", "1-0\n\ndata: injected\n\n", "\0"])
async def test_cursors_that_try_to_break_out(edge: Edge, run_id: str, cursor: str) -> None:
    answer = await get(edge.events_url(run_id), params={"last_event_id": cursor})
    assert_problem(answer, 400, "bad-cursor")
    assert "x-injected" not in answer.headers


@pytest.mark.parametrize(
    "query",
    [
        {"limit": "0"}, {"limit": "1001"}, {"limit": "ten"}, {"wait": "26"}, {"wait": "soon"},
        {"from": "yesterday"}, {"from": "-1001"}, {"heartbeat": "loud"}, {"control": "2"},
        {"types": ","},
    ],
)  # fmt: skip
async def test_bad_parameters(edge: Edge, run_id: str, query: dict[str, str]) -> None:
    for accept in ("application/json", "text/event-stream"):
        answer = await get(edge.events_url(run_id), params=query, headers={"accept": accept})
        assert_problem(answer, 400, "bad-parameter")


async def test_unknown_routes_and_methods(edge: Edge, run_id: str) -> None:
    assert_problem(await get(f"{edge.url}/v1/nothing"), 404, "not-found")
    async with httpx.AsyncClient() as http:
        answer = await http.post(edge.events_url(run_id), json={})
    assert_problem(answer, 405, "method-not-allowed")
    assert "GET" in answer.headers["allow"]


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GET / HTTP/9.9\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"GET /v1/runs/a/events HTTP/1.1\r\nhost: x\r\nlast-event-id: 1\0-0\r\n\r\n",
        b"GET /v1/runs/\xff\xfe/events HTTP/1.1\r\nhost: x\r\n\r\n",
    ],
)
async def test_what_is_not_http(edge: Edge, request_bytes: bytes) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", edge.port)
    writer.write(request_bytes)
    async with asyncio.timeout(5):
        answer = await reader.read(4096)
    writer.close()
    assert answer.startswith(b"HTTP/1.1 400")
    assert PROBLEM.encode() in answer
    assert edge.traces() == ""


async def test_a_key_that_is_not_a_stream(edge: Edge, client: Redis, run_id: str) -> None:
    await client.set(key_of(run_id), "a string")
    for accept in ("application/json", "text/event-stream"):
        answer = await get(edge.events_url(run_id), headers={"accept": accept})
        assert_problem(answer, 409, "not-a-stream")


async def test_a_watched_key_becomes_something_else(edge: Edge, client: Redis, run_id: str) -> None:
    neighbour = f"{run_id}-neighbour"
    await append(client, run_id)
    async with (
        watch(edge.events_url(run_id)) as viewer,
        watch(edge.events_url(neighbour)) as other,
    ):
        await viewer.until(1)
        await other.until_caught_up()
        async with client.pipeline(transaction=True) as transaction:
            transaction.delete(key_of(run_id))
            transaction.set(key_of(run_id), "a string")
            await transaction.execute()
        await viewer.until_ended()
        assert viewer.whole
        # The others in its group of the tail go on.
        await append(client, neighbour)
        await other.until(1)
    assert_problem(await get(edge.events_url(run_id)), 409, "not-a-stream")


async def test_an_entry_without_data(edge: Edge, client: Redis, run_id: str) -> None:
    await client.xadd(key_of(run_id), {"type": "step", "name": "plan", "n": "1"})
    await client.xadd(key_of(run_id), {"alone": "yes"})
    async with watch(edge.events_url(run_id)) as viewer:
        first, second = await viewer.until(2)
    assert (first.type, json.loads(first.data)) == ("step", {"name": "plan", "n": "1"})
    assert (second.type, json.loads(second.data)) == ("message", {"alone": "yes"})


async def test_binary_data(edge: Edge, client: Redis, run_id: str) -> None:
    before = edge.metric("runcast_events_repaired_total")
    await append(client, run_id, b"\x89PNG\r\n\x1a\n\xff\x00")
    async with watch(edge.events_url(run_id)) as viewer:
        [message] = await viewer.until(1)
    assert message.data == "�PNG\n\x1a\n�\0"
    assert edge.metric("runcast_events_repaired_total") > before
    answer = await get(edge.events_url(run_id), headers={"accept": "application/json"})
    assert answer.json()["events"][0]["data"] == "�PNG\r\n\x1a\n�\0"


@pytest.mark.parametrize("event_type", [b"a\nid: 9-9", b"a\r\ndata: x", b"a\0b", b"\n\n", b"\xff"])
async def test_types_that_try_to_break_out(
    edge: Edge, client: Redis, run_id: str, event_type: bytes
) -> None:
    before = edge.metric("runcast_events_repaired_total")
    entry_id = await append(client, run_id, "x", event_type)
    async with watch(edge.events_url(run_id)) as viewer:
        await viewer.until_caught_up()
        [message] = viewer.events
    assert (message.id, message.data) == (entry_id, "x")
    assert viewer.decoder.last_event_id == entry_id
    assert edge.metric("runcast_events_repaired_total") > before


async def test_line_breaks_in_data(edge: Edge, client: Redis, run_id: str) -> None:
    await append(client, run_id, "a\nb\r\nc\rd\n\nid: 9-9\n")
    async with watch(edge.events_url(run_id)) as viewer:
        [message] = await viewer.until(1)
    assert message.data == "a\nb\nc\nd\n\nid: 9-9\n"


async def test_large_data(edge: Edge, client: Redis, run_id: str) -> None:
    large = "x" * 1_000_000
    for _ in range(5):
        await append(client, run_id, large)
    async with watch(edge.events_url(run_id)) as viewer:
        await viewer.until(5)
        await append(client, run_id, large)
        await viewer.until(6)
    assert {message.data for message in viewer.events} == {large}


async def test_no_trace_reaches_a_client_or_the_log(edge: Edge, run_id: str) -> None:
    await eventually(lambda: edge.metric("runcast_subscribers") == 0)
    assert edge.traces() == ""
