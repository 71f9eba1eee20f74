"""What an edge is told of its clients: their own address and scheme, whatever they write."""

import asyncio
from collections.abc import Callable, Iterator
from random import randrange
from typing import Final

import httpx
import pytest
from redis.asyncio import Redis

from tests.proxies.programs import NAME
from tests.proxies.proxy import Proxy
from tests.proxies.upstream import Upstream
from tests.proxies.watching import client_of, watch
from tests.support.edges import Edge
from tests.support.producer import append
from tests.support.waiting import eventually

_CLIENT: Final = "127.0.0.2"


@pytest.fixture(scope="module")
def strict(redis_url: str) -> Iterator[Edge]:
    """An edge that believes its proxy, and has one stream for each address."""
    edge = Edge(redis_url, trusted_proxies="127.0.0.1", max_streams_per_address=1)
    yield edge
    edge.close()


@pytest.mark.parametrize("http2", [False, True], ids=["http1", "http2"])
async def test_address_and_scheme_are_the_clients_own(
    start_proxy: Callable[..., Proxy], http2: bool
) -> None:
    sent = {
        "x-forwarded-for": "203.0.113.9",
        "x-forwarded-proto": "http",
        "authorization": "Bearer b",
        "cookie": "session=c",
        "x-api-key": "k",
        "last-event-id": "1718900000000-0",
        "accept": "text/event-stream",
    }
    async with Upstream() as one, Upstream() as two:
        proxy = await asyncio.to_thread(start_proxy, one.port, two.port)
        async with client_of(proxy, http2=http2, address=_CLIENT) as client:
            answer = await client.get(
                f"{proxy.url}/v1/runs/r/events?from=-5&types=a,b", headers=sent
            )
        (told,) = one.told + two.told
    assert answer.status_code == 200
    assert told.target == "/v1/runs/r/events?from=-5&types=a,b"
    assert told["x-forwarded-for"] == _CLIENT
    assert told["x-forwarded-proto"] == "https"
    assert told["host"] == proxy.url.removeprefix("https://")
    for name in ("authorization", "cookie", "x-api-key", "last-event-id", "accept"):
        assert told[name] == sent[name]


async def test_limits_by_address_are_the_clients_own(
    start_proxy: Callable[..., Proxy], strict: Edge, client: Redis, run_id: str
) -> None:
    proxy = start_proxy(strict.port, strict.port)
    url = proxy.events_url(run_id)
    here, elsewhere = _some_address(), _some_address()
    async with (
        client_of(proxy, address=here) as one,
        client_of(proxy, address=here) as same,
        client_of(proxy, address=elsewhere) as other,
        watch(one, url) as first,
        watch(same, url, **{"x-forwarded-for": "203.0.113.9"}) as second,
        watch(other, url, **{"x-forwarded-for": here}) as third,
    ):
        await eventually(lambda: second.ended)
        event_id = await append(client, run_id)
        await first.until(event_id)
        await third.until(event_id)
        assert second.ids == []


def test_without_tls_it_sends_clients_to_tls(proxy: Proxy) -> None:
    answer = httpx.get(f"{proxy.plain_url}/v1/runs/r/events?from=-5", follow_redirects=False)
    assert answer.status_code in (301, 308)
    to = httpx.URL(answer.headers["location"])
    assert (to.scheme, to.host) == ("https", NAME)
    assert to.raw_path == b"/v1/runs/r/events?from=-5"


def _some_address() -> str:
    """One of the loopback network's sixteen million, so that no earlier test had it."""
    return f"127.{randrange(1, 255)}.{randrange(256)}.{randrange(1, 255)}"
