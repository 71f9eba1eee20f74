"""`runcast serve --workers`: several processes that look like one edge from outside."""

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from redis.asyncio import Redis

from broker.server import workers
from broker.server.listening import AddressInUse, bind, bind_for_workers
from broker.settings import load_settings
from tests.support.commands import run_command
from tests.support.edges import Edge, is_running
from tests.support.producer import append
from tests.support.servers import free_port, redis_of_kind
from tests.support.viewer import together, watch
from tests.support.waiting import eventually

Series = tuple[str, frozenset[tuple[str, str]]]


@pytest.fixture(scope="module")
def redis_url() -> Iterator[str]:
    """One kind of Redis is enough: here the edge is what varies."""
    with redis_of_kind("valkey") as url:
        yield url


@pytest.fixture(scope="module")
def edge_settings() -> dict[str, Any]:
    """As users get it."""
    return {}


async def scrape(url: str) -> str:
    async with httpx.AsyncClient(timeout=20) as http:
        answer = await http.get(f"{url}/metrics")
        assert answer.status_code == 200
        return answer.text


def values(text: str) -> dict[Series, float]:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def counted(text: str) -> dict[Series, float]:
    """What must never fall."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        if family.type in ("counter", "histogram")
        for sample in family.samples
    }


@contextlib.asynccontextmanager
async def watched_counters(url: str) -> AsyncIterator[list[dict[Series, float]]]:
    """Scrapes all the time; no counter may ever be lower than before."""
    scrapes: list[dict[Series, float]] = []
    over = asyncio.Event()

    async def keep_scraping() -> None:
        while not over.is_set():
            # One that is with a worker as it is killed ends with it.
            with contextlib.suppress(httpx.TransportError):
                scrapes.append(counted(await scrape(url)))

    scraping = asyncio.create_task(keep_scraping())
    try:
        yield scrapes
        over.set()
        await scraping
    finally:
        scraping.cancel()
        await asyncio.gather(scraping, return_exceptions=True)
    for before, after in pairwise(scrapes):
        for series, value in before.items():
            assert after[series] >= value, series


def stop_in_thread(edge: Edge, number: signal.Signals = signal.SIGTERM) -> asyncio.Future[int]:
    return asyncio.get_running_loop().run_in_executor(None, lambda: edge.stop(number))


async def test_viewers_are_spread_and_all_get_every_event(
    start_edge: Callable[..., Edge], client: Redis, run_id: str
) -> None:
    edge = start_edge(workers=2)
    ids = [await append(client, run_id, str(number)) for number in range(5)]
    async with together(watch(edge.events_url(run_id)) for _ in range(40)) as viewers:
        await asyncio.gather(*(viewer.until_caught_up() for viewer in viewers))
        ids += [await append(client, run_id, "live") for _ in range(5)]
        ids.append(await append(client, run_id, "{}", "done"))
        await asyncio.gather(*(viewer.until_ended() for viewer in viewers))
    assert all(viewer.ids == ids and viewer.whole for viewer in viewers)
    await eventually(lambda: edge.raw_log().count("stream ended") == 40)
    ended = Counter(line["worker"] for line in edge.log() if line["event"] == "stream ended")
    assert ended.keys() == {1, 2}
    if sys.platform == "linux":
        # Evenly by chance: fewer than 5 of 40 are one in ten million.
        assert min(ended.values()) >= 5


async def test_the_scrape_is_the_sum(
    start_edge: Callable[..., Edge], client: Redis, run_id: str
) -> None:
    edge = start_edge(workers=2)
    async with together(watch(edge.events_url(run_id)) for _ in range(20)) as viewers:
        await asyncio.gather(*(viewer.until_caught_up() for viewer in viewers))
        # Whichever is asked.
        for _ in range(6):
            now = values(await scrape(edge.url))
            assert now["runcast_subscribers", frozenset()] == 20
            assert now["runcast_live_subscribers", frozenset()] == 20
            assert now["runcast_workers", frozenset()] == 2
            assert now["runcast_runs_watched", frozenset()] == 2
            assert now["runcast_draining", frozenset()] == 0
            assert [value for (name, _), value in now.items() if name == "python_info"] == [1]
        await append(client, run_id)
        await asyncio.gather(*(viewer.until(1) for viewer in viewers))
    sent = sum(len(viewer.body) for viewer in viewers)

    async def all_counted() -> bool:
        now = values(await scrape(edge.url))
        return (
            now["runcast_frames_delivered_total", frozenset()] == 20
            and now["runcast_event_to_socket_seconds_count", frozenset()] == 20
            and now["runcast_event_to_socket_seconds_bucket", frozenset({("le", "+Inf")})] == 20
            and now["runcast_subscribers", frozenset()] == 0
            and now["runcast_delivered_bytes_total", frozenset()] >= sent
        )

    await eventually(all_counted)
    assert now["process_resident_memory_bytes", frozenset()] > 2 * (20 << 20)


async def test_a_killed_worker_loses_nobody_anything(
    start_edge: Callable[..., Edge], client: Redis, run_id: str
) -> None:
    edge = start_edge(workers=2)
    ids = [await append(client, run_id, str(number)) for number in range(5)]
    before = edge.workers()
    async with together(watch(edge.events_url(run_id)) for _ in range(20)) as viewers:
        await asyncio.gather(*(viewer.until_caught_up() for viewer in viewers))
        async with watched_counters(edge.url) as scrapes:
            await eventually(lambda: scrapes)
            os.kill(before[1], signal.SIGKILL)
            await eventually(lambda: any(viewer.ended.is_set() for viewer in viewers))
            ids.append(await append(client, run_id, "while it is away"))
            cut = [viewer for viewer in viewers if viewer.ended.is_set()]
            stayed = [viewer for viewer in viewers if not viewer.ended.is_set()]
            assert cut
            assert stayed
            async with together(
                watch(edge.events_url(run_id), viewer.decoder.last_event_id) for viewer in cut
            ) as back:
                await eventually(lambda: edge.workers()[1] != before[1])
                ids += [
                    await append(client, run_id, "live"),
                    await append(client, run_id, "", "done"),
                ]
                for viewer in (*stayed, *back):
                    await viewer.until_ended()
            for gone, again in zip(cut, back, strict=True):
                assert gone.ids + again.ids == ids
                assert again.gaps == []
            assert all(viewer.ids == ids and viewer.whole for viewer in stayed)
            seen = len(scrapes)
            await eventually(lambda: len(scrapes) > seen + 2)
    assert edge.workers()[2] == before[2]
    assert edge.metric("runcast_workers") == 2
    # The dead one's are in it.
    assert edge.metric("runcast_subscriptions_total") >= 20
    assert await stop_in_thread(edge) == 0


async def test_new_connections_wait_for_the_next_worker(
    start_edge: Callable[..., Edge], client: Redis, run_id: str
) -> None:
    edge = start_edge(workers=2)
    event_id = await append(client, run_id, "{}", "done")
    before = edge.workers()
    os.kill(before[1], signal.SIGKILL)
    await eventually(lambda: not is_running(before[1]))
    async with together(watch(edge.events_url(run_id)) for _ in range(20)) as viewers:
        await asyncio.gather(*(viewer.until_ended() for viewer in viewers))
    assert all(viewer.ids == [event_id] for viewer in viewers)


async def test_a_worker_that_gets_sigterm_leaves_in_order_and_is_replaced(
    start_edge: Callable[..., Edge], run_id: str
) -> None:
    edge = start_edge(workers=2)
    before = edge.workers()
    async with together(watch(edge.events_url(run_id)) for _ in range(20)) as viewers:
        await asyncio.gather(*(viewer.until_caught_up() for viewer in viewers))
        async with watched_counters(edge.url):
            os.kill(before[2], signal.SIGTERM)
            await eventually(lambda: edge.workers()[2] != before[2])
        ended = [viewer for viewer in viewers if viewer.ended.is_set()]
        assert ended
        assert len(ended) < 20
        assert all(viewer.whole for viewer in ended)
    assert not is_running(before[2])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_one_signal_ends_all_in_order(
    start_edge: Callable[..., Edge], client: Redis, run_id: str, number: signal.Signals
) -> None:
    edge = start_edge(workers=2, drain_seconds=1)
    pids = edge.workers().values()
    async with together(watch(edge.events_url(run_id)) for _ in range(100)) as viewers:
        await asyncio.gather(*(viewer.until_caught_up() for viewer in viewers))
        loop = asyncio.get_running_loop()
        started = loop.time()
        left = stop_in_thread(edge, number)
        await asyncio.gather(*(viewer.until_ended() for viewer in viewers))
        assert await left == 0
        assert loop.time() - started < 5
    assert all(viewer.whole and not viewer.decoder.mid_frame for viewer in viewers)
    assert not any(is_running(pid) for pid in pids)
    assert edge.traces() == ""


async def test_while_it_leaves_it_is_not_ready(
    start_edge: Callable[..., Edge], run_id: str
) -> None:
    edge = start_edge(workers=2, drain_seconds=3)
    async with together(watch(edge.events_url(run_id)) for _ in range(80)) as viewers:
        await asyncio.gather(*(viewer.until_caught_up() for viewer in viewers))
        edge.process.send_signal(signal.SIGTERM)
        async with httpx.AsyncClient() as http:

            async def state() -> str:
                return str((await http.get(f"{edge.url}/readyz")).json()["status"])

            async def draining() -> bool:
                return await state() == "draining"

            await eventually(draining)
        loop = asyncio.get_running_loop()
        assert await loop.run_in_executor(None, lambda: edge.process.wait(timeout=10)) == 0


async def test_a_second_signal_ends_it_at_once(
    start_edge: Callable[..., Edge], run_id: str
) -> None:
    edge = start_edge(workers=2, drain_seconds=60)
    pids = edge.workers().values()
    async with together(watch(edge.events_url(run_id)) for _ in range(80)) as viewers:
        await asyncio.gather(*(viewer.until_caught_up() for viewer in viewers))
        edge.process.send_signal(signal.SIGINT)
        await eventually(lambda: edge.raw_log().count("leaving") == 3)
        assert await stop_in_thread(edge, signal.SIGINT) == 0
    assert not any(is_running(pid) for pid in pids)


async def test_ctrl_c_reaches_the_supervisor_alone(start_edge: Callable[..., Edge]) -> None:
    edge = start_edge(workers=2)
    group = os.getpgid(edge.process.pid)
    assert group not in {os.getpgid(pid) for pid in edge.workers().values()}


async def test_no_worker_outlives_its_supervisor(
    start_edge: Callable[..., Edge], run_id: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    edge = start_edge(workers=2)
    pids = edge.workers().values()
    assert os.listdir(tmp_path)
    async with together(watch(edge.events_url(run_id)) for _ in range(10)) as viewers:
        await asyncio.gather(*(viewer.until_caught_up() for viewer in viewers))
        edge.process.kill()
        await asyncio.gather(*(viewer.until_ended() for viewer in viewers))
        assert all(viewer.whole for viewer in viewers)
        await eventually(lambda: not any(is_running(pid) for pid in pids))
    assert os.listdir(tmp_path) == []


async def test_a_worker_that_hangs_does_not_hold_up_the_scrape(
    start_edge: Callable[..., Edge], run_id: str
) -> None:
    edge = start_edge(workers=2)
    async with together(watch(edge.events_url(run_id)) for _ in range(20)) as viewers:
        await asyncio.gather(*(viewer.until_caught_up() for viewer in viewers))
        assert edge.metric("runcast_subscribers") == 20
        stopped = edge.workers()[1]
        os.kill(stopped, signal.SIGSTOP)
        # Those that fall to the stopped one wait for it; no other may.
        asked = [asyncio.create_task(scrape(edge.url)) for _ in range(24)]
        try:
            done, _ = await asyncio.wait(asked, timeout=10, return_when=asyncio.FIRST_COMPLETED)
            now = values(done.pop().result())
            assert now["runcast_subscribers", frozenset()] == 20
            assert now["runcast_workers", frozenset()] == 2
        finally:
            os.kill(stopped, signal.SIGCONT)
        for text in await asyncio.gather(*asked):
            assert values(text)["runcast_subscribers", frozenset()] == 20


async def test_a_worker_that_hangs_is_killed_when_all_leave(
    start_edge: Callable[..., Edge],
) -> None:
    edge = start_edge(workers=2, drain_seconds=0.1)
    os.kill(edge.workers()[1], signal.SIGSTOP)
    assert await stop_in_thread(edge) == 1
    assert "worker 1 did not leave in order (SIGKILL)" in edge.raw_log().splitlines()[-1]


async def test_workers_that_never_listen_end_the_command(tmp_path: Path) -> None:
    # Too long for the address of a Unix socket.
    temporary = tmp_path / ("x" * 120)
    temporary.mkdir()
    outcome = await run_command(
        *("serve", "--workers", "2", "--port", "0", "--redis-url", "redis://127.0.0.1:1/0"),
        environment={"TMPDIR": str(temporary)},
    )
    assert outcome.code == 1
    last = outcome.err.splitlines()[-1]
    assert last.startswith("runcast: worker ")
    assert last.endswith("ended 3 times before it listened (exit code 3): see the log")
    assert list(temporary.iterdir()) == []


async def test_an_address_in_use_is_said_in_one_line(start_edge: Callable[..., Edge]) -> None:
    edge = start_edge(workers=2)
    for count in ("1", "2"):
        outcome = await run_command(
            *("serve", "--workers", count, "--port", str(edge.port)),
            *("--redis-url", "redis://127.0.0.1:1/0"),
        )
        assert outcome.code == 2
        assert f"runcast: can't listen on 127.0.0.1:{edge.port} " in outcome.err.splitlines()[-1]


def test_a_port_that_others_share_is_refused() -> None:
    with contextlib.ExitStack() as opened:
        port = free_port()
        for listener in bind_for_workers("127.0.0.1", port, 3):
            opened.enter_context(listener)
            assert listener.getsockname()[1] == port
        with pytest.raises(AddressInUse):
            bind_for_workers("127.0.0.1", port, 2)
        with socket.create_connection(("127.0.0.1", port)):
            pass
    bind("127.0.0.1", port).close()


async def test_a_worker_that_says_nothing_is_killed(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(workers, "_COMMAND", (sys.executable, "-c", "input(); input()"))
    monkeypatch.setattr(workers, "_SILENT_SECONDS", 0.1)
    listeners = bind_for_workers("127.0.0.1", 0, 2)
    with pytest.raises(workers.WorkersFailed, match=r"3 times before it listened \(SIGKILL\)"):
        await workers.supervise(
            load_settings({"workers": 2}),
            "redis://127.0.0.1:1/0",
            listeners,
            on_listening=lambda: None,
        )
    assert all(listener.fileno() == -1 for listener in listeners)
