"""Runs whose worker is gone: their viewers are told the end, once, and in time."""

import asyncio
import contextlib
import json
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Final

import httpx
import pytest
from redis.asyncio import Redis

from broker.redis.appending import Appender, NewEvent
from broker.redis.opening import make_deployment
from broker.redis.streams import KeyTemplate
from broker.wire.event import EventFormat
from broker.wire.ids import RunId
from tests.support.edges import Edge
from tests.support.producer import append, key_of
from tests.support.servers import RedisProcess, available_kinds
from tests.support.viewer import together, watch
from tests.support.waiting import eventually


@pytest.fixture(scope="session")
def redis_kind() -> str:
    """What is asked of Redis is tested on each kind elsewhere (test_requests_and_leases.py)."""
    return available_kinds()[0]


@pytest.fixture(scope="session")
def edge_settings() -> dict[str, Any]:
    """Looks at runs without a lease often enough for a test to see it."""
    return {"end_lost_runs": True, "publish": True, "lease_look_seconds": 1}


@pytest.fixture(scope="module")
def edge(redis_url: str, edge_settings: dict[str, Any]) -> Iterator[Edge]:
    """A shared edge with these settings."""
    edge = Edge(redis_url, **edge_settings)
    yield edge
    edge.close()


@pytest.fixture
async def worker(redis_url: str) -> AsyncIterator[Appender]:
    """A worker that keeps leases."""
    async with make_deployment(redis_url, connections=1, timeout_seconds=2) as deployment:
        yield Appender(deployment, KeyTemplate("run:{run_id}"), EventFormat())


async def begin(worker: Appender, run_id: str, lease_seconds: float) -> None:
    """A worker's first sign of life."""
    await worker.append(
        RunId(run_id),
        [NewEvent("chunk", "{}")],
        producer="worker",
        sequence=1,
        lease_seconds=lease_seconds,
    )


async def test_viewers_are_told_when_the_lease_runs_out(
    edge: Edge, worker: Appender, run_id: str
) -> None:
    ended = edge.metric("runcast_lost_runs_total")
    async with watch(edge.events_url(run_id)) as viewer:
        await viewer.until_caught_up()
        await begin(worker, run_id, 1.0)
        began = time.monotonic()
        await viewer.until_ended()
        took = time.monotonic() - began
    assert [event.type for event in viewer.events] == ["chunk", "worker_lost"]
    data = json.loads(viewer.events[-1].data)
    assert data["reason"] == "worker_lost"
    assert data["error"]
    # Not before its time, and not long after.
    assert 0.9 < took < 5
    assert edge.metric("runcast_lost_runs_total") == ended + 1


_WORKER: Final = """
import asyncio, sys
from broker import RunPublisher

async def work(url, run_id):
    async with RunPublisher(url) as publisher:
        async with publisher.run(run_id, lease_seconds=1.5) as run:
            while True:
                await run.emit("chunk", {})
                await asyncio.sleep(0.2)

asyncio.run(work(*sys.argv[1:]))
"""


async def test_a_worker_that_is_killed_in_mid_run(
    edge: Edge, client: Redis, redis_url: str, run_id: str
) -> None:
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", _WORKER, redis_url, run_id)
    try:
        async with watch(edge.events_url(run_id)) as viewer:
            # Longer than a lease: it is renewed.
            await viewer.until(9, within=20)
            process.kill()
            killed = time.monotonic()
            await viewer.until_ended()
            took = time.monotonic() - killed
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
    assert [event.type for event in viewer.events].count("worker_lost") == 1
    assert viewer.events[-1].type == "worker_lost"
    assert took < 5
    assert await client.xlen(key_of(run_id)) == len(viewer.events)


async def test_who_comes_after_the_worker_has_died_is_told(
    edge: Edge, client: Redis, worker: Appender, run_id: str
) -> None:
    await begin(worker, run_id, 0.2)
    # Nobody watches: the run stays as it is.
    await asyncio.sleep(0.5)
    assert await client.xlen(key_of(run_id)) == 1
    async with watch(edge.events_url(run_id)) as viewer:
        await viewer.until_ended()
    assert [event.type for event in viewer.events] == ["chunk", "worker_lost"]


async def test_a_run_ends_once_however_many_edges_look(
    edge: Edge, start_edge: Callable[..., Edge], client: Redis, worker: Appender, run_id: str
) -> None:
    edges = [edge, start_edge()]
    viewers = [watch(one.events_url(run_id)) for one in edges for _ in range(2)]
    await begin(worker, run_id, 1.0)
    async with together(viewers):
        for viewer in viewers:
            await viewer.until_ended()
    assert await client.xlen(key_of(run_id)) == 2
    assert len({tuple(viewer.ids) for viewer in viewers}) == 1


async def test_a_worker_that_renews_its_lease_is_not_lost(
    edge: Edge, worker: Appender, run_id: str
) -> None:
    async with watch(edge.events_url(run_id)) as viewer:
        await begin(worker, run_id, 2)
        for _ in range(10):
            await asyncio.sleep(0.3)
            await worker.touch(RunId(run_id), lease_seconds=2)
        assert [event.type for event in viewer.events] == ["chunk"]
        await worker.append(
            RunId(run_id), [NewEvent("done", "{}", final=True)], producer="worker", sequence=2
        )
        await viewer.until_ended()
    assert [event.type for event in viewer.events] == ["chunk", "done"]


async def test_a_lease_that_begins_late_is_found(
    edge: Edge, client: Redis, worker: Appender, run_id: str
) -> None:
    """A run that has begun with plain XADD, and whose worker keeps a lease from then on."""
    async with watch(edge.events_url(run_id)) as viewer:
        await append(client, run_id)
        await viewer.until(1)
        await asyncio.sleep(0.7)
        await begin(worker, run_id, 0.2)
        await viewer.until_ended()
    assert viewer.events[-1].type == "worker_lost"


async def test_runs_without_a_lease_are_left_alone(edge: Edge, client: Redis, run_id: str) -> None:
    async with watch(edge.events_url(run_id)) as viewer:
        await append(client, run_id)
        await viewer.until(1)
        await asyncio.sleep(2)
        assert not viewer.ended.is_set()
    assert await client.xlen(key_of(run_id)) == 1


async def test_a_run_that_no_worker_takes(
    start_edge: Callable[..., Edge], client: Redis, run_id: str
) -> None:
    edge = start_edge(queued_timeout_seconds=1)
    async with httpx.AsyncClient() as http:
        for name in (run_id, f"{run_id}-taken"):
            answer = await http.post(f"{edge.url}/v1/runs", json={"run_id": name})
            assert answer.status_code == 201
        # One has a worker that keeps no lease.
        await http.post(edge.events_url(f"{run_id}-taken"), json={"type": "chunk"})
    async with (
        watch(edge.events_url(run_id)) as viewer,
        watch(edge.events_url(f"{run_id}-taken")) as other,
    ):
        await viewer.until_ended()
        assert [event.type for event in viewer.events] == ["queued", "no_worker"]
        await asyncio.sleep(0.5)
        assert not other.ended.is_set()


async def test_only_where_it_is_wanted(
    start_edge: Callable[..., Edge], client: Redis, worker: Appender, run_id: str
) -> None:
    edge = start_edge(end_lost_runs=False)
    async with watch(edge.events_url(run_id)) as viewer:
        await begin(worker, run_id, 0.2)
        await viewer.until(1)
        await asyncio.sleep(1.5)
        assert not viewer.ended.is_set()
    assert await client.xlen(key_of(run_id)) == 1


async def test_redis_is_away_for_a_while(
    start_edge: Callable[..., Edge], own_redis: RedisProcess, run_id: str
) -> None:
    edge = start_edge(own_redis.url, redis_timeout_seconds=0.5)
    async with make_deployment(own_redis.url, connections=1, timeout_seconds=2) as deployment:
        worker = Appender(deployment, KeyTemplate("run:{run_id}"), EventFormat())
        async with watch(edge.events_url(run_id)) as viewer:
            await begin(worker, run_id, 1.0)
            await viewer.until(1)
            own_redis.pause()
            try:
                await eventually(
                    lambda: any("leases can't" in line["event"] for line in edge.log())
                )
            finally:
                own_redis.resume()
            await viewer.until_ended()
    assert viewer.events[-1].type == "worker_lost"
    said = [line["event"] for line in edge.log()]
    assert said.count("leases can't be looked at") == 1
    assert "leases can be looked at again" in said
    assert edge.traces() == ""
