"""An edge that is killed costs its viewers nothing: they go on at the other, through the proxy."""

import asyncio
from collections.abc import Callable
from typing import Final

from redis.asyncio import Redis

from tests.proxies.proxy import Proxy
from tests.proxies.watching import client_of, come_back
from tests.support.edges import Edge
from tests.support.producer import append
from tests.support.waiting import eventually

_VIEWERS: Final = 4
"""Over each version of HTTP."""
_EVENTS: Final = 60


async def test_viewers_of_a_killed_edge_go_on_at_the_other(
    start_proxy: Callable[..., Proxy],
    edges: tuple[Edge, Edge],
    redis_url: str,
    client: Redis,
    run_id: str,
) -> None:
    killed = Edge(redis_url)
    written = []
    try:
        proxy = start_proxy(killed.port, edges[0].port)
        url = proxy.events_url(run_id)
        async with (
            client_of(proxy) as http1,
            client_of(proxy, http2=True) as http2,
            come_back(http1, url, _VIEWERS) as some,
            come_back(http2, url, _VIEWERS) as others,
        ):
            viewers = [*some, *others]
            for number in range(_EVENTS):
                if number == _EVENTS // 3:
                    killed.process.kill()
                written.append(await append(client, run_id, str(number)))
                await asyncio.sleep(0.01)
            written.append(await append(client, run_id, "{}", "done"))
            await eventually(lambda: all(viewer.stopped_by for viewer in viewers), within=30)
    finally:
        killed.close()
    assert [viewer.stopped_by for viewer in viewers] == [204] * len(viewers)
    assert all(viewer.ids == written for viewer in viewers)
    assert not any(viewer.gaps for viewer in viewers)
    moved = [viewer for viewer in viewers if len(viewer.streams) > 1]
    assert 0 < len(moved) < len(viewers), "the streams were spread over both edges"
