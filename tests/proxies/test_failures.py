"""Edges that can't be reached or break off: what a proxy may do again, and what it says."""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Final

import httpx
import pytest

from tests.proxies.programs import Program
from tests.proxies.proxy import Proxy
from tests.proxies.upstream import BreaksOff, Upstream
from tests.proxies.watching import client_of
from tests.support.waiting import eventually

_UNREADY: Final = 4
"""Answers after which a proxy takes an edge for unready."""
_EVENT: Final = b'{"type":"chunk"}\n'


@pytest.mark.parametrize("http2", [False, True], ids=["http1", "http2"])
async def test_a_post_is_sent_once_only(start_proxy: Callable[..., Proxy], http2: bool) -> None:
    async with Upstream() as one, Upstream() as two:
        proxy = await asyncio.to_thread(start_proxy, one.port, two.port)
        one.breaks_off = two.breaks_off = BreaksOff.BEFORE_ANSWER
        async with client_of(proxy, http2=http2) as client:
            # HAProxy gives no answer to an edge's that is cut, but cuts its own.
            with contextlib.suppress(httpx.RemoteProtocolError):
                answer = await client.post(f"{proxy.url}/v1/runs/r/events", content=_EVENT)
                assert answer.status_code in (502, 503)
        (told,) = one.told + two.told
    assert (told.method, told.body) == ("POST", _EVENT)


async def test_where_one_edge_is_gone_the_other_is_asked(start_proxy: Callable[..., Proxy]) -> None:
    async with Upstream() as one, Upstream() as two:
        proxy = await asyncio.to_thread(start_proxy, one.port, two.port)
        await one.close()
        async with client_of(proxy) as client:
            url = f"{proxy.url}/v1/runs/r/events"
            for _ in range(4):
                assert (await client.post(url, content=_EVENT)).status_code == 200
                assert (await client.get(url)).status_code == 200
    assert [told.method for told in two.told] == ["POST", "GET"] * 4


async def test_viewers_are_told_to_come_back_while_no_edge_is_there(
    program: Program, start_proxy: Callable[..., Proxy]
) -> None:
    async with Upstream() as one, Upstream() as two:
        proxy = await asyncio.to_thread(start_proxy, one.port, two.port)
    async with client_of(proxy) as client:

        async def ask(accept: str) -> httpx.Response:
            return await client.get(f"{proxy.url}/v1/runs/r/events", headers={"accept": accept})

        stream, document = await ask("text/event-stream"), await ask("application/json")
    assert document.status_code in (502, 503)
    if not program.tells_to_come_back:
        assert stream.status_code in (502, 503)
        return
    assert stream.status_code == 200
    assert stream.headers["content-type"].partition(";")[0] == "text/event-stream"
    assert stream.headers["cache-control"] == "no-store"
    assert b"data" not in stream.content


async def test_viewers_are_not_turned_away_while_no_edge_is_ready(
    program: Program, start_proxy: Callable[..., Proxy]
) -> None:
    async with Upstream() as one, Upstream() as two:
        proxy = await asyncio.to_thread(start_proxy, one.port, two.port, check_seconds=0.2)
        one.ready = two.ready = False
        if program.checks_health:
            await eventually(lambda: min(one.unready_told, two.unready_told) >= _UNREADY)
        async with client_of(proxy) as client:
            url, accept = f"{proxy.url}/v1/runs/r/events", {"accept": "text/event-stream"}
            assert (await client.get(url, headers=accept)).status_code == 200
