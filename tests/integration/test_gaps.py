"""What can't be served is said: trims, deletions, expiry, re-creation, other runs' cursors."""

import asyncio
from typing import Any

from redis.asyncio import Redis

from tests.support.edges import Edge
from tests.support.producer import append, key_of
from tests.support.viewer import Viewer, watch
from tests.support.waiting import eventually


def gap(requested: str, resumed_at: str | None, reason: str) -> dict[str, Any]:
    return {"requested": requested, "resumed_at": resumed_at, "reason": reason}


async def replayed(edge: Edge, run_id: str, cursor: str | None) -> Viewer:
    async with watch(edge.events_url(run_id), cursor) as viewer:
        await viewer.until_caught_up()
    return viewer


async def fill(client: Redis, run_id: str, *numbers: int) -> None:
    for number in numbers:
        await append(client, run_id, str(number), id=f"{number}-5")


async def test_nothing_is_missing(edge: Edge, client: Redis, run_id: str) -> None:
    await fill(client, run_id, 1, 2, 3)
    for cursor, ids in (("1-5", ["2-5", "3-5"]), ("3-5", []), ("0-0", ["1-5", "2-5", "3-5"])):
        viewer = await replayed(edge, run_id, cursor)
        assert (viewer.ids, viewer.gaps) == (ids, [])


async def test_trimmed_past_the_cursor(edge: Edge, client: Redis, run_id: str) -> None:
    await fill(client, run_id, *range(1, 7))
    await client.xtrim(key_of(run_id), minid="4-0", approximate=False)
    viewer = await replayed(edge, run_id, "1-5")
    assert viewer.gaps == [gap("1-5", "4-5", "trimmed")]
    assert viewer.ids == ["4-5", "5-5", "6-5"]
    viewer = await replayed(edge, run_id, "4-5")
    assert (viewer.ids, viewer.gaps) == (["5-5", "6-5"], [])
    # Who asks for nothing in particular gets what is there; who asks for all is told.
    assert (await replayed(edge, run_id, None)).gaps == []


async def test_trimmed_to_nothing(edge: Edge, client: Redis, run_id: str) -> None:
    await fill(client, run_id, 1, 2, 3)
    await client.xtrim(key_of(run_id), maxlen=0, approximate=False)
    viewer = await replayed(edge, run_id, "3-5")
    assert (viewer.ids, viewer.gaps) == ([], [])
    viewer = await replayed(edge, run_id, "2-5")
    assert viewer.gaps == [gap("2-5", None, "trimmed")]


async def test_from_the_future(edge: Edge, client: Redis, run_id: str) -> None:
    await fill(client, run_id, 1, 2)
    viewer = await replayed(edge, run_id, "9-5")
    assert viewer.gaps == [gap("9-5", "1-5", "reset")]
    assert viewer.ids == ["1-5", "2-5"]


async def test_a_cursor_of_another_run(edge: Edge, client: Redis, run_id: str) -> None:
    await fill(client, run_id, 1, 4)
    viewer = await replayed(edge, run_id, "2-5")
    assert viewer.gaps == [gap("2-5", "1-5", "reset")]
    assert viewer.ids == ["1-5", "4-5"]


async def test_all_from_the_start_of_a_trimmed_run(edge: Edge, client: Redis, run_id: str) -> None:
    await fill(client, run_id, 1, 2, 3)
    await client.xtrim(key_of(run_id), maxlen=1, approximate=False)
    viewer = await replayed(edge, run_id, "0-0")
    assert viewer.gaps == [gap("0-0", "3-5", "trimmed")]


async def test_deleted_entries(edge: Edge, client: Redis, run_id: str) -> None:
    await fill(client, run_id, 1, 2, 3, 4)
    await client.xdel(key_of(run_id), "2-5")
    # The viewer had it; what follows is whole.
    viewer = await replayed(edge, run_id, "2-5")
    assert (viewer.ids, viewer.gaps) == (["3-5", "4-5"], [])
    # And here one is gone that they have not had.
    other = f"{run_id}-other"
    await fill(client, other, 1, 2, 3, 4)
    await client.xdel(key_of(other), "2-5", "3-5")
    viewer = await replayed(edge, other, "2-5")
    assert viewer.gaps == [gap("2-5", "4-5", "unknown")]


async def test_a_watched_run_is_trimmed_under_the_tail(
    edge: Edge, client: Redis, run_id: str
) -> None:
    await fill(client, run_id, 1)
    async with watch(edge.events_url(run_id)) as viewer:
        await viewer.until_caught_up()
        # All at once, so that the tail can't come in between.
        async with client.pipeline(transaction=True) as transaction:
            for number in range(2, 8):
                transaction.xadd(
                    key_of(run_id), {"data": "x"}, id=f"{number}-5", maxlen=2, approximate=False
                )
            await transaction.execute()
        await eventually(lambda: viewer.ids[-1:] == ["7-5"])
    assert viewer.ids == ["1-5", "6-5", "7-5"]
    assert viewer.gaps == [gap("1-5", "6-5", "trimmed")]


async def test_a_watched_run_is_deleted_then_begins_anew(
    edge: Edge, client: Redis, run_id: str
) -> None:
    await fill(client, run_id, 1, 2)
    async with watch(edge.events_url(run_id)) as viewer:
        await viewer.until(2)
        await client.delete(key_of(run_id))
        await eventually(lambda: viewer.gaps == [gap("2-5", None, "unknown")])
        await append(client, run_id, id="1-1")
        await viewer.until(3)
        assert viewer.ids == ["1-5", "2-5", "1-1"]
        assert len(viewer.gaps) == 1


async def test_a_watched_run_expires(edge: Edge, client: Redis, run_id: str) -> None:
    await fill(client, run_id, 1)
    async with watch(edge.events_url(run_id)) as viewer:
        await viewer.until(1)
        await client.pexpire(key_of(run_id), 1)
        await eventually(lambda: viewer.gaps == [gap("1-5", None, "unknown")])


async def test_a_watched_run_is_replaced_by_one_with_lower_ids(
    edge: Edge, client: Redis, run_id: str
) -> None:
    await fill(client, run_id, 8, 9)
    async with watch(edge.events_url(run_id)) as viewer:
        await viewer.until(2)
        async with client.pipeline(transaction=True) as transaction:
            transaction.delete(key_of(run_id))
            transaction.xadd(key_of(run_id), {"data": "new"}, id="1-5")
            transaction.xadd(key_of(run_id), {"data": "new"}, id="2-5")
            await transaction.execute()
        await viewer.until(4)
    assert viewer.gaps == [gap("9-5", "1-5", "reset")]
    assert viewer.ids[2:] == ["1-5", "2-5"]


async def test_a_watched_run_is_replaced_by_one_with_higher_ids(
    edge: Edge, client: Redis, run_id: str
) -> None:
    await fill(client, run_id, 1, 2)
    async with watch(edge.events_url(run_id)) as viewer:
        await viewer.until(2)
        async with client.pipeline(transaction=True) as transaction:
            transaction.delete(key_of(run_id))
            transaction.xadd(key_of(run_id), {"data": "new"}, id="7-5")
            transaction.xadd(key_of(run_id), {"data": "new"}, id="8-5")
            await transaction.execute()
        await viewer.until(4)
    assert viewer.gaps == [gap("2-5", "7-5", "reset")]
    assert viewer.ids[2:] == ["7-5", "8-5"]


async def test_a_replay_that_is_trimmed_while_it_goes_on(
    edge: Edge, client: Redis, run_id: str
) -> None:
    """A viewer that reads slowly: the stream's head passes it between two pages."""
    padding = "x" * 20_000
    ids = [await append(client, run_id, padding) for _ in range(500)]
    before_bytes = edge.metric("runcast_delivered_bytes_total")
    async with watch(edge.events_url(run_id), reading=False) as viewer:
        # Its first pages are on their way; the rest waits until it reads.
        await eventually(
            lambda: edge.metric("runcast_delivered_bytes_total") > before_bytes + 200_000
        )
        await client.xtrim(key_of(run_id), maxlen=10, approximate=False)
        viewer.start_reading()
        await viewer.until_caught_up(within=20)
    [said] = viewer.gaps
    before = viewer.ids.index(said["resumed_at"])
    assert viewer.ids[:before] == ids[:before]
    assert viewer.ids[before:] == ids[-10:]
    assert said == gap(ids[before - 1], ids[-10], "trimmed")


async def test_metrics_count_gaps_by_reason(edge: Edge, client: Redis, run_id: str) -> None:
    before = edge.metric("runcast_gaps_total", reason="reset")
    await fill(client, run_id, 1)
    await asyncio.gather(*(replayed(edge, run_id, "9-9") for _ in range(3)))
    assert edge.metric("runcast_gaps_total", reason="reset") == before + 3
