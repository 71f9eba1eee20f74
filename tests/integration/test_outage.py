"""Redis goes away and comes back: viewers stay, nothing is lost that Redis has not lost."""

from collections.abc import AsyncIterator, Callable

import httpx
import pytest
import redis.asyncio

from broker.redis.connections import command
from tests.support.edges import Edge
from tests.support.producer import append
from tests.support.servers import RedisProcess, binary_of
from tests.support.viewer import watch
from tests.support.waiting import eventually


def connect_worker(url: str) -> redis.asyncio.Redis:
    """A worker's client. Over RESP2: with RESP3, redis-py 8.1 does not see that a pooled
    connection was closed, and the first command after a restart fails."""
    return redis.asyncio.Redis.from_url(url, decode_responses=True, protocol=2)


async def readiness(edge: Edge) -> tuple[int, str]:
    async with httpx.AsyncClient() as http:
        answer = await http.get(f"{edge.url}/readyz")
    return answer.status_code, answer.json()["status"]


@pytest.fixture
async def worker(own_redis: RedisProcess) -> AsyncIterator["redis.asyncio.Redis"]:
    """A worker's client of the server that the test may kill."""
    async with connect_worker(own_redis.url) as connection:
        yield connection


@pytest.fixture
def durable_redis(redis_kind: str) -> object:
    """A server that keeps every event through a kill."""
    if redis_kind not in ("valkey", "debian-redis"):
        pytest.skip("needs a server that the test may kill")
    server = RedisProcess(binary_of(redis_kind), append_only=True)
    server.start()
    yield server
    server.close()


async def test_a_restart_that_keeps_everything(
    durable_redis: RedisProcess, start_edge: Callable[..., Edge], run_id: str
) -> None:
    edge = start_edge(durable_redis.url)
    async with connect_worker(durable_redis.url) as worker:
        ids = [await append(worker, run_id) for _ in range(3)]
        async with (
            watch(edge.events_url(run_id)) as viewer,
            watch(edge.events_url(f"{run_id}-quiet")) as quiet,
        ):
            await viewer.until(3)
            await quiet.until_caught_up()
            assert await readiness(edge) == (200, "ready")
            durable_redis.kill()
            await eventually(lambda: readiness_is(edge, (503, "redis-unreachable")))
            heartbeats = len(viewer.decoder.comments)
            await eventually(lambda: len(viewer.decoder.comments) >= heartbeats + 2)
            durable_redis.start()
            ids += [await append(worker, run_id) for _ in range(3)]
            await viewer.until(6)
            await eventually(lambda: readiness_is(edge, (200, "ready")))
            first = await append(worker, f"{run_id}-quiet")
            await quiet.until(1)
        assert viewer.ids == ids
        assert quiet.ids == [first]
        assert viewer.gaps == quiet.gaps == []
    assert edge.metric("runcast_redis_reconnects_total") >= 1
    assert edge.metric("runcast_tail_interruptions_total") >= 1


async def readiness_is(edge: Edge, wanted: tuple[int, str]) -> bool:
    return await readiness(edge) == wanted


async def test_a_restart_that_loses_everything(
    own_redis: RedisProcess,
    worker: "redis.asyncio.Redis",
    start_edge: Callable[..., Edge],
    run_id: str,
) -> None:
    edge = start_edge(own_redis.url)
    last = [await append(worker, run_id) for _ in range(3)][-1]
    async with watch(edge.events_url(run_id)) as viewer:
        await viewer.until(3)
        own_redis.kill()
        own_redis.start(empty=True)
        await eventually(lambda: viewer.gaps)
        assert viewer.gaps == [{"requested": last, "resumed_at": None, "reason": "unknown"}]
        new = await append(worker, run_id)
        await viewer.until(4)
        assert viewer.ids[-1] == new


async def test_a_restart_that_loses_the_tail(
    own_redis: RedisProcess,
    worker: "redis.asyncio.Redis",
    start_edge: Callable[..., Edge],
    run_id: str,
) -> None:
    edge = start_edge(own_redis.url)
    for number in range(1, 6):
        await append(worker, run_id, id=f"{number}-0")
    async with watch(edge.events_url(run_id)) as viewer:
        await viewer.until(5)
        own_redis.kill()
        own_redis.start(empty=True)
        async with connect_worker(own_redis.url) as after:
            for number in range(1, 4):
                await append(after, run_id, id=f"{number}-0")
        await viewer.until(8)
    assert viewer.gaps[-1] == {"requested": "5-0", "resumed_at": "1-0", "reason": "reset"} or (
        viewer.gaps == [{"requested": "5-0", "resumed_at": None, "reason": "unknown"}]
    )
    assert viewer.ids[-3:] == ["1-0", "2-0", "3-0"]


async def test_a_redis_that_hangs(
    own_redis: RedisProcess,
    worker: "redis.asyncio.Redis",
    start_edge: Callable[..., Edge],
    run_id: str,
) -> None:
    """Its connections stay open and say nothing: only time tells."""
    edge = start_edge(own_redis.url)
    ids = [await append(worker, run_id)]
    async with watch(edge.events_url(run_id)) as viewer:
        await viewer.until(1)
        own_redis.pause()
        await eventually(lambda: readiness_is(edge, (503, "redis-unreachable")))
        await eventually(lambda: edge.metric("runcast_tail_interruptions_total") >= 1)
        own_redis.resume()
        ids.append(await append(worker, run_id))
        await viewer.until(2)
        assert viewer.ids == ids
        assert viewer.gaps == []


async def test_killed_connections(
    own_redis: RedisProcess,
    worker: "redis.asyncio.Redis",
    start_edge: Callable[..., Edge],
    run_id: str,
) -> None:
    edge = start_edge(own_redis.url)
    ids: list[str] = []
    async with watch(edge.events_url(run_id)) as viewer:
        await viewer.until_caught_up()
        for _ in range(5):
            await command(worker, "CLIENT KILL", "TYPE", "normal", "SKIPME", "yes")
            ids.append(await append(worker, run_id))
        await viewer.until(5)
    assert viewer.ids == ids
    assert viewer.gaps == []


async def test_new_viewers_while_redis_is_away(
    own_redis: RedisProcess, start_edge: Callable[..., Edge], run_id: str
) -> None:
    edge = start_edge(own_redis.url)
    own_redis.kill()
    async with watch(edge.events_url(run_id)) as viewer:
        await viewer.until_ended()
    # An EventSource would give up for good on 503.
    assert viewer.status == 200
    assert viewer.whole
    assert viewer.decoder.retry is not None
    async with httpx.AsyncClient() as http:
        answer = await http.get(
            edge.events_url(run_id), headers={"accept": "application/json"}, timeout=10
        )
    assert answer.status_code == 503
    assert answer.headers["content-type"] == "application/problem+json"
    assert int(answer.headers["retry-after"]) >= 1


async def test_a_replay_across_an_outage(
    durable_redis: RedisProcess, start_edge: Callable[..., Edge], run_id: str
) -> None:
    edge = start_edge(durable_redis.url)
    padding = "x" * 20_000
    async with connect_worker(durable_redis.url) as worker:
        ids = [await append(worker, run_id, padding) for _ in range(500)]
        async with watch(edge.events_url(run_id), reading=False) as viewer:
            await eventually(lambda: edge.metric("runcast_delivered_bytes_total") > 200_000)
            durable_redis.kill()
            viewer.start_reading()
            await eventually(lambda: edge.metric("runcast_redis_errors_total") >= 1)
            durable_redis.start()
            await viewer.until(500, within=20)
            assert viewer.ids == ids
            assert viewer.gaps == []


async def test_over_a_unix_socket(
    own_redis: RedisProcess,
    worker: "redis.asyncio.Redis",
    start_edge: Callable[..., Edge],
    run_id: str,
) -> None:
    edge = start_edge(own_redis.socket_url)
    async with watch(edge.events_url(run_id)) as viewer:
        await viewer.until_caught_up()
        entry_id = await append(worker, run_id)
        await viewer.until(1)
    assert viewer.ids == [entry_id]


async def test_the_log_says_once_that_redis_is_away_and_once_that_it_is_back(
    own_redis: RedisProcess, start_edge: Callable[..., Edge], run_id: str
) -> None:
    own_redis.kill()
    edge = start_edge(own_redis.url)
    away = [line for line in edge.log() if line["event"] == "redis does not answer"]
    assert [line["level"] for line in away] == ["warning"]
    for _ in range(3):
        assert await readiness(edge) == (503, "redis-unreachable")
    own_redis.start()
    await eventually(lambda: readiness_is(edge, (200, "ready")))
    said = [line["event"] for line in edge.log() if line["event"].startswith("redis ")]
    assert said == ["redis does not answer", "redis answers again"]
    async with watch(edge.events_url(run_id)) as viewer:
        await viewer.until_caught_up()
