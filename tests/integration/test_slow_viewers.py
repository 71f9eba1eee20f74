"""Slow is not dropped, dead is; neither costs more than a bound, nor delays anyone."""

import asyncio
import socket
from collections.abc import Callable

from redis.asyncio import Redis

from tests.support.edges import Edge
from tests.support.producer import append, key_of
from tests.support.viewer import together, watch
from tests.support.waiting import eventually

PADDING = "x" * 10_000


async def flood(client: Redis, run_id: str, count: int) -> list[str]:
    async with client.pipeline(transaction=False) as pipeline:
        for _ in range(count):
            pipeline.xadd(key_of(run_id), {"data": PADDING})
        ids: list[str] = await pipeline.execute()
    return ids


async def test_a_viewer_that_stops_reading_for_a_while_misses_nothing(
    edge: Edge, client: Redis, run_id: str
) -> None:
    ids = [await append(client, run_id)]
    slow_before = edge.metric("runcast_slow_subscribers_total")
    async with (
        watch(edge.events_url(run_id), reading=False) as slow,
        watch(edge.events_url(run_id)) as quick,
    ):
        await quick.until_caught_up()
        for _ in range(20):
            ids += await flood(client, run_id, 50)
            # The quick one is not held up by the slow one.
            await quick.until(len(ids))
        await eventually(lambda: edge.metric("runcast_slow_subscribers_total") > slow_before)
        slow.start_reading()
        await slow.until(len(ids), within=20)
        ids += await flood(client, run_id, 1)
        await slow.until(len(ids))
    assert slow.ids == quick.ids == ids
    assert slow.gaps == []


async def test_a_viewer_that_takes_nothing_is_dropped_and_its_memory_freed(
    start_edge: Callable[..., Edge], client: Redis, run_id: str
) -> None:
    edge = start_edge(stall_timeout_seconds=1.5)
    async with (
        watch(edge.events_url(run_id), reading=False) as dead,
        watch(edge.events_url(run_id)) as quick,
    ):
        await quick.until_caught_up()
        ids = await flood(client, run_id, 1000)
        await quick.until(1000, within=20)
        await eventually(lambda: edge.metric("runcast_stalled_subscribers_total") == 1)
        await eventually(lambda: edge.metric("runcast_subscribers") == 1)
        # Reset, not left to the kernel.
        dead.start_reading()
        await dead.until_ended()
        assert not dead.whole
    assert quick.ids == ids
    assert edge.metric("runcast_disconnects_total", reason="stalled") == 1


async def test_viewers_that_leave_are_let_go(edge: Edge, client: Redis, run_id: str) -> None:
    before = edge.metric("runcast_disconnects_total", reason="client_gone")
    for half_close in (False, True):
        async with watch(edge.events_url(run_id)) as viewer:
            await viewer.until_caught_up()
            if half_close:
                # A closed sending side can't be told from a closed connection: it counts as one.
                assert viewer.writer is not None
                viewer.writer.write_eof()
                await viewer.until_ended()
    await eventually(
        lambda: edge.metric("runcast_disconnects_total", reason="client_gone") == before + 2
    )
    await eventually(lambda: edge.metric("runcast_subscribers") == 0)


async def test_clients_that_leave_at_any_moment(edge: Edge, client: Redis, run_id: str) -> None:
    await flood(client, run_id, 100)
    request = f"GET /v1/runs/{run_id}/events HTTP/1.1\r\nhost: x\r\n\r\n".encode()
    for cut_after in range(0, len(request) + 1, 7):
        connection = socket.create_connection(("127.0.0.1", edge.port))
        connection.sendall(request[:cut_after])
        connection.close()
    await asyncio.gather(*(leave_after(edge, run_id, size) for size in range(0, 4000, 400)))
    await eventually(lambda: edge.metric("runcast_subscribers") == 0)
    assert edge.traces() == ""


async def leave_after(edge: Edge, run_id: str, size: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", edge.port)
    writer.write(f"GET /v1/runs/{run_id}/events HTTP/1.1\r\nhost: x\r\n\r\n".encode())
    if size:
        await reader.readexactly(size)
    writer.transport.abort()


async def test_a_run_lingers_and_is_then_let_go(
    start_edge: Callable[..., Edge], client: Redis, run_id: str
) -> None:
    edge = start_edge(linger_seconds=1)
    async with watch(edge.events_url(run_id)) as viewer:
        await viewer.until_caught_up()
        first = await append(client, run_id)
        await viewer.until(1)
    assert edge.metric("runcast_runs_watched") == 1
    hits = edge.metric("runcast_memory_hits_total")
    pages = edge.metric("runcast_pages_read_total")
    async with watch(edge.events_url(run_id), "0-0") as viewer:
        await viewer.until_caught_up()
        assert viewer.ids == [first]
    assert edge.metric("runcast_memory_hits_total") > hits
    # No read for the viewer: at most the sweep's own.
    assert edge.metric("runcast_pages_read_total") <= pages + 1
    await eventually(lambda: edge.metric("runcast_runs_watched") == 0)


async def test_pages_are_read_once_for_all_who_want_them(
    start_edge: Callable[..., Edge], client: Redis, run_id: str
) -> None:
    edge = start_edge()
    await flood(client, run_id, 1000)
    async with together(watch(edge.events_url(run_id)) for _ in range(30)) as viewers:
        await asyncio.gather(*(viewer.until(1000, within=30) for viewer in viewers))
        assert edge.metric("runcast_pages_shared_total") > 0
