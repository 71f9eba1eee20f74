"""Passwords that are wrong, and passwords that are changed while an edge runs; and RESP3."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import httpx
import pytest
import redis.asyncio

from tests.support.edges import Edge
from tests.support.producer import append
from tests.support.servers import RedisProcess
from tests.support.viewer import watch
from tests.support.waiting import eventually

_FIRST = "first-secret"
_SECOND = "second-secret"


@pytest.fixture
async def admin(own_redis: RedisProcess) -> AsyncIterator["redis.asyncio.Redis"]:
    async with redis.asyncio.Redis.from_url(
        own_redis.url, decode_responses=True, protocol=2
    ) as connection:
        yield connection


async def set_password(admin: redis.asyncio.Redis, password: str) -> None:
    """As an operator would, with the connections of before cut."""
    await admin.acl_setuser(
        *("edge", True, False),
        passwords=[f"+{password}"],
        keys=["*"],
        channels=["*"],
        commands=["+@all"],
        reset_passwords=True,
    )
    await admin.client_kill_filter(user="edge", skipme=True)


async def test_a_password_that_is_wrong_at_first(
    start_edge: Callable[..., Edge],
    own_redis: RedisProcess,
    admin: redis.asyncio.Redis,
    run_id: str,
) -> None:
    await set_password(admin, _FIRST)
    edge = start_edge(own_redis.url.replace("://", f"://edge:{_SECOND}@"))
    async with httpx.AsyncClient() as http:
        assert (await http.get(f"{edge.url}/readyz")).status_code == 503
    await eventually(lambda: "AuthenticationError" in edge.raw_log())
    await set_password(admin, _SECOND)
    async with watch(edge.events_url(run_id)) as viewer:
        await viewer.until_caught_up()
        entry_id = await append(admin, run_id)
        await eventually(lambda: viewer.ids == [entry_id])
    assert _SECOND not in edge.raw_log()
    assert not edge.traces()


async def test_a_password_that_is_changed(
    start_edge: Callable[..., Edge],
    own_redis: RedisProcess,
    admin: redis.asyncio.Redis,
    run_id: str,
    tmp_path: Path,
) -> None:
    """The file is read for each new connection."""
    file = tmp_path / "password"
    file.write_text(_FIRST)
    await set_password(admin, _FIRST)
    url = own_redis.url.replace("://", "://edge@") + f"?password_file={file}"
    edge = start_edge(url)
    async with watch(edge.events_url(run_id)) as viewer:
        await viewer.until_caught_up()
        ids = [await append(admin, run_id)]
        await eventually(lambda: viewer.ids == ids)
        await set_password(admin, _SECOND)
        ids.append(await append(admin, run_id))
        file.write_text(f"{_SECOND}\n")
        await eventually(lambda: viewer.ids == ids, within=20)
        assert viewer.gaps == []
    assert _FIRST not in edge.raw_log()
    assert _SECOND not in edge.raw_log()
    assert not edge.traces()


async def test_resp3(
    start_edge: Callable[..., Edge], redis_url: str, client: redis.asyncio.Redis, run_id: str
) -> None:
    edge = start_edge(f"{redis_url}?protocol=3")
    ids = [await append(client, run_id) for _ in range(3)]
    async with watch(edge.events_url(run_id)) as viewer:
        await viewer.until(3)
        ids.append(await append(client, run_id))
        await viewer.until(4)
        assert viewer.ids == ids
    await client.xtrim(f"run:{run_id}", maxlen=1, approximate=False)
    async with watch(edge.events_url(f"{run_id}")) as late:
        await late.until(1)
    other = start_edge(f"{redis_url}?protocol=3")
    async with watch(other.events_url(run_id), ids[0]) as resumed:
        await resumed.until(1)
        assert [gap["reason"] for gap in resumed.gaps] == ["trimmed"]
    assert not edge.traces()
