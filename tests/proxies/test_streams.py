"""A proxy passes a stream on as it comes."""

import pytest
from redis.asyncio import Redis

from tests.proxies.measuring import measure
from tests.proxies.proxy import Proxy
from tests.proxies.watching import client_of, watch
from tests.support.producer import append
from tests.support.waiting import eventually


@pytest.mark.parametrize("http2", [False, True], ids=["http1", "http2"])
async def test_nothing_is_held_back(proxy: Proxy, client: Redis, run_id: str, http2: bool) -> None:
    async with client_of(proxy, http2=http2) as viewer:
        url = proxy.events_url(run_id)
        figures = await measure(viewer, url, client, run_id, events=20)
    assert figures.http_version == ("HTTP/2" if http2 else "HTTP/1.1")
    assert figures.content_encoding is None
    assert figures.first_byte < 0.5
    assert figures.median < 0.25


async def test_the_end_of_a_run_is_the_end_of_the_stream(
    proxy: Proxy, client: Redis, run_id: str
) -> None:
    written = [await append(client, run_id), await append(client, run_id, "{}", "done")]
    async with client_of(proxy, http2=True) as viewer:
        async with watch(viewer, proxy.events_url(run_id)) as stream:
            await eventually(lambda: stream.ended)
            assert stream.ids == written
        again = await viewer.get(proxy.events_url(run_id), headers={"last-event-id": written[-1]})
    assert (again.status_code, again.content) == (204, b"")
