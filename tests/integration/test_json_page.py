"""A run's events as JSON pages, with long polling."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

import httpx
from redis.asyncio import Redis

from tests.support.edges import Edge
from tests.support.producer import append, key_of
from tests.support.waiting import eventually


async def page(edge: Edge, run_id: str, cursor: str | None = None, **query: Any) -> dict[str, Any]:
    headers = {"accept": "application/json"}
    if cursor is not None:
        headers["last-event-id"] = cursor
    async with httpx.AsyncClient(timeout=30) as http:
        answer = await http.get(edge.events_url(run_id), params=query, headers=headers)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/json"
    document: dict[str, Any] = answer.json()
    return document


async def test_a_page(edge: Edge, client: Redis, run_id: str) -> None:
    first = await append(client, run_id, '{"a":1}', id="1767225600123-0")
    second = await append(client, run_id, "text", None, id="1767225600124-7")
    assert await page(edge, run_id) == {
        "run_id": run_id,
        "events": [
            {
                "id": first,
                "type": "chunk",
                "data": '{"a":1}',
                "time": "2026-01-01T00:00:00.123Z",
            },
            {"id": second, "type": None, "data": "text", "time": "2026-01-01T00:00:00.124Z"},
        ],
        "next": second,
        "has_more": False,
        "final": False,
        "gap": None,
    }


async def test_pages_follow_one_another(edge: Edge, client: Redis, run_id: str) -> None:
    ids = [await append(client, run_id, id=f"0-{number}") for number in range(1, 24)]
    await append(client, run_id, "{}", "done", id="0-24")
    seen: list[str] = []
    cursor: str | None = None
    while True:
        document = await page(edge, run_id, cursor, limit=5)
        assert len(document["events"]) <= 5
        seen += [event["id"] for event in document["events"]]
        cursor = document["next"]
        assert document["has_more"] is not document["final"]
        if document["final"]:
            break
    assert seen == [*ids, "0-24"]
    again = await page(edge, run_id, cursor)
    assert (again["events"], again["final"], again["next"]) == ([], True, cursor)


async def test_a_page_is_as_long_as_was_asked_for(
    start_edge: Callable[..., Edge], client: Redis, run_id: str
) -> None:
    """Also the first of a run, whose events' size is not known yet; unless they are large."""
    edge = start_edge()
    for _ in range(150):
        await append(client, run_id)
    assert len((await page(edge, run_id))["events"]) == 100
    assert len((await page(edge, run_id, limit=1000))["events"]) == 150
    for _ in range(40):
        await append(client, f"{run_id}-large", "x" * 200_000)
    large = await page(edge, f"{run_id}-large", limit=1000)
    assert 1 <= len(large["events"]) < 40
    assert large["has_more"]


async def test_a_gap(edge: Edge, client: Redis, run_id: str) -> None:
    ids = [await append(client, run_id) for _ in range(4)]
    await client.xtrim(key_of(run_id), maxlen=1, approximate=False)
    document = await page(edge, run_id, ids[0])
    assert document["gap"] == {"requested": ids[0], "resumed_at": ids[3], "reason": "trimmed"}
    assert [event["id"] for event in document["events"]] == [ids[3]]


async def test_a_run_that_is_not_there(edge: Edge, run_id: str) -> None:
    document = await page(edge, run_id)
    assert (document["events"], document["next"], document["final"]) == ([], "0-0", False)
    assert (await page(edge, run_id, "7-0"))["gap"]["reason"] == "unknown"


async def test_types(edge: Edge, client: Redis, run_id: str) -> None:
    await append(client, run_id, event_type="a")
    last = await append(client, run_id, event_type="b")
    document = await page(edge, run_id, types="a")
    assert [event["type"] for event in document["events"]] == ["a"]
    assert document["next"] == last


async def test_long_polling_answers_when_there_is_something(
    edge: Edge, client: Redis, run_id: str
) -> None:
    first = await append(client, run_id, event_type="a")
    waiting = asyncio.create_task(page(edge, run_id, first, wait=20, types="a"))
    await eventually(lambda: edge.metric("runcast_runs_watched") >= 1)
    await append(client, run_id, event_type="not asked for")
    second = await append(client, run_id, event_type="a")
    async with asyncio.timeout(5):
        document = await waiting
    assert [event["id"] for event in document["events"]] == [second]


async def test_long_polling_gives_up_in_time(edge: Edge, client: Redis, run_id: str) -> None:
    first = await append(client, run_id)
    started = time.monotonic()
    document = await page(edge, run_id, first, wait=0.5)
    assert time.monotonic() - started >= 0.5
    assert (document["events"], document["next"]) == ([], first)


async def test_long_polling_waits_for_a_run_to_begin(
    edge: Edge, client: Redis, run_id: str
) -> None:
    waiting = asyncio.create_task(page(edge, run_id, wait=20))
    await eventually(lambda: edge.metric("runcast_runs_watched") >= 1)
    first = await append(client, run_id)
    async with asyncio.timeout(5):
        assert [event["id"] for event in (await waiting)["events"]] == [first]
