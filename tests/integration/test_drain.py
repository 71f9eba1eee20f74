"""Draining: by an operator's word, of all workers, and in a rolling restart that nobody notices."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from itertools import cycle
from typing import Any
from uuid import uuid4

import httpx
import pytest
from redis.asyncio import Redis

from broker.engine.cancelling import cancel
from tests.rolling.crowd import Crowd
from tests.rolling.producer import Producer
from tests.rolling.restart import rolling_restart
from tests.support.edges import Edge
from tests.support.servers import available_kinds
from tests.support.viewer import together, watch
from tests.support.waiting import eventually


@pytest.fixture(scope="session")
def redis_kind() -> str:
    """Which Redis it is makes no difference here."""
    return available_kinds()[0]


@pytest.fixture
def start(redis_url: str) -> Iterator[Callable[..., Edge]]:
    """Starts edges."""
    started: list[Edge] = []

    def start(**settings: Any) -> Edge:
        started.append(Edge(redis_url, **settings))
        return started[-1]

    yield start
    for edge in started:
        edge.close()


async def post_drain(edge: Edge, document: Any = None) -> Any:
    async with httpx.AsyncClient(timeout=10) as http:
        answer = await http.post(f"{edge.url}/admin/drain", json=document)
    assert answer.status_code == 202, answer.text
    return answer.json()


async def state(edge: Edge) -> str:
    async with httpx.AsyncClient(timeout=10) as http:
        return str((await http.get(f"{edge.url}/readyz")).json()["status"])


async def test_an_operator_has_it_drain_and_it_stays(
    start: Callable[..., Edge], run_id: str
) -> None:
    edge = start(drain_seconds=60, retry_seconds=1)
    loop = asyncio.get_running_loop()
    async with together(watch(edge.events_url(run_id)) for _ in range(64)) as viewers:
        for viewer in viewers:
            await viewer.until_caught_up()
        told_first = [viewer.decoder.retry for viewer in viewers]
        began = loop.time()
        said = await post_drain(edge, {"seconds": 1})
        assert said == {"draining": True, "subscribers": 64, "silent": []}
        assert await state(edge) == "draining"
        # The first word stands.
        assert (await post_drain(edge))["draining"] is True
        async with watch(edge.events_url(run_id)) as late:
            await late.until_ended()
        assert (late.status, late.events) == (200, [])
        assert late.decoder.retry is not None
        await viewers[0].until_ended()
        ended = []
        for viewer in viewers:
            await viewer.until_ended()
            ended.append(loop.time() - began)
            assert viewer.whole
        assert max(ended) > 0.5
        told_last = [viewer.decoder.retry for viewer in viewers]
        assert sum(one != other for one, other in zip(told_first, told_last, strict=True)) > 50
        assert len(set(told_last)) > 30
        assert all(500 <= retry <= 1500 for retry in told_last if retry is not None)
    # Until it is told to end: then it is quick.
    assert edge.process.poll() is None
    assert await state(edge) == "draining"
    async with httpx.AsyncClient() as http:
        assert (await http.get(f"{edge.url}/admin/overview")).json()["draining"] is True
    began = loop.time()
    assert await asyncio.to_thread(edge.stop) == 0
    assert loop.time() - began < 5
    assert {line["reason"] for line in edge.log() if line["event"] == "stream ended"} == {"drain"}
    assert edge.traces() == ""


async def test_a_signal_ends_a_drain_that_goes_on(start: Callable[..., Edge], run_id: str) -> None:
    edge = start(drain_seconds=0.5)
    async with together(watch(edge.events_url(run_id)) for _ in range(64)) as viewers:
        for viewer in viewers:
            await viewer.until_caught_up()
        await post_drain(edge, {"seconds": 600})
        assert await asyncio.to_thread(edge.stop) == 0
        for viewer in viewers:
            await viewer.until_ended()
            assert viewer.whole
    assert edge.traces() == ""


async def test_all_workers_drain_and_so_does_who_takes_a_place(
    start: Callable[..., Edge], run_id: str
) -> None:
    edge = start(workers=2)
    async with together(watch(edge.events_url(run_id)) for _ in range(24)) as viewers:
        for viewer in viewers:
            await viewer.until_caught_up()
        assert (await post_drain(edge, {"seconds": 0.2}))["subscribers"] == 24
        for viewer in viewers:
            await viewer.until_ended()
            assert viewer.whole
    before = edge.workers()
    os.kill(before[1], signal.SIGKILL)
    await eventually(lambda: edge.workers()[1] != before[1])
    # A connection each: some fall to the new one.
    assert {await state(edge) for _ in range(12)} == {"draining"}
    assert await asyncio.to_thread(edge.stop) == 0
    assert edge.traces() == ""


# ---- a rolling restart


class Balancer:
    """As a load balancer does: in turn, to those that say they are ready."""

    def __init__(self, ports: list[int]) -> None:
        self._ready = list(ports)
        self._ports = ports
        self._turns = cycle(range(1 << 30))

    def choose(self) -> int:
        ports = self._ready or self._ports
        return ports[next(self._turns) % len(ports)]

    def is_ready(self, port: int) -> bool:
        return port in self._ready

    @asynccontextmanager
    async def looking(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self._keep_looking())
        try:
            yield
        finally:
            await cancel([task])

    async def _keep_looking(self) -> None:
        async with httpx.AsyncClient(timeout=1) as http:
            while True:
                self._ready = [port for port in self._ports if await self._answers(http, port)]
                await asyncio.sleep(0.05)

    @staticmethod
    async def _answers(http: httpx.AsyncClient, port: int) -> bool:
        try:
            return (await http.get(f"http://127.0.0.1:{port}/readyz")).status_code == 200
        except httpx.TransportError:
            return False


async def test_a_rolling_restart_loses_and_doubles_nothing(
    start: Callable[..., Edge], client: Redis
) -> None:
    viewers, drain_seconds = 100, 1.5
    settings = {"drain_seconds": drain_seconds, "retry_seconds": 0.5}
    edges = [start(**settings) for _ in range(2)]
    ports = [edge.port for edge in edges]
    balancer = Balancer(ports)
    run_ids = [f"t-{uuid4().hex}" for _ in range(2)]
    producer = Producer(client, run_ids, 20)

    async def restarted(place: int) -> Edge:
        edge = await asyncio.to_thread(lambda: start(port=ports[place], **settings))
        await eventually(lambda: balancer.is_ready(ports[place]))
        return edge

    async with balancer.looking():
        outcome = await rolling_restart(
            edges,
            Crowd(balancer.choose),
            producer,
            run_ids,
            viewers=viewers,
            drain_seconds=drain_seconds,
            restarted=restarted,
        )
    assert (outcome.lost, outcome.doubled, outcome.gaps) == (0, 0, 0)
    assert outcome.refused == {}
    assert outcome.deliveries == sum(producer.appended[run_id] * 50 for run_id in run_ids)
    for step in outcome.steps:
        assert step.viewers >= 40
        # All came back, and not together.
        assert step.reconnects >= step.viewers
        assert step.peak_reconnects <= 2 * step.rate
        assert step.left_seconds < 3 * drain_seconds
