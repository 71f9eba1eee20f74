"""A run's events over SSE: replay, then live, then the end."""

from redis.asyncio import Redis

from tests.support.edges import Edge
from tests.support.producer import append
from tests.support.viewer import watch


async def test_replays_what_was_missed_then_follows_then_ends(
    edge: Edge, client: Redis, run_id: str
) -> None:
    first = await append(client, run_id, "a")
    async with watch(edge.events_url(run_id)) as viewer:
        await viewer.until_caught_up()
        assert viewer.ids == [first]
        second = await append(client, run_id, "b")
        await viewer.until(2)
        last = await append(client, run_id, "{}", "done")
        await viewer.until_ended()
    assert viewer.whole
    assert viewer.ids == [first, second, last]
    assert [message.type for message in viewer.events] == ["chunk", "chunk", "done"]
    assert viewer.gaps == []
    async with watch(edge.events_url(run_id), first) as viewer:
        await viewer.until_ended()
    assert viewer.ids == [second, last]
    async with watch(edge.events_url(run_id), last) as viewer:
        await viewer.until_ended()
    assert viewer.status == 204
