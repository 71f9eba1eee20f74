"""Leaving: quick, in order, and never in the middle of a frame."""

import asyncio
import signal
from collections.abc import Callable

import httpx
import pytest
from redis.asyncio import Redis

from tests.support.edges import Edge
from tests.support.producer import append
from tests.support.viewer import together, watch
from tests.support.waiting import eventually


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_hundred_viewers_are_sent_elsewhere(
    start_edge: Callable[..., Edge], client: Redis, run_id: str, number: signal.Signals
) -> None:
    edge = start_edge(drain_seconds=1)
    async with together(watch(edge.events_url(run_id)) for _ in range(100)) as viewers:
        await asyncio.gather(*(viewer.until_caught_up() for viewer in viewers))
        told_first = [viewer.decoder.retry for viewer in viewers]

        async def keep_appending() -> None:
            while True:
                await append(client, run_id, "x" * 3000)

        appending = asyncio.create_task(keep_appending())
        await asyncio.gather(*(viewer.until(5) for viewer in viewers))
        loop = asyncio.get_running_loop()
        started = loop.time()
        code = await loop.run_in_executor(None, lambda: edge.stop(number, within=10))
        assert loop.time() - started < 5
        assert code == 0
        appending.cancel()
        for viewer in viewers:
            await viewer.until_ended()
            assert viewer.whole
            assert not viewer.decoder.mid_frame
        # Each when to come back, so that they don't come back together.
        told_last = [viewer.decoder.retry for viewer in viewers]
        assert len(set(told_last)) > 40
        assert sum(last != first for first, last in zip(told_first, told_last, strict=True)) > 80
        assert edge.traces() == ""


async def test_a_stalled_viewer_does_not_hold_it_up(
    start_edge: Callable[..., Edge], client: Redis, run_id: str
) -> None:
    edge = start_edge(drain_seconds=0.5)
    for _ in range(300):
        await append(client, run_id, "x" * 20_000)
    async with watch(edge.events_url(run_id), reading=False):
        await eventually(lambda: edge.metric("runcast_delivered_bytes_total") > 200_000)
        loop = asyncio.get_running_loop()
        started = loop.time()
        assert await loop.run_in_executor(None, edge.stop) == 0
        assert loop.time() - started < 5


async def test_a_long_poll_does_not_hold_it_up(
    start_edge: Callable[..., Edge], client: Redis, run_id: str
) -> None:
    edge = start_edge()
    async with httpx.AsyncClient(timeout=30) as http:
        waiting = asyncio.create_task(
            http.get(
                edge.events_url(run_id), params={"wait": 25}, headers={"accept": "application/json"}
            )
        )
        await eventually(lambda: edge.metric("runcast_runs_watched") == 1)
        loop = asyncio.get_running_loop()
        started = loop.time()
        assert await loop.run_in_executor(None, edge.stop) == 0
        assert loop.time() - started < 5
        assert (await waiting).json()["events"] == []


async def test_while_it_leaves(start_edge: Callable[..., Edge], run_id: str) -> None:
    edge = start_edge(drain_seconds=3)
    async with together(watch(edge.events_url(run_id)) for _ in range(40)):
        edge.process.send_signal(signal.SIGTERM)
        async with httpx.AsyncClient() as http:

            async def not_ready() -> bool:
                return (await http.get(f"{edge.url}/readyz")).status_code == 503

            await eventually(not_ready)
            assert (await http.get(f"{edge.url}/readyz")).json()["status"] == "draining"
            assert (await http.get(f"{edge.url}/healthz")).status_code == 200
            answer = await http.get(edge.events_url(run_id), headers={"accept": "application/json"})
            assert answer.status_code == 503
            async with watch(edge.events_url(run_id)) as late:
                await late.until_ended()
            assert (late.status, late.whole, late.events) == (200, True, [])
            assert late.decoder.retry is not None
        assert edge.process.wait(timeout=10) == 0


async def test_a_second_signal_ends_it_at_once(
    start_edge: Callable[..., Edge], run_id: str
) -> None:
    edge = start_edge(drain_seconds=60)
    async with together(watch(edge.events_url(run_id)) for _ in range(40)):
        edge.process.send_signal(signal.SIGINT)
        await eventually(lambda: "leaving" in edge.raw_log())
        loop = asyncio.get_running_loop()
        assert await loop.run_in_executor(None, lambda: edge.stop(signal.SIGINT, within=5)) == 0
