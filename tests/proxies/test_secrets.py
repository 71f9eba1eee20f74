"""A ticket in a URL stays out of all that a proxy writes."""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Final
from uuid import uuid4

import httpx

from tests.proxies.proxy import Proxy
from tests.proxies.upstream import BreaksOff, Upstream
from tests.proxies.watching import client_of
from tests.support.waiting import eventually

_PATH: Final = "/v1/runs/seen-in-the-log/events"


async def test_tickets_are_not_logged(start_proxy: Callable[..., Proxy]) -> None:
    ticket = f"secret-{uuid4().hex}"
    async with Upstream() as one, Upstream() as two:
        proxy = await asyncio.to_thread(start_proxy, one.port, two.port)
        url = f"{proxy.url}{_PATH}?ticket={ticket}"
        async with client_of(proxy) as http1, client_of(proxy, http2=True) as http2:
            # Served, cut in two ways, and not to be served: each has lines of its own in a log.
            for client in (http1, http2):
                assert (await client.get(url)).status_code == 200
            for way in BreaksOff:
                one.breaks_off = two.breaks_off = way
                with contextlib.suppress(httpx.RemoteProtocolError):
                    assert (await http1.get(url)).status_code in (502, 503)
            await one.close()
            await two.close()
            assert (await http2.get(url)).status_code in (502, 503)
    assert all(f"ticket={ticket}" in told.target for told in one.told + two.told)
    # HAProxy has no line for one of these.
    await eventually(lambda: proxy.written().count(_PATH) >= 4)
    proxy.end()
    assert ticket not in proxy.written()
