"""`POST /v1/runs/{run_id}/events`: what is in the run afterwards is what the answer says, once."""

import asyncio
import json
import re
import shutil
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from redis.asyncio import Redis

from broker.redis.connections import command
from broker.redis.meta import meta_key
from tests.support.edges import Edge
from tests.support.posting import Answer, posting
from tests.support.producer import append, key_of
from tests.support.servers import RedisProcess, available_kinds
from tests.support.viewer import watch
from tests.support.waiting import eventually

NDJSON: Final = {"content-type": "application/x-ndjson"}


@pytest.fixture(scope="session")
def redis_kind() -> str:
    """What is asked of Redis is tested on each kind elsewhere (test_appending.py)."""
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


def path_of(run_id: str) -> str:
    return f"/v1/runs/{run_id}/events"


def lines(*events: dict[str, Any]) -> bytes:
    return b"".join(json.dumps(event).encode() + b"\n" for event in events)


def numbered(count: int) -> bytes:
    return lines(*({"type": "chunk", "data": {"n": number}} for number in range(count)))


async def post(edge: Edge, run_id: str, **options: Any) -> httpx.Response:
    async with httpx.AsyncClient() as http:
        return await http.post(edge.events_url(run_id), **options)


async def entries(client: Redis, run_id: str) -> list[tuple[str, dict[str, str]]]:
    found: Any = await client.xrange(key_of(run_id))
    return list(found)


async def numbers_in(client: Redis, run_id: str) -> list[int]:
    return [json.loads(fields["data"])["n"] for _, fields in await entries(client, run_id)]


def assert_problem(answer: httpx.Response | Answer, status: int, slug: str) -> dict[str, Any]:
    document: dict[str, Any] = answer.json()
    told = answer.status_code if isinstance(answer, httpx.Response) else answer.status
    assert (told, document["type"]) == (status, f"urn:runcast:problem:{slug}"), document
    assert answer.headers["content-type"] == "application/problem+json"
    assert document["detail"].isprintable()
    return document


async def test_one_event(edge: Edge, client: Redis, run_id: str) -> None:
    async with watch(edge.events_url(run_id)) as viewer:
        await viewer.until_caught_up()
        answer = await post(edge, run_id, json={"type": "chunk", "data": {"text": "hi"}})
        assert answer.status_code == 200
        assert answer.headers["cache-control"] == "no-store"
        [seen] = await viewer.until(1)
    assert answer.json() == {
        "events": [{"id": seen.id, "duplicate": False}],
        "last_id": seen.id,
    }
    assert (seen.type, seen.data) == ("chunk", '{"text":"hi"}')
    assert await entries(client, run_id) == [
        (seen.id, {"type": "chunk", "data": '{"text":"hi"}'}),
    ]


async def test_the_run_is_kept_for_a_time(edge: Edge, client: Redis, run_id: str) -> None:
    await post(edge, run_id, json={})
    kept = await client.ttl(key_of(run_id))
    await post(edge, run_id, json={"final": True})
    assert 0 < await client.ttl(key_of(run_id)) < kept


async def test_lines_are_appended_as_they_come(edge: Edge, run_id: str) -> None:
    async with (
        watch(edge.events_url(run_id)) as viewer,
        posting(edge.port, path_of(run_id)) as request,
    ):
        await request.send(b'{"data":"one"}\n{"data":"t')
        await viewer.until(1)
        await request.send(b'wo"}\n\n')
        await viewer.until(2)
        await request.send(b'{"type":"done","data":"three"}')
        answer = await request.finish()
        await viewer.until_ended()
    assert [event.data for event in viewer.events] == ["one", "two", "three"]
    assert answer.json() == {
        "events": [{"id": event_id, "duplicate": False} for event_id in viewer.ids],
        "last_id": viewer.ids[-1],
    }


async def test_many_lines_at_once(edge: Edge, client: Redis, run_id: str) -> None:
    answer = await post(edge, run_id, content=numbered(1500), headers=NDJSON)
    found = await entries(client, run_id)
    assert [event["id"] for event in answer.json()["events"]] == [event_id for event_id, _ in found]
    assert await numbers_in(client, run_id) == list(range(1500))


@pytest.mark.parametrize("body", [b"", b"\n", b"\r\n\n"])
async def test_no_line_is_no_event(edge: Edge, client: Redis, run_id: str, body: bytes) -> None:
    answer = await post(edge, run_id, content=body, headers=NDJSON)
    assert (answer.status_code, answer.json()) == (200, {"events": [], "last_id": None})
    assert not await client.exists(key_of(run_id))


@pytest.mark.parametrize("media_type", ["application/json", "text/plain"])
async def test_the_connection_serves_the_next_request(
    edge: Edge, run_id: str, media_type: str
) -> None:
    """Also after a refusal, if the body is small."""
    async with posting(edge.port, path_of(run_id), media_type, content_length="2") as request:
        await request.send_raw(b"{}")
        answer = await request.answer()
        assert answer.status == (200 if media_type == "application/json" else 415)
        assert "connection" not in answer.headers
        await request.send_raw(b"GET /healthz HTTP/1.1\r\nhost: edge\r\n\r\n")
        assert (await request.answer()).status == 200


async def test_it_does_not_wait_for_long_for_a_body_that_it_refuses(
    edge: Edge, run_id: str
) -> None:
    async with posting(edge.port, path_of(run_id), "text/plain", content_length="2") as request:
        answer = await request.answer()
        assert answer.status == 415
        assert answer.headers["connection"] == "close"
        assert await request.is_over()


# ---- once


@pytest.mark.parametrize(
    "headers",
    [
        {"idempotency-key": '"a key"'},
        {"runcast-producer": "worker-7", "runcast-sequence": "12"},
    ],
)
async def test_a_body_that_is_sent_again(
    edge: Edge, client: Redis, run_id: str, headers: dict[str, str]
) -> None:
    first = await post(edge, run_id, content=numbered(3), headers=NDJSON | headers)
    again = await post(edge, run_id, content=numbered(5), headers=NDJSON | headers)
    assert [event["duplicate"] for event in again.json()["events"]] == [True] * 3 + [False] * 2
    assert again.json()["events"][2]["id"] == first.json()["last_id"]
    assert await numbers_in(client, run_id) == [0, 1, 2, 3, 4]


async def test_an_event_that_is_sent_again(edge: Edge, client: Redis, run_id: str) -> None:
    event = {"data": {"n": 1}, "producer": "w", "sequence": 1}
    first = await post(edge, run_id, json=event)
    again = await post(edge, run_id, json=event)
    await post(edge, run_id, json=event | {"sequence": 2})
    await post(edge, run_id, json=event | {"producer": "v"})
    assert again.json() == {
        "events": [{"id": first.json()["last_id"], "duplicate": True}],
        "last_id": first.json()["last_id"],
    }
    assert len(await entries(client, run_id)) == 3


async def test_keys_are_a_run_s_own(edge: Edge, client: Redis, run_id: str) -> None:
    for run in (run_id, f"{run_id}-other"):
        await post(edge, run, json={}, headers={"idempotency-key": "k"})
        assert len(await entries(client, run)) == 1


async def test_without_a_name_nothing_is_the_same(edge: Edge, client: Redis, run_id: str) -> None:
    for _ in range(3):
        await post(edge, run_id, json={})
    assert len(await entries(client, run_id)) == 3
    # However many bodies there are, the trace of those who send them is small.
    assert await client.hlen(meta_key(key_of(run_id))) == 1


async def test_an_end_that_is_sent_again(edge: Edge, client: Redis, run_id: str) -> None:
    headers = NDJSON | {"idempotency-key": "k"}
    body = numbered(2) + b'{"type":"done"}\n'
    first = await post(edge, run_id, content=body, headers=headers)
    again = await post(edge, run_id, content=body, headers=headers)
    assert again.status_code == 200
    assert again.json()["last_id"] == first.json()["last_id"]
    assert len(await entries(client, run_id)) == 3


async def test_a_client_that_is_cut_off_in_mid_body(edge: Edge, client: Redis, run_id: str) -> None:
    abandoned = edge.metric("runcast_published_abandoned_total")
    async with posting(edge.port, path_of(run_id), idempotency_key="k") as request:
        await request.send(numbered(3) + b'{"data":{"n":3')
        await eventually(lambda: client.xlen(key_of(run_id)))
        request.cut()
    await eventually(lambda: edge.metric("runcast_published_abandoned_total") > abandoned)
    assert await numbers_in(client, run_id) == [0, 1, 2]
    await post(edge, run_id, content=numbered(6), headers=NDJSON | {"idempotency-key": "k"})
    assert await numbers_in(client, run_id) == list(range(6))
    assert edge.traces() == ""


async def test_two_who_send_the_same_at_once(edge: Edge, client: Redis, run_id: str) -> None:
    headers = NDJSON | {"idempotency-key": "k"}
    answers = await asyncio.gather(
        *(post(edge, run_id, content=numbered(400), headers=headers) for _ in range(4))
    )
    assert {answer.status_code for answer in answers} == {200}
    assert sorted(await numbers_in(client, run_id)) == list(range(400))


# ---- refused


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"content-type": "text/plain"},
        {"content-type": "application/x-www-form-urlencoded"},
        {"content-type": "application/json; charset=latin-1"},
        {"content-type": "application/json, text/plain"},
        {"content-type": "application/json", "content-encoding": "gzip"},
    ],
)
async def test_other_media_types(edge: Edge, run_id: str, headers: dict[str, str]) -> None:
    """Also none at all: no page of another site may have a browser post here unasked."""
    assert_problem(
        await post(edge, run_id, content=b"{}", headers=headers), 415, "unsupported-media-type"
    )


async def test_media_types_with_parameters(edge: Edge, run_id: str) -> None:
    for media_type in ("Application/JSON; charset=UTF-8", 'application/json;charset="utf-8";x=y'):
        answer = await post(edge, run_id, content=b"{}", headers={"content-type": media_type})
        assert answer.status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"idempotency-key": ""},
        {"runcast-producer": "w"},
        {"runcast-sequence": "1"},
        {"runcast-producer": "w", "runcast-sequence": "x"},
        {"runcast-lease": "0"},
        {"runcast-lease": "3601"},
        {"runcast-lease": "1.5"},
    ],
)
async def test_bad_headers(edge: Edge, run_id: str, headers: dict[str, str]) -> None:
    assert_problem(await post(edge, run_id, json={}, headers=headers), 400, "bad-header")


async def test_bad_run_ids(edge: Edge) -> None:
    assert_problem(await post(edge, "a%20b", json={}), 400, "bad-run-id")


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"type":"a\\nb"}', b'{"nope":1}'])
async def test_what_is_no_event(edge: Edge, client: Redis, run_id: str, body: bytes) -> None:
    answer = await post(edge, run_id, content=body, headers={"content-type": "application/json"})
    problem = assert_problem(answer, 400, "bad-body")
    assert (problem["appended"], problem["last_id"]) == (0, None)
    assert not await client.exists(key_of(run_id))


async def test_a_bad_line_says_where_it_is_and_what_came_before(
    edge: Edge, client: Redis, run_id: str
) -> None:
    body = numbered(250) + b"\n{\n" + numbered(1)
    answer = await post(edge, run_id, content=body, headers=NDJSON | {"idempotency-key": "k"})
    problem = assert_problem(answer, 400, "bad-body")
    found = await entries(client, run_id)
    assert problem["line"] == 252
    assert problem["appended"] == len(found) == 250
    assert problem["last_id"] == found[-1][0]
    # Sent again without the bad line, every event is there once.
    body = numbered(251)
    await post(edge, run_id, content=body, headers=NDJSON | {"idempotency-key": "k"})
    assert await numbers_in(client, run_id) == list(range(251))


async def test_what_is_too_large(
    start_edge: Callable[..., Edge], client: Redis, run_id: str
) -> None:
    edge = start_edge(publish_event_bytes=2000, publish_body_bytes=9000, publish_body_events=20)
    large = json.dumps({"data": "x" * 2000}).encode()
    assert_problem(await post(edge, run_id, json=json.loads(large)), 413, "too-large")
    answer = await post(edge, run_id, content=numbered(2) + large, headers=NDJSON)
    problem = assert_problem(answer, 413, "too-large")
    assert (problem["appended"], problem["line"]) == (2, 3)
    problem = assert_problem(
        await post(edge, run_id, content=numbered(21), headers=NDJSON), 413, "too-large"
    )
    assert (problem["appended"], problem["line"]) == (20, 21)
    assert len(await entries(client, run_id)) == 22
    # A body that says its size is refused before it is read, one that does not when it is too much.
    line = lines({"data": "x" * 900})
    problem = assert_problem(
        await post(edge, run_id, content=line * 11, headers=NDJSON), 413, "too-large"
    )
    assert problem["appended"] == 0
    async with posting(edge.port, path_of(run_id)) as request:
        for _ in range(9):
            await request.send(line)
        await eventually(lambda: client.xlen(key_of(run_id)))
        await request.send(line)
        problem = assert_problem(await request.answer(), 413, "too-large")
    assert problem["appended"] >= 8


async def test_an_answer_before_the_end_of_a_large_body_arrives(edge: Edge, run_id: str) -> None:
    """Whoever sends all before they read has it none the less: it is not lost to a reset."""
    with socket.create_connection(("127.0.0.1", edge.port), timeout=10) as connection:
        head = f"POST {path_of(run_id)} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
        connection.sendall(f"{head}content-length: {3 << 20}\r\n\r\n".encode())
        await asyncio.to_thread(connection.sendall, b"x" * (1 << 20))
        answer = await asyncio.to_thread(connection.recv, 1 << 16)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"connection: close" in answer


async def test_nothing_comes_after_the_end(edge: Edge, client: Redis, run_id: str) -> None:
    body = lines({"type": "chunk"}, {"type": "done"}, {"type": "chunk"}, {"type": "chunk"})
    problem = assert_problem(
        await post(edge, run_id, content=body, headers=NDJSON), 409, "run-ended"
    )
    found = await entries(client, run_id)
    assert [fields["type"] for _, fields in found] == ["chunk", "done"]
    assert problem["appended"] == 2
    assert problem["last_id"] == problem["final"] == found[-1][0]


async def test_nor_after_an_end_by_xadd(edge: Edge, client: Redis, run_id: str) -> None:
    final = await append(client, run_id, event_type="done")
    problem = assert_problem(await post(edge, run_id, json={}), 409, "run-ended")
    assert problem["final"] == final


async def test_a_key_that_is_not_a_stream(edge: Edge, client: Redis, run_id: str) -> None:
    await client.set(key_of(run_id), "a string")
    assert_problem(await post(edge, run_id, json={}), 409, "not-a-stream")


@pytest.mark.parametrize("media_type", ["application/json", "application/x-ndjson"])
async def test_a_body_that_does_not_come_on(
    start_edge: Callable[..., Edge], client: Redis, run_id: str, media_type: str
) -> None:
    edge = start_edge(publish_idle_seconds=1)
    async with posting(edge.port, path_of(run_id), media_type) as request:
        if media_type == "application/x-ndjson":
            # Complete lines are progress, bytes of one are not.
            for number in range(5):
                await request.send(lines({"data": {"n": number}}))
                await asyncio.sleep(0.3)
        answer = asyncio.create_task(request.answer())
        while not answer.done():
            await request.send(b" ")
            await asyncio.sleep(0.1)
        problem = assert_problem(await answer, 408, "slow-body")
    assert problem["appended"] == await client.xlen(key_of(run_id))
    assert problem["appended"] == (5 if media_type == "application/x-ndjson" else 0)


async def test_too_many_events(start_edge: Callable[..., Edge], client: Redis, run_id: str) -> None:
    edge = start_edge(publish_run_events_per_second=5)
    # A body is taken as a whole; the time that it was too much for is made up for.
    assert (await post(edge, run_id, content=numbered(50), headers=NDJSON)).status_code == 200
    answer = await post(edge, run_id, json={})
    assert_problem(answer, 429, "too-many-requests")
    assert 1 <= int(answer.headers["retry-after"]) <= 10
    answer = await post(edge, run_id, content=numbered(1), headers=NDJSON)
    assert_problem(answer, 429, "too-many-requests")
    assert (await post(edge, f"{run_id}-other", json={})).status_code == 200
    assert await client.xlen(key_of(run_id)) == 50


async def test_a_body_that_is_too_fast_is_slowed_down(
    start_edge: Callable[..., Edge], client: Redis, run_id: str
) -> None:
    edge = start_edge(publish_run_events_per_second=100)
    before = time.monotonic()
    answer = await post(edge, run_id, content=numbered(250), headers=NDJSON)
    assert answer.status_code == 200
    # A hundred are there to be taken at once, and the last batch may be in debt.
    assert time.monotonic() - before > 0.9
    assert await numbers_in(client, run_id) == list(range(250))


async def test_too_many_bodies_at_a_time(start_edge: Callable[..., Edge], run_id: str) -> None:
    edge = start_edge(publish_concurrency=1)
    async with posting(edge.port, path_of(run_id)) as request:
        await request.send(b"\n")
        await eventually(lambda: edge.metric("runcast_publishing_requests") == 1)
        answer = await post(edge, run_id, json={})
        assert_problem(answer, 503, "unavailable")
        assert int(answer.headers["retry-after"]) >= 1
        assert (await request.finish()).status == 200
    assert (await post(edge, run_id, json={})).status_code == 200
    assert edge.metric("runcast_publishing_refusals_total", problem="unavailable") == 1


@pytest.mark.parametrize("settings", [{"publish": False}])
async def test_it_is_off_unless_asked_for(
    start_edge: Callable[..., Edge], run_id: str, settings: dict[str, Any]
) -> None:
    edge = start_edge(**settings)
    answer = await post(edge, run_id, json={})
    assert_problem(answer, 405, "method-not-allowed")
    assert "POST" not in answer.headers["allow"]
    async with httpx.AsyncClient() as http:
        for path in ("/v1/runs", f"/v1/runs/{run_id}/commands"):
            assert_problem(await http.post(f"{edge.url}{path}", json={}), 404, "not-found")


async def test_other_methods_are_told_which_there_are(edge: Edge, run_id: str) -> None:
    async with httpx.AsyncClient() as http:
        answer = await http.put(edge.events_url(run_id), json={})
    assert_problem(answer, 405, "method-not-allowed")
    assert {name.strip() for name in answer.headers["allow"].split(",")} == {"GET", "HEAD", "POST"}


# ---- Expect: 100-continue


async def test_a_body_is_asked_for_when_it_is_wanted(edge: Edge, run_id: str) -> None:
    async with posting(
        edge.port, path_of(run_id), "application/json", expect="100-continue", content_length="2"
    ) as request:
        assert (await request.answer()).status == 100
        await request.send_raw(b"{}")
        assert (await request.answer()).status == 200


async def test_and_not_where_it_is_not(edge: Edge, run_id: str) -> None:
    async with posting(
        edge.port, path_of(run_id), "text/plain", expect="100-continue", content_length="2"
    ) as request:
        before = time.monotonic()
        answer = await request.answer()
        assert_problem(answer, 415, "unsupported-media-type")
        assert answer.headers["connection"] == "close"
        assert await request.is_over()
        # Nobody lingers for a body that was not asked for.
        assert time.monotonic() - before < 0.9


# ---- leases, and what viewers are told


async def test_a_lease_lasts_as_long_as_there_are_lines(
    edge: Edge, client: Redis, run_id: str
) -> None:
    meta = meta_key(key_of(run_id))

    async def lease() -> int:
        return int(await client.hget(meta, "lease") or 0)

    async with posting(edge.port, path_of(run_id), runcast_lease="60") as request:
        await request.send(b'{"status":"running","phase":"planning"}\n')
        first = await eventually(lease)
        await asyncio.sleep(0.01)
        # A blank line says that the worker lives.
        await request.send(b"\n")
        assert await eventually(lambda: _later(lease, first))
        await request.send(b'{"phase":"writing"}\n')
        await request.finish()
    second = await lease()
    await post(edge, run_id, content=b"", headers=NDJSON | {"runcast-lease": "120"})
    assert await lease() > second + 50_000
    assert await client.hmget(meta, "status", "phase") == ["running", "writing"]
    assert await client.xlen(key_of(run_id)) == 2
    await post(edge, run_id, json={"final": True})
    assert await lease() == 0


async def _later(lease: Callable[[], Any], than: int) -> bool:
    return bool(await lease() > than)


# ---- Redis is away; the edge leaves


@pytest.fixture
def own_edge(start_edge: Callable[..., Edge], own_redis: RedisProcess) -> Edge:
    """An edge over a Redis that the test may kill; it soon gives up."""
    return start_edge(own_redis.url, publish_retry_seconds=0.5, redis_timeout_seconds=0.5)


async def test_redis_is_away(own_edge: Edge, own_redis: RedisProcess, run_id: str) -> None:
    headers = NDJSON | {"idempotency-key": "k"}
    async with posting(own_edge.port, path_of(run_id), idempotency_key="k") as request:
        await request.send(numbered(2))
        await eventually(lambda: own_edge.metric("runcast_published_events_total") == 2)
        own_redis.pause()
        try:
            await request.send(numbered(5)[len(numbered(2)) :])
            answer = await request.answer()
        finally:
            own_redis.resume()
    problem = assert_problem(answer, 503, "unavailable")
    assert int(answer.headers["retry-after"]) >= 1
    assert problem["appended"] == 2
    assert problem["unknown"] == 3
    again = await post(own_edge, run_id, content=numbered(5), headers=headers)
    assert again.status_code == 200
    async with Redis.from_url(own_redis.url, decode_responses=True) as client:
        assert await numbers_in(client, run_id) == list(range(5))
    assert own_edge.traces() == ""


async def test_redis_comes_back_in_time(
    start_edge: Callable[..., Edge], own_redis: RedisProcess, run_id: str
) -> None:
    edge = start_edge(own_redis.url)
    own_redis.kill()
    sending = asyncio.create_task(
        post(edge, run_id, content=numbered(3), headers=NDJSON, timeout=9)
    )
    await eventually(lambda: edge.metric("runcast_publishing_requests") == 1)
    own_redis.start()
    assert (await sending).status_code == 200
    async with Redis.from_url(own_redis.url, decode_responses=True) as client:
        assert await numbers_in(client, run_id) == [0, 1, 2]


async def test_an_edge_that_may_not_write(
    start_edge: Callable[..., Edge], own_redis: RedisProcess, run_id: str
) -> None:
    """It serves viewers as ever; the log says what is missing, the client is not told."""
    async with Redis.from_url(own_redis.url) as admin:
        rules = ("on", "nopass", "~*", "&*", "+@all", "-@scripting")
        await admin.acl_setuser("reader", reset=True)
        await command(admin, "ACL", "SETUSER", "reader", *rules)
        await admin.xadd(key_of(run_id), {"type": "chunk", "data": "{}"})
    edge = start_edge(own_redis.url.replace("redis://", "redis://reader:any@"), end_lost_runs=True)
    for path, document in (
        (f"/v1/runs/{run_id}/events", {}),
        ("/v1/runs", {}),
        (f"/v1/runs/{run_id}/commands", {"type": "cancel"}),
    ):
        async with httpx.AsyncClient() as http:
            answer = await http.post(f"{edge.url}{path}", json=document)
        assert_problem(answer, 503, "unavailable")
        assert "NOPERM" not in answer.text
    async with watch(edge.events_url(run_id)) as viewer:
        await viewer.until(1)
        await eventually(lambda: any("leases can't" in line["event"] for line in edge.log()))
    said = [line for line in edge.log() if line["event"] == "not written"]
    assert len(said) == 3
    assert all("permissions" in line["error"] for line in said)


async def test_the_edge_leaves_in_mid_body(
    start_edge: Callable[..., Edge], client: Redis, run_id: str
) -> None:
    edge = start_edge()
    async with posting(edge.port, path_of(run_id)) as request:
        await request.send(numbered(2) + b"{")
        await eventually(lambda: client.xlen(key_of(run_id)))
        edge.process.send_signal(signal.SIGTERM)
        answer = await request.answer()
        problem = assert_problem(answer, 503, "unavailable")
        assert problem["appended"] == 2
        assert int(answer.headers["retry-after"]) >= 1
        assert await request.is_over()
    assert await asyncio.to_thread(edge.process.wait, 10) == 0
    assert edge.traces() == ""


async def test_the_edge_leaves_while_redis_is_away(
    start_edge: Callable[..., Edge], own_redis: RedisProcess, run_id: str
) -> None:
    edge = start_edge(own_redis.url)
    async with posting(edge.port, path_of(run_id)) as request:
        await request.send(numbered(2))
        await eventually(lambda: edge.metric("runcast_published_events_total") == 2)
        own_redis.kill()
        await request.send(numbered(3))
        # Tried again, and in vain.
        await asyncio.sleep(0.3)
        edge.process.send_signal(signal.SIGTERM)
        problem = assert_problem(await request.answer(), 503, "unavailable")
    assert (problem["appended"], problem["unknown"]) == (2, 3)
    assert await asyncio.to_thread(edge.process.wait, 10) == 0
    assert edge.traces() == ""


# ---- the guide


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
async def test_the_lines_of_the_guide_work(edge: Edge, client: Redis) -> None:
    await client.delete(*(key_of(run_id) for run_id in ("42", "43", "44")))
    guide = (Path(__file__).parents[2] / "docs" / "publishing.md").read_text()
    blocks = [
        block for block in re.findall(r"```sh\n(.*?)```", guide, re.DOTALL) if "curl" in block
    ]
    assert len(blocks) >= 5
    script = "\n".join(blocks).replace("http://127.0.0.1:8080", edge.url)
    script = script.replace("curl ", "curl -sS --fail-with-body --max-time 10 ")
    process = await asyncio.create_subprocess_exec(
        *("bash", "-e", "-o", "pipefail", "-c", script),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(30):
        out, err = await process.communicate()
    assert process.returncode == 0, (out, err)
    found = await entries(client, "43")
    assert [fields.get("type") for _, fields in found] == ["chunk", "done"]
    assert len(await entries(client, "42")) == len(await entries(client, "44")) == 1
