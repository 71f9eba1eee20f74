"""Fixtures: a Redis of each kind, an edge over it, and a run of one's own."""

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Final
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


WAYS: Final[dict[str, dict[str, Any]]] = {
    "detached-notify": {"detach": True, "tail": "notify"},
    "asgi-block": {"detach": False, "tail": "block"},
    "detached-block": {"detach": True, "tail": "block"},
}
"""Each way to a client (the connection taken over from the server, and through ASGI), and each way
of noticing what is new."""


@pytest.fixture(scope="session", params=list(WAYS))
def edge_settings(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Each way through an edge."""
    return WAYS[request.param]


_OF_CONNECTIONS: Final = frozenset(
    {
        "test_abandoned_runs",
        "test_bad_input",
        "test_compression",
        "test_connection",
        "test_pacing",
        "test_run_agent",
        "test_shutdown",
        "test_slow_viewers",
        "test_tail_command",
    }
)
"""What is between an edge and its clients, whichever Redis is behind it."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves out what says little new: the first kind of Redis has the first two ways, the others
    have the third, which needs nothing of a server, where the server is what matters."""
    first = available_kinds()[0]
    ways = list(WAYS)
    left_out = []
    for item in items:
        if not isinstance(item, pytest.Function) or not hasattr(item, "callspec"):
            continue
        way = item.callspec.params.get("edge_settings")
        kind = item.callspec.params.get("redis_kind", first)
        other_way = way in ways and (way == ways[2]) != (kind != first)
        if other_way or (kind != first and item.path.stem in _OF_CONNECTIONS):
            left_out.append(item)
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]


@pytest.fixture(scope="session")
def edge(redis_url: str, edge_settings: dict[str, Any]) -> Iterator[Edge]:
    """A shared edge over the shared server, with quick intervals."""
    edge = Edge(redis_url, **edge_settings)
    yield edge
    edge.close()


@pytest.fixture
def start_edge(redis_url: str, edge_settings: dict[str, Any]) -> Iterator[Callable[..., Edge]]:
    """Starts edges with settings of the test's own; over the shared server unless told else."""
    started: list[Edge] = []

    def start(url: str = redis_url, **settings: Any) -> Edge:
        edge = Edge(url, **{**edge_settings, **settings})
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
