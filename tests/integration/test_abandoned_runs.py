"""A run that was begun by the request that watches it is told to cancel when its viewer is gone."""

import json
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import httpx
import redis.asyncio

from tests.support.edges import Edge
from tests.support.waiting import eventually

SECONDS = 0.3


def asking_edge(start_edge: Callable[..., Edge], **settings: Any) -> Edge:
    return start_edge(
        profile="native,run-agent", publish=True, **{"abandoned_seconds": SECONDS, **settings}
    )


def ask(client: httpx.AsyncClient, edge: Edge, session: str, **parameters: Any) -> Any:
    body = {"query": "why?", "session_id": session, "parameters": parameters}
    return client.stream("POST", f"{edge.url}/v1/agents/thinker/stream", json=body)


async def commands(client: Any, run_id: str) -> list[dict[str, str]]:
    entries = await client.xrange(f"run:{run_id}:commands")
    return [fields for _, fields in entries]


async def test_the_worker_is_told_once_the_viewer_has_gone(
    start_edge: Callable[..., Edge], client: "redis.asyncio.Redis"
) -> None:
    edge = asking_edge(start_edge)
    async with httpx.AsyncClient() as http, ask(http, edge, uuid4().hex) as stream:
        run_id = stream.headers["runcast-run"]
        assert await commands(client, run_id) == []

    async def told() -> bool:
        return bool(await commands(client, run_id))

    await eventually(told)
    (command,) = await commands(client, run_id)
    assert command["type"] == "cancel"
    assert json.loads(command["data"]) == {"reason": "viewer gone"}


async def test_who_comes_back_in_time_keeps_it_going(
    start_edge: Callable[..., Edge], client: "redis.asyncio.Redis"
) -> None:
    """At another edge, as well."""
    edge, other = asking_edge(start_edge), asking_edge(start_edge)
    session = uuid4().hex
    async with httpx.AsyncClient() as http:
        async with ask(http, edge, session) as stream:
            run_id = stream.headers["runcast-run"]
        async with ask(http, other, session, resume_from_index=0) as stream:
            assert stream.headers["runcast-run"] == run_id
            # Its wait is over when one that began after it is.
            async with ask(http, edge, uuid4().hex) as later:
                later_run = later.headers["runcast-run"]

            async def told() -> bool:
                return bool(await commands(client, later_run))

            await eventually(told)
            assert await commands(client, run_id) == []


async def test_who_has_seen_the_end_leaves_nothing_to_cancel(
    start_edge: Callable[..., Edge], client: "redis.asyncio.Redis"
) -> None:
    edge = asking_edge(start_edge)
    async with httpx.AsyncClient() as http:
        async with ask(http, edge, uuid4().hex) as stream:
            run_id = stream.headers["runcast-run"]
            await client.xadd(f"run:{run_id}", {"type": "done", "data": "{}"})
            text = (await stream.aread()).decode()
        assert "event: done\n" in text
        async with ask(http, edge, uuid4().hex) as later:
            later_run = later.headers["runcast-run"]

        async def told() -> bool:
            return bool(await commands(client, later_run))

        await eventually(told)
        assert await commands(client, run_id) == []


async def test_a_session_that_is_not_known_can_not_be_resumed(
    start_edge: Callable[..., Edge],
) -> None:
    edge = asking_edge(start_edge)
    async with (
        httpx.AsyncClient() as http,
        ask(http, edge, uuid4().hex, resume_from_index=3) as stream,
    ):
        problem = json.loads(await stream.aread())
        assert (stream.status_code, problem["status"]) == (404, 404)
        assert problem["error"]["code"] == "NOT_FOUND"
