"""Two profiles on the same runs, which end at other events: one stream, two ends.

The sweep comes once an hour, and a blocked read lasts a minute: whatever arrives in time has been
noticed, not stumbled upon.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from redis.asyncio import Redis

from tests.support.edges import Edge
from tests.support.producer import append
from tests.support.servers import available_kinds
from tests.support.viewer import Viewer, watch

_SOON = 5.0


@pytest.fixture(scope="session")
def redis_kind() -> str:
    """The tails have tests of their own on each kind."""
    return available_kinds()[0]


@pytest.fixture(scope="module", params=["notify", "block"])
def together(request: pytest.FixtureRequest, redis_url: str) -> Iterator[Edge]:
    """An edge with both, for each way of noticing what is new."""
    edge = _start(redis_url, tail=request.param)
    yield edge
    edge.close()


def _start(redis_url: str, **settings: Any) -> Edge:
    return Edge(
        redis_url, profile="native,cortex", sweep_seconds=3600, tail_block_seconds=60, **settings
    )


def native(edge: Edge, run_id: str, cursor: str | None = None) -> Viewer:
    """A viewer in Runcast's own words, to whom `done` is the end."""
    return watch(edge.events_url(run_id), cursor)


def cortex(edge: Edge, run_id: str, cursor: str | None = None) -> Viewer:
    """A viewer in Cortex' words, to whom `complete` is the end."""
    return watch(f"{edge.url}/api/streaming/workflows/{run_id}/stream", cursor)


async def test_a_run_ends_in_one_and_goes_on_in_the_other(
    together: Edge, client: Redis, run_id: str
) -> None:
    await append(client, run_id, "1")
    async with native(together, run_id) as one:
        await one.until(1, within=_SOON)
        async with cortex(together, run_id) as two:
            await two.until(1, within=_SOON)
            await append(client, run_id, "2")
            await one.until(2, within=_SOON)
            await two.until(2, within=_SOON)
            done = await append(client, run_id, "3", "done")
            await one.until_ended(within=_SOON)
            await two.until(3, within=_SOON)
            assert not two.ended.is_set()
            await append(client, run_id, "4")
            await two.until(4, within=_SOON)
            await append(client, run_id, "5", "complete")
            await two.until_ended(within=_SOON)
    assert [event.data for event in one.events] == ["1", "2", "3"]
    assert [event.data for event in two.events] == ["1", "2", "3", "4", "5"]
    async with native(together, run_id, done) as later:
        assert later.status == httpx.codes.NO_CONTENT
    async with cortex(together, run_id, two.ids[2]) as later:
        await later.until_ended(within=_SOON)
        assert [event.data for event in later.events] == ["4", "5"]


async def test_it_may_end_in_the_other_first(together: Edge, client: Redis, run_id: str) -> None:
    async with cortex(together, run_id) as two, native(together, run_id) as one:
        await append(client, run_id, "1", "complete")
        await two.until_ended(within=_SOON)
        await one.until(1, within=_SOON)
        await append(client, run_id, "2")
        await one.until(2, within=_SOON)
        await append(client, run_id, "3", "done")
        await one.until_ended(within=_SOON)
    assert [event.data for event in two.events] == ["1"]
    assert [event.data for event in one.events] == ["1", "2", "3"]


async def test_an_end_by_the_final_field_ends_it_in_both(
    together: Edge, client: Redis, run_id: str
) -> None:
    async with native(together, run_id) as one, cortex(together, run_id) as two:
        await append(client, run_id, "{}", "report", final="1")
        await one.until_ended(within=_SOON)
        await two.until_ended(within=_SOON)
    assert [event.type for event in one.events] == ["report"]
    assert [(event.type, event.data) for event in two.events] == [
        ("complete", '{"status":"completed"}')
    ]


async def test_whoever_comes_and_goes_news_reach_those_who_stay(
    together: Edge, client: Redis, run_id: str
) -> None:
    """The one whose address is watched leaves first, then the other; then both are back."""
    written = 0

    async def news(*viewers: Viewer) -> None:
        nonlocal written
        written += 1
        await append(client, run_id, str(written))
        for viewer in viewers:
            await viewer.until(written, within=_SOON)

    async with cortex(together, run_id) as staying:
        async with native(together, run_id) as leaving:
            await news(staying, leaving)
        await news(staying)
        async with native(together, run_id) as back:
            await back.until(written, within=_SOON)
            await news(staying, back)
    async with native(together, run_id) as alone:
        await alone.until(written, within=_SOON)
        await news(alone)
        async with cortex(together, run_id) as later:
            await news(alone, later)


async def test_a_run_that_is_not_there_yet_begins_for_both(
    together: Edge, client: Redis, run_id: str
) -> None:
    async with native(together, run_id) as one, cortex(together, run_id) as two:
        await append(client, run_id, "1")
        await one.until(1, within=_SOON)
        await two.until(1, within=_SOON)


async def test_an_edge_that_knows_nothing_finds_each_end_in_the_middle(
    redis_url: str, client: Redis, run_id: str
) -> None:
    """Where `done` is the end, the stream goes on behind it."""
    for number in range(3):
        await append(client, run_id, str(number))
    done = await append(client, run_id, "3", "done")
    for number in range(4, 300):
        await append(client, run_id, str(number))
    await append(client, run_id, "300", "complete")
    with contextlib.closing(_start(redis_url)) as edge:
        async with native(edge, run_id, done) as one:
            await one.until_ended(within=_SOON)
            assert one.events == []
        async with native(edge, run_id, done) as one:
            assert one.status == httpx.codes.NO_CONTENT, "or an EventSource comes back for ever"
        async with cortex(edge, run_id) as two:
            await two.until_ended(within=_SOON)
            assert [event.data for event in two.events] == [str(n) for n in range(301)]
