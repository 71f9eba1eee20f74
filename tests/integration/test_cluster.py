"""A Cluster: slots that move, primaries that fail, and a run that stays followed."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator

import httpx
import pytest
from redis.asyncio.cluster import RedisCluster

from tests.support.commands import run_command
from tests.support.deployments import ClusterDeployment
from tests.support.edges import Edge
from tests.support.servers import binary_of
from tests.support.viewer import Viewer, together, watch
from tests.support.waiting import eventually


@pytest.fixture
def cluster(redis_kind: str) -> Iterator[ClusterDeployment]:
    if redis_kind not in ("valkey", "debian-redis"):
        pytest.skip("needs servers that the test may kill")
    with ClusterDeployment(binary_of(redis_kind), replicas=1) as deployment:
        yield deployment


@pytest.fixture
async def worker(cluster: ClusterDeployment) -> AsyncIterator[RedisCluster]:
    url = cluster.url.replace("redis+cluster://", "redis://").partition(",")[0]
    async with RedisCluster.from_url(url, decode_responses=True) as connection:
        yield connection


async def publish(worker: RedisCluster, run_id: str, count: int = 1) -> list[str]:
    return [
        str(await worker.xadd(f"run:{run_id}", {"type": "chunk", "data": '{"text":"x"}'}))
        for _ in range(count)
    ]


async def arrives(worker: RedisCluster, run_id: str, viewer: Viewer) -> None:
    (entry_id,) = await publish(worker, run_id)
    await eventually(lambda: entry_id in viewer.ids)


def names(run_id: str, cluster: ClusterDeployment) -> list[str]:
    """A run for each of the primaries."""
    found: dict[int, str] = {}
    number = 0
    while len(found) < 3:
        name = f"{run_id}-{number}"
        found.setdefault(cluster.shard_of(f"run:{name}"), name)
        number += 1
    return [found[shard] for shard in sorted(found)]


@pytest.mark.parametrize("tail", ["auto", "block"])
async def test_runs_of_every_primary(
    start_edge: Callable[..., Edge],
    cluster: ClusterDeployment,
    worker: RedisCluster,
    run_id: str,
    tail: str,
) -> None:
    edge = start_edge(cluster.url, tail=tail)
    runs = names(run_id, cluster)
    history = {run: await publish(worker, run, 3) for run in runs}
    async with together(watch(edge.events_url(run)) for run in runs) as viewers:
        for run, viewer in zip(runs, viewers, strict=True):
            await viewer.until(3)
            assert viewer.ids == history[run]
            await arrives(worker, run, viewer)
    async with httpx.AsyncClient() as http:
        assert (await http.get(f"{edge.url}/readyz")).status_code == 200
        page = await http.get(edge.events_url(runs[0]), headers={"accept": "application/json"})
    assert [event["id"] for event in page.json()["events"]][:3] == history[runs[0]]
    assert not edge.traces()


async def test_a_slot_that_moves_under_a_viewer(
    start_edge: Callable[..., Edge], cluster: ClusterDeployment, worker: RedisCluster, run_id: str
) -> None:
    """Half-way, the old node sends whoever asks to the new one. Notifications stay behind: until
    the slot has its new owner, only the sweep finds what is new."""
    edge = start_edge(cluster.url, sweep_seconds=1)
    key = f"run:{run_id}"
    ids = await publish(worker, run_id, 2)
    slot, target = cluster.slot_of(key), (cluster.shard_of(key) + 1) % 3
    async with watch(edge.events_url(run_id)) as viewer:
        await viewer.until(2)
        move = await asyncio.to_thread(cluster.begin_move, slot, target)
        ids += await publish(worker, run_id)
        await viewer.until(3)
        await asyncio.to_thread(move.move_keys)
        ids += await publish(worker, run_id)
        async with watch(edge.events_url(run_id), ids[0]) as asked:
            await asked.until(3)
            assert asked.ids == ids[1:]
        await asyncio.to_thread(move.finish)
        ids += await publish(worker, run_id)
        await viewer.until(5)
        await arrives(worker, run_id, viewer)
        assert viewer.ids[:5] == ids
        assert viewer.gaps == []
    assert not edge.traces()


async def test_a_primary_that_is_killed(
    start_edge: Callable[..., Edge], cluster: ClusterDeployment, worker: RedisCluster, run_id: str
) -> None:
    edge = start_edge(cluster.url)
    runs = names(run_id, cluster)
    for run in runs:
        await publish(worker, run, 2)
    async with together(watch(edge.events_url(run)) for run in runs) as viewers:
        for viewer in viewers:
            await viewer.until(2)
        await asyncio.to_thread(cluster.kill_primary, 0)
        await asyncio.to_thread(cluster.until_settled)
        for run, viewer in zip(runs, viewers, strict=True):
            await arrives(worker, run, viewer)
        told = [[gap["reason"] for gap in viewer.gaps] for viewer in viewers]
        assert told == [["failover"], [], []]
        assert all(len(viewer.ids) == 3 for viewer in viewers)


async def test_a_planned_failover(
    start_edge: Callable[..., Edge], cluster: ClusterDeployment, worker: RedisCluster, run_id: str
) -> None:
    edge = start_edge(cluster.url)
    (run, *_) = names(run_id, cluster)
    await publish(worker, run, 2)
    async with watch(edge.events_url(run)) as viewer:
        await viewer.until(2)
        await asyncio.to_thread(cluster.fail_over, 0)
        await arrives(worker, run, viewer)
        assert len(viewer.ids) == 3


async def test_slots_that_nobody_serves(
    start_edge: Callable[..., Edge], cluster: ClusterDeployment, worker: RedisCluster, run_id: str
) -> None:
    edge = start_edge(cluster.url)

    async def readiness() -> int:
        async with httpx.AsyncClient() as http:
            return (await http.get(f"{edge.url}/readyz")).status_code

    async def ready() -> bool:
        return await readiness() == 200

    async def not_ready() -> bool:
        return await readiness() == 503

    (run, *_) = names(run_id, cluster)
    await publish(worker, run, 2)
    async with watch(edge.events_url(run)) as viewer:
        await viewer.until(2)
        stopped = cluster.primary(0)
        shard = [stopped, *(node for node in cluster.nodes if node.replicates(stopped))]
        for node in shard:
            node.pause()
        await eventually(not_ready)
        for node in shard:
            node.resume()
        await eventually(ready, within=30)
        await asyncio.to_thread(cluster.until_settled)
        await arrives(worker, run, viewer)
        assert len(viewer.ids) == 3


async def test_publishing_to_a_cluster(cluster: ClusterDeployment, run_id: str) -> None:
    outcome = await run_command(
        "publish", run_id, "--type", "chunk", "--data", "{}", "--redis-url", cluster.url
    )
    assert outcome.code == 0, outcome.err
    node = cluster.node_of(f"run:{run_id}")
    assert node.ask("XLEN", f"run:{run_id}") == 1
