"""Heartbeats keep a quiet stream open past a proxy's idle limit, which would else cut it."""

from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from typing import Final

import pytest
from redis.asyncio import Redis

from tests.proxies.programs import Program
from tests.proxies.proxy import Proxy
from tests.proxies.watching import Stream, client_of, watch
from tests.support.edges import Edge
from tests.support.producer import append
from tests.support.waiting import eventually

_IDLE_SECONDS: Final = 2
_BEATS: Final = 8
"""Of the edges' half second: twice the limit."""


@pytest.fixture(scope="module")
def silent(redis_url: str) -> Iterator[Edge]:
    """An edge without heartbeats."""
    edge = Edge(redis_url, heartbeat_seconds=600)
    yield edge
    edge.close()


async def test_heartbeats_keep_it_open(
    program: Program,
    start_proxy: Callable[..., Proxy],
    edges: tuple[Edge, Edge],
    silent: Edge,
    client: Redis,
    run_id: str,
) -> None:
    async with AsyncExitStack() as stack:

        async def both_ways(edge: Edge) -> list[Stream]:
            proxy = start_proxy(edge.port, edge.port, idle_seconds=_IDLE_SECONDS)
            streams = []
            for http2 in (False, True):
                viewer = await stack.enter_async_context(client_of(proxy, http2=http2))
                url = proxy.events_url(run_id)
                streams.append(await stack.enter_async_context(watch(viewer, url)))
            return streams

        quiet, kept = await both_ways(silent), await both_ways(edges[0])
        if program.ends_silence:
            await eventually(lambda: all(stream.ended for stream in quiet), within=15)
        await eventually(lambda: all(stream.heartbeats >= _BEATS for stream in kept), within=15)
        assert not any(stream.ended for stream in kept)
        assert all(stream.first_byte_after is not None for stream in quiet), (
            "not cut from the start"
        )

        event_id = await append(client, run_id)
        for stream in kept if program.ends_silence else kept + quiet:
            await stream.until(event_id)
