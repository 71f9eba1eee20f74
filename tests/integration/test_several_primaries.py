"""Several servers that know nothing of each other, with runs spread over them by hash."""

from collections.abc import Callable, Iterator

import pytest
import redis
from redis.crc import key_slot

from tests.support.commands import run_command
from tests.support.edges import Edge
from tests.support.servers import RedisProcess, binary_of
from tests.support.viewer import together, watch
from tests.support.waiting import eventually


@pytest.fixture
def primaries(redis_kind: str) -> Iterator[list[RedisProcess]]:
    if redis_kind not in ("valkey", "debian-redis"):
        pytest.skip("needs servers that the test may kill")
    servers = [RedisProcess(binary_of(redis_kind)) for _ in range(3)]
    for server in servers:
        server.start()
    yield servers
    for server in servers:
        server.close()


def home(run_id: str, primaries: list[RedisProcess]) -> RedisProcess:
    """As any producer would find it."""
    return primaries[key_slot(f"run:{run_id}".encode()) * len(primaries) // 16384]


def publish(run_id: str, primaries: list[RedisProcess]) -> str:
    with redis.Redis.from_url(home(run_id, primaries).url, decode_responses=True) as worker:
        entry_id = worker.xadd(f"run:{run_id}", {"type": "chunk", "data": "{}"})
    assert isinstance(entry_id, str)
    return entry_id


async def test_runs_are_found_where_they_are(
    start_edge: Callable[..., Edge], primaries: list[RedisProcess], run_id: str
) -> None:
    edge = start_edge(" ".join(server.url for server in primaries))
    runs = [f"{run_id}-{number}" for number in range(12)]
    assert {home(run, primaries) for run in runs} == set(primaries)
    first = [publish(run, primaries) for run in runs]
    async with together(watch(edge.events_url(run)) for run in runs) as viewers:
        for viewer in viewers:
            await viewer.until(1)
        second = [publish(run, primaries) for run in runs]
        for viewer in viewers:
            await viewer.until(2)
        assert [viewer.ids for viewer in viewers] == [
            list(ids) for ids in zip(first, second, strict=True)
        ]


async def test_one_that_is_down_is_its_own_runs_trouble(
    start_edge: Callable[..., Edge], primaries: list[RedisProcess], run_id: str
) -> None:
    edge = start_edge(" ".join(server.url for server in primaries))
    runs = [f"{run_id}-{number}" for number in range(12)]
    down = home(runs[0], primaries)
    others = [run for run in runs if home(run, primaries) is not down]
    async with together(watch(edge.events_url(run)) for run in others) as viewers:
        for viewer in viewers:
            await viewer.until_caught_up()
        down.kill()
        ids = [publish(run, primaries) for run in others]
        for viewer in viewers:
            await viewer.until(1)
        assert [viewer.ids for viewer in viewers] == [[entry_id] for entry_id in ids]
        down.start()
        async with watch(edge.events_url(runs[0])) as viewer:
            await viewer.until_caught_up(within=30)
            entry_id = publish(runs[0], primaries)
            await eventually(lambda: viewer.ids == [entry_id])


async def test_publishing_finds_the_one(primaries: list[RedisProcess], run_id: str) -> None:
    urls = " ".join(server.url for server in primaries)
    outcome = await run_command("publish", run_id, "--data", "{}", "--redis-url", urls)
    assert outcome.code == 0, outcome.err
    with redis.Redis.from_url(home(run_id, primaries).url) as worker:
        assert worker.xlen(f"run:{run_id}") == 1
