"""A server and the connections to it. Also the contract with redis-py: that it hands over its
transport once it has connected (`broker.redis.link._take_over`)."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import redis.asyncio
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from broker.redis.addresses import ClusterAddress, parse_addresses
from broker.redis.server import Server
from tests.support.servers import RedisProcess
from tests.support.waiting import eventually

_SECONDS = 5.0


def server_at(url: str, *, connections: int = 1, timeout_seconds: float = _SECONDS) -> Server:
    addresses = parse_addresses(url)
    assert not isinstance(addresses, ClusterAddress)
    return Server(addresses[0], connections=connections, timeout_seconds=timeout_seconds)


@pytest.fixture
async def server(redis_url: str) -> AsyncIterator[Server]:
    async with server_at(redis_url, connections=2) as server:
        yield server


async def test_answers_find_whom_they_belong_to(server: Server) -> None:
    words = [str(number).encode() for number in range(500)]
    assert await asyncio.gather(*(server.ask("ECHO", word) for word in words)) == words


async def test_an_error_is_one_callers(server: Server) -> None:
    good, bad = (asyncio.ensure_future(server.ask(*words)) for words in (("ECHO", "x"), ("NO",)))
    with pytest.raises(ResponseError):
        await bad
    assert await good == b"x"


async def test_who_leaves_takes_nobodys_answer(server: Server) -> None:
    async with server.link() as link:
        left = link.ask("ECHO", "left", timeout=_SECONDS)
        stays = link.ask("ECHO", "stays", timeout=_SECONDS)
        left.cancel()
        assert await stays == b"stays"
        assert len(link) == 0


async def test_few_connections_are_opened_for_many(own_redis: RedisProcess) -> None:
    async with redis.asyncio.Redis.from_url(own_redis.url) as client:

        async def count() -> int:
            return len(await client.client_list())

        before = await count()
        async with server_at(own_redis.url, connections=2) as server:
            for _ in range(2):
                # The first time they all wait for the same one.
                await asyncio.gather(*(server.ask("ECHO", "x") for _ in range(1000)))
            assert await count() == before + 2

        async def are_closed() -> bool:
            return await count() == before

        await eventually(are_closed)


async def test_a_killed_connection_is_opened_anew(
    server: Server, client: redis.asyncio.Redis
) -> None:
    killed = await server.ask("CLIENT", "ID")
    await client.client_kill_filter(_id=str(killed))
    # The first to notice may fail; whoever asks then has a new one.
    for _ in range(3):
        try:
            assert await server.ask("ECHO", "back") == b"back"
            break
        except RedisConnectionError:
            continue
    else:
        pytest.fail("it never came back")


async def test_a_server_that_does_not_answer(own_redis: RedisProcess) -> None:
    async with server_at(own_redis.url, timeout_seconds=0.3) as server:
        assert await server.ask("ECHO", "x") == b"x"
        own_redis.pause()
        try:
            with pytest.raises(RedisTimeoutError):
                await server.ask("ECHO", "x")
        finally:
            own_redis.resume()
        assert await server.ask("ECHO", "again") == b"again"


async def test_a_blocking_command_is_given_its_time(server: Server, run_id: str) -> None:
    async with server.link() as link:
        assert await link.ask("ECHO", "short", timeout=0.5) == b"short"
        words = ("XREAD", "BLOCK", 700, "STREAMS", run_id, "0-0")
        assert await link.ask(*words, timeout=_SECONDS) is None


async def test_closing_fails_what_is_under_way(server: Server, run_id: str) -> None:
    async with server.link() as link:
        words = ("XREAD", "BLOCK", 0, "STREAMS", run_id, "0-0")
        waiting = link.ask(*words, timeout=60)
    with pytest.raises(RedisConnectionError):
        await waiting
    with pytest.raises(RedisConnectionError):
        await link.ask("ECHO", "x", timeout=_SECONDS)


async def test_a_refused_subscription_ends_it(own_redis: RedisProcess) -> None:
    async with redis.asyncio.Redis.from_url(own_redis.url) as client:
        await client.acl_setuser(
            "deaf", enabled=True, nopass=True, commands=["+@all"], reset_channels=True
        )
    heard: list[object] = []
    async with (
        server_at(own_redis.url.replace("://", "://deaf:any@")) as server,
        server.link(heard.append) as link,
    ):
        link.send("SUBSCRIBE", "channel")
        await asyncio.wait_for(link.lost.wait(), _SECONDS)
        with pytest.raises(RedisError, match="permissions"):
            link.check()
    assert heard == []
