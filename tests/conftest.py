"""Fixtures: a Redis of each kind, an edge over it, and a run of one's own."""

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any
from uuid import uuid4

import pytest
import redis.asyncio

from tests.support.edges import Edge
from tests.support.servers import RedisProcess, available_kinds, binary_of, redis_of_kind


@pytest.fixture(scope="session", params=available_kinds())
def redis_kind(request: pytest.FixtureRequest) -> str:
    """Each kind of server that this machine can run."""
    kind: str = request.param
    return kind


@pytest.fixture(scope="session")
def redis_url(redis_kind: str) -> Iterator[str]:
    """A shared server of that kind."""
    with redis_of_kind(redis_kind) as url:
        yield url


@pytest.fixture(scope="session", params=["detached", "asgi"])
def sink_settings(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Each way to a client: the connection taken over from the server, and through ASGI."""
    return {"detach": request.param == "detached"}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves out what says nothing new: ASGI over any but the first kind of Redis."""
    first = available_kinds()[0]
    left_out = [
        item
        for item in items
        if isinstance(item, pytest.Function)
        and hasattr(item, "callspec")
        and item.callspec.params.get("sink_settings") == "asgi"
        and item.callspec.params.get("redis_kind", first) != first
    ]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]


@pytest.fixture(scope="session")
def edge(redis_url: str, sink_settings: dict[str, Any]) -> Iterator[Edge]:
    """A shared edge over the shared server, with quick intervals."""
    edge = Edge(redis_url, **sink_settings)
    yield edge
    edge.close()


@pytest.fixture
def start_edge(redis_url: str, sink_settings: dict[str, Any]) -> Iterator[Callable[..., Edge]]:
    """Starts edges with settings of the test's own; over the shared server unless told else."""
    started: list[Edge] = []

    def start(url: str = redis_url, **settings: Any) -> Edge:
        edge = Edge(url, **sink_settings, **settings)
        started.append(edge)
        return edge

    yield start
    for edge in started:
        edge.close()


@pytest.fixture
def own_redis(redis_kind: str) -> Iterator[RedisProcess]:
    """A server that the test may kill; only of kinds that are a process of ours."""
    if redis_kind not in ("valkey", "debian-redis"):
        pytest.skip("needs a server that the test may kill")
    server = RedisProcess(binary_of(redis_kind))
    server.start()
    yield server
    server.close()


@pytest.fixture
async def client(redis_url: str) -> AsyncIterator["redis.asyncio.Redis"]:
    """A client of the shared server, as a worker has one."""
    async with redis.asyncio.Redis.from_url(redis_url, decode_responses=True) as connection:
        yield connection


@pytest.fixture
def run_id() -> str:
    """A run that no other test has."""
    return f"t-{uuid4().hex}"
