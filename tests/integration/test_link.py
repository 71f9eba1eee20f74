"""Connections that many share, on a real server. Also the contract with redis-py: that it hands
over its transport once it has connected (`broker.redis.link._take_over`)."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import redis.asyncio
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from broker.redis.connections import connect
from broker.redis.link import Link, Links
from tests.support.servers import RedisProcess
from tests.support.waiting import eventually

_SECONDS = 5.0


@pytest.fixture
async def links(redis_url: str) -> AsyncIterator[Links]:
    async with connect(redis_url, timeout_seconds=_SECONDS, connections=1) as client:
        links = Links(client, count=2, timeout_seconds=_SECONDS)
        yield links
        await links.aclose()


async def test_answers_find_whom_they_belong_to(links: Links) -> None:
    words = [str(number).encode() for number in range(500)]
    assert await asyncio.gather(*(links.ask("ECHO", word) for word in words)) == words


async def test_an_error_is_one_callers(links: Links) -> None:
    good, bad = (asyncio.ensure_future(links.ask(*words)) for words in (("ECHO", "x"), ("NO",)))
    with pytest.raises(ResponseError):
        await bad
    assert await good == b"x"


async def test_who_leaves_takes_nobodys_answer(redis_url: str) -> None:
    async with connect(redis_url, timeout_seconds=_SECONDS, connections=1) as client:
        link = await Link.open(client)
        left = link.ask("ECHO", "left", timeout=_SECONDS)
        stays = link.ask("ECHO", "stays", timeout=_SECONDS)
        left.cancel()
        assert await stays == b"stays"
        assert len(link) == 0
        await link.aclose()


async def test_few_connections_are_opened_for_many(own_redis: RedisProcess) -> None:
    async with connect(own_redis.url, timeout_seconds=_SECONDS, connections=1) as client:

        async def count() -> int:
            return len(await client.client_list())

        before = await count()
        links = Links(client, count=2, timeout_seconds=_SECONDS)
        for _ in range(2):
            # The first time they all wait for the same one.
            await asyncio.gather(*(links.ask("ECHO", "x") for _ in range(1000)))
        assert await count() == before + 2
        await links.aclose()

        async def are_closed() -> bool:
            return await count() == before

        await eventually(are_closed)


async def test_a_killed_connection_is_opened_anew(
    links: Links, client: redis.asyncio.Redis
) -> None:
    killed = await links.ask("CLIENT", "ID")
    await client.client_kill_filter(_id=str(killed))
    # The first to notice may fail; whoever asks then has a new one.
    for _ in range(3):
        try:
            assert await links.ask("ECHO", "back") == b"back"
            break
        except RedisConnectionError:
            continue
    else:
        pytest.fail("it never came back")


async def test_a_server_that_does_not_answer(own_redis: RedisProcess) -> None:
    async with connect(own_redis.url, timeout_seconds=_SECONDS, connections=1) as client:
        links = Links(client, count=1, timeout_seconds=0.3)
        assert await links.ask("ECHO", "x") == b"x"
        own_redis.pause()
        try:
            with pytest.raises(RedisTimeoutError):
                await links.ask("ECHO", "x")
        finally:
            own_redis.resume()
        assert await links.ask("ECHO", "again") == b"again"
        await links.aclose()


async def test_a_blocking_command_is_given_its_time(redis_url: str, run_id: str) -> None:
    async with connect(redis_url, timeout_seconds=_SECONDS, connections=1) as client:
        link = await Link.open(client)
        assert await link.ask("ECHO", "short", timeout=0.05) == b"short"
        words = ("XREAD", "BLOCK", 200, "STREAMS", run_id, "0-0")
        assert await link.ask(*words, timeout=_SECONDS) is None
        await link.aclose()


async def test_closing_fails_what_is_under_way(redis_url: str, run_id: str) -> None:
    async with connect(redis_url, timeout_seconds=_SECONDS, connections=1) as client:
        link = await Link.open(client)
        waiting = link.ask("XREAD", "BLOCK", 0, "STREAMS", run_id, "0-0", timeout=60)
        await link.aclose()
        with pytest.raises(RedisConnectionError):
            await waiting
        with pytest.raises(RedisConnectionError):
            await link.ask("ECHO", "x", timeout=_SECONDS)


async def test_a_refused_subscription_ends_it(own_redis: RedisProcess) -> None:
    async with connect(own_redis.url, timeout_seconds=_SECONDS, connections=2) as client:
        await client.acl_setuser(
            "deaf", enabled=True, nopass=True, commands=["+@all"], reset_channels=True
        )
        url = own_redis.url.replace("://", "://deaf:any@")
        async with connect(url, timeout_seconds=_SECONDS, connections=1) as deaf:
            heard: list[object] = []
            link = await Link.open(deaf, heard.append)
            link.send("SUBSCRIBE", "channel")
            await asyncio.wait_for(link.lost.wait(), _SECONDS)
            with pytest.raises(RedisError, match="permissions"):
                link.check()
            assert heard == []
            await link.aclose()
