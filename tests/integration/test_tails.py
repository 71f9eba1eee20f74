"""How new events are noticed: each strategy, and what it does when the server's setup changes.

The other integration tests run on both strategies; these are about the differences.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import redis.asyncio
from redis.asyncio import Redis

from tests.integration.test_outage import connect_worker
from tests.support.edges import Edge
from tests.support.producer import append, key_of
from tests.support.servers import RedisProcess
from tests.support.viewer import Viewer, together, watch
from tests.support.waiting import eventually

SLOW_SWEEP = {"sweep_seconds": 600}
"""So that nothing is found by the sweep."""


@pytest.fixture(scope="session", params=[{}], ids=["own-tail"])
def edge_settings(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Here each test says which tail it wants."""
    settings: dict[str, Any] = request.param
    return settings


@pytest.fixture
async def admin(own_redis: RedisProcess) -> AsyncIterator[Redis]:
    async with connect_worker(own_redis.url) as connection:
        yield connection


def strategy_of(edge: Edge) -> str:
    return "notify" if edge.metric("runcast_tail_strategy", strategy="notify") else "block"


async def arrives(client: Redis, run_id: str, viewer: Viewer) -> None:
    """An event that is appended now gets to the viewer."""
    seen = len(viewer.ids)
    event_id = await append(client, run_id)
    await viewer.until(seen + 1)
    assert viewer.ids[-1] == event_id


@pytest.mark.parametrize(("tail", "connections"), [("block", 3), ("notify", 1), ("auto", 1)])
async def test_many_runs_share_few_connections(
    start_edge: Callable[..., Edge],
    own_redis: RedisProcess,
    admin: Redis,
    run_id: str,
    tail: str,
    connections: int,
) -> None:
    edge = start_edge(own_redis.url, tail=tail, tail_keys_per_connection=8, linger_seconds=1)
    run_ids = [f"{run_id}-{number}" for number in range(20)]
    async with together(watch(edge.events_url(each)) for each in run_ids) as viewers:
        await asyncio.gather(*(viewer.until_caught_up() for viewer in viewers))
        assert edge.metric("runcast_runs_watched") == 20
        assert edge.metric("runcast_tail_connections") == connections
        for each, viewer in zip(run_ids, viewers, strict=True):
            await arrives(admin, each, viewer)
    await eventually(lambda: edge.metric("runcast_runs_watched") == 0)
    if tail == "block":
        await eventually(lambda: edge.metric("runcast_tail_connections") == 0)
    else:
        # One connection stays; the server has nothing to tell it any more.
        await eventually(lambda: channels(admin), within=5)
    # And groups that were left have room again.
    async with watch(edge.events_url(run_id)) as viewer:
        await viewer.until_caught_up()
        assert edge.metric("runcast_tail_connections") == 1
        await arrives(admin, run_id, viewer)


async def channels(client: Redis) -> bool:
    return await client.pubsub_channels("*") == []


async def test_notifications_find_events_without_a_look_at_every_run(
    start_edge: Callable[..., Edge], own_redis: RedisProcess, admin: Redis, run_id: str
) -> None:
    edge = start_edge(own_redis.url, tail="notify", **SLOW_SWEEP)
    async with watch(edge.events_url(run_id)) as viewer:
        await viewer.until_caught_up()
        for _ in range(5):
            await arrives(admin, run_id, viewer)


async def test_an_event_from_before_the_subscription_took_effect_is_found(
    start_edge: Callable[..., Edge], own_redis: RedisProcess, admin: Redis, run_id: str
) -> None:
    """Appended all the while that viewers come: some fall between the look at the run and its
    subscription."""
    edge = start_edge(own_redis.url, tail="notify", **SLOW_SWEEP)
    run_ids = [f"{run_id}-{number}" for number in range(60)]

    async def produce() -> None:
        for each in run_ids:
            await append(admin, each)

    producing = asyncio.create_task(produce())
    async with together(watch(edge.events_url(each)) for each in run_ids) as viewers:
        await producing
        await asyncio.gather(*(viewer.until(1) for viewer in viewers))


async def test_a_lost_subscription_loses_no_event(
    start_edge: Callable[..., Edge], own_redis: RedisProcess, admin: Redis, run_id: str
) -> None:
    edge = start_edge(own_redis.url, tail="notify", **SLOW_SWEEP)
    async with watch(edge.events_url(run_id)) as viewer:
        await viewer.until_caught_up()
        await arrives(admin, run_id, viewer)
        async with admin.pipeline(transaction=True) as both:
            # In one step: the event comes when nobody listens.
            both.client_kill_filter(_type="pubsub")
            both.xadd(key_of(run_id), {"type": "chunk", "data": "{}"})
            await both.execute()
        await viewer.until(2)
        await arrives(admin, run_id, viewer)
    assert edge.metric("runcast_redis_reconnects_total") == 1


async def test_notifications_that_are_switched_off(
    start_edge: Callable[..., Edge], own_redis: RedisProcess, admin: Redis, run_id: str
) -> None:
    edge = start_edge(own_redis.url, tail="notify", **SLOW_SWEEP)
    async with watch(edge.events_url(run_id)) as viewer:
        await viewer.until_caught_up()
        await admin.config_set("notify-keyspace-events", "")
        await arrives(admin, run_id, viewer)
        await eventually(lambda: "sends no notifications" in edge.raw_log())
        await arrives(admin, run_id, viewer)
        await admin.config_set("notify-keyspace-events", "AK")
        await eventually(lambda: "notifications again" in edge.raw_log())
        await arrives(admin, run_id, viewer)


async def test_notifications_are_turned_on_where_that_is_allowed(
    start_edge: Callable[..., Edge], own_redis: RedisProcess, admin: Redis, run_id: str
) -> None:
    await admin.config_set("notify-keyspace-events", "Ex")
    edge = start_edge(own_redis.url, tail="auto", tail_enable_notifications=True, **SLOW_SWEEP)
    assert strategy_of(edge) == "notify"
    # What others have set up stays.
    assert await has_flags(admin, "ExKt")
    await admin.config_set("notify-keyspace-events", "")
    async with watch(edge.events_url(run_id)) as viewer:
        await viewer.until_caught_up()
        await eventually(lambda: has_flags(admin, "Kt"))
        await arrives(admin, run_id, viewer)


async def has_flags(client: Redis, wanted: str) -> bool:
    flags = (await client.config_get("notify-keyspace-events"))["notify-keyspace-events"]
    return set(wanted) <= set(flags or "")


async def test_auto_follows_the_server(
    start_edge: Callable[..., Edge], own_redis: RedisProcess, admin: Redis, run_id: str
) -> None:
    edge = start_edge(own_redis.url, tail="auto", **SLOW_SWEEP)
    assert strategy_of(edge) == "notify"
    async with watch(edge.events_url(run_id)) as viewer:
        await viewer.until_caught_up()
        await arrives(admin, run_id, viewer)
        await admin.config_set("notify-keyspace-events", "")
        # Nobody notices this one, until the tail changes over.
        await arrives(admin, run_id, viewer)
        await eventually(lambda: strategy_of(edge) == "block")
        await arrives(admin, run_id, viewer)
        await admin.config_set("notify-keyspace-events", "Kt")
        await eventually(lambda: strategy_of(edge) == "notify")
        await arrives(admin, run_id, viewer)
        await eventually(lambda: edge.metric("runcast_tail_connections") == 1)


async def test_auto_without_the_right_to_ask(
    start_edge: Callable[..., Edge], own_redis: RedisProcess, admin: Redis, run_id: str
) -> None:
    await admin.acl_setuser(
        "edge", enabled=True, passwords=["+secret"], keys=["*"], commands=["+@all", "-config"]
    )
    url = own_redis.url.replace("://", "://edge:secret@")
    edge = start_edge(url, tail="auto", **SLOW_SWEEP)
    assert strategy_of(edge) == "block"
    async with watch(edge.events_url(run_id)) as viewer:
        await viewer.until_caught_up()
        await arrives(admin, run_id, viewer)


@pytest.mark.parametrize("tail", ["auto", "notify"])
async def test_without_the_right_to_subscribe(
    start_edge: Callable[..., Edge],
    own_redis: RedisProcess,
    admin: Redis,
    run_id: str,
    tail: str,
) -> None:
    await admin.acl_setuser(
        "edge", enabled=True, passwords=["+secret"], keys=["*"], commands=["+@all"]
    )
    url = own_redis.url.replace("://", "://edge:secret@")
    edge = start_edge(url, tail=tail, **SLOW_SWEEP)
    async with watch(edge.events_url(run_id)) as viewer:
        await viewer.until_caught_up()
        await arrives(admin, run_id, viewer)
        await eventually(lambda: "does not let us subscribe" in edge.raw_log())
        if tail == "auto":
            await eventually(lambda: strategy_of(edge) == "block")
        await arrives(admin, run_id, viewer)
    assert not edge.traces()


async def test_a_run_that_is_no_stream_does_not_hold_up_others(
    start_edge: Callable[..., Edge], own_redis: RedisProcess, admin: Redis, run_id: str
) -> None:
    edge = start_edge(own_redis.url, tail="notify")
    async with (
        watch(edge.events_url(run_id)) as viewer,
        watch(edge.events_url(f"{run_id}-bad")) as bad,
    ):
        await viewer.until_caught_up()
        await bad.until_caught_up()
        await admin.set(key_of(f"{run_id}-bad"), "a string")
        await bad.until_ended()
        await arrives(admin, run_id, viewer)
    assert not edge.traces()


async def test_runs_in_another_database(
    start_edge: Callable[..., Edge], own_redis: RedisProcess, run_id: str
) -> None:
    """A notification's channel has the database's number in it."""
    url = own_redis.url.removesuffix("0") + "3"
    edge = start_edge(url, tail="notify", **SLOW_SWEEP)
    async with (
        redis.asyncio.Redis.from_url(url, decode_responses=True) as client,
        watch(edge.events_url(run_id)) as viewer,
    ):
        await viewer.until_caught_up()
        await arrives(client, run_id, viewer)
