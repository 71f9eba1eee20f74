"""The same over TLS, with a certificate that is checked: one server, Sentinel's, a Cluster."""

import asyncio
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest
import redis.asyncio

from tests.support.deployments import (
    Certificates,
    ClusterDeployment,
    SentinelDeployment,
    TlsRedis,
)
from tests.support.edges import Edge
from tests.support.producer import append
from tests.support.viewer import watch
from tests.support.waiting import eventually

_PASSWORD = "behind-tls"


@pytest.fixture
def binary() -> str:
    """A server with TLS."""
    found = shutil.which("redis-server")
    if found is None:
        pytest.skip("no redis-server with TLS here; the embedded Valkey is built without")
    return found


@pytest.fixture
def certificates() -> Iterator[Certificates]:
    with closing(Certificates()) as made:
        yield made


async def test_over_tls(binary: str, start_edge: Callable[..., Edge], run_id: str) -> None:
    with TlsRedis(binary) as server:
        edge = start_edge(server.url)
        async with (
            redis.asyncio.Redis.from_url(server.url, decode_responses=True) as worker,
            watch(edge.events_url(run_id)) as viewer,
        ):
            await viewer.until_caught_up()
            ids = [await append(worker, run_id), await append(worker, run_id, "{}", "done")]
            await viewer.until_ended()
            assert viewer.ids == ids


async def test_an_unknown_certificate_is_refused(
    binary: str, start_edge: Callable[..., Edge], run_id: str
) -> None:
    with TlsRedis(binary) as server:
        edge = start_edge(server.untrusting_url)
        async with watch(edge.events_url(run_id)) as viewer:
            await viewer.until_ended()
        assert viewer.events == []
        assert not viewer.caught_up


async def test_sentinel_over_tls_with_passwords(
    binary: str, certificates: Certificates, start_edge: Callable[..., Edge], run_id: str
) -> None:
    """Every connection is authenticated, to the sentinels and to the primary they name."""
    with SentinelDeployment(
        binary, password=_PASSWORD, sentinel_password="watchman", certificates=certificates
    ) as sentinel:
        edge = start_edge(sentinel.url)
        async with watch(edge.events_url(run_id)) as viewer:
            await viewer.until_caught_up()
            await asyncio.to_thread(sentinel.kill_primary)
            async with redis.asyncio.Redis.from_url(
                sentinel.primary_url, decode_responses=True
            ) as worker:
                entry_id = await append(worker, run_id)
            await eventually(lambda: viewer.ids == [entry_id], within=20)
        assert _PASSWORD not in edge.raw_log()


async def test_a_cluster_over_tls(
    binary: str, certificates: Certificates, start_edge: Callable[..., Edge], run_id: str
) -> None:
    with ClusterDeployment(binary, certificates=certificates) as cluster:
        edge = start_edge(cluster.url)
        node = cluster.node_of(f"run:{run_id}")
        async with watch(edge.events_url(run_id)) as viewer:
            await viewer.until_caught_up()
            node.ask("XADD", f"run:{run_id}", "*", "type", "chunk", "data", "{}")
            await viewer.until(1)
