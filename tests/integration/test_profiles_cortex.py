"""Cortex: workflows, and whatever an agent does now."""

import json
from collections.abc import Iterator

import httpx
import pytest
from redis.asyncio import Redis

from broker.publishing import RunPublisher
from tests.support.edges import Edge
from tests.support.producer import append, key_of
from tests.support.servers import available_kinds
from tests.support.viewer import Viewer, watch
from tests.support.waiting import eventually


@pytest.fixture(scope="session")
def redis_kind() -> str:
    """What is said in which words does not depend on the kind of Redis, nor on the way to it."""
    return available_kinds()[0]


@pytest.fixture(scope="module")
def edge(redis_url: str) -> Iterator[Edge]:
    """An edge with the profile."""
    edge = Edge(redis_url, profile="cortex")
    yield edge
    edge.close()


def workflow(edge: Edge, run_id: str, cursor: str | None = None) -> Viewer:
    """A viewer of a workflow."""
    return watch(f"{edge.url}/api/streaming/workflows/{run_id}/stream", cursor)


def agent(edge: Edge, name: str, cursor: str | None = None) -> Viewer:
    """A viewer of whatever the agent does now."""
    return watch(f"{edge.url}/api/streaming/agents/{name}/stream", cursor)


async def test_frames_are_as_documented(edge: Edge, client: Redis, run_id: str) -> None:
    start = '{"stepId": "step-1", "name": "Code Review", "agent": "reviewer-agent"}'
    end = '{"result": "Task completed successfully", "duration": 12500}'
    await append(client, run_id, "{}", "queued", id="0-*")
    await append(client, run_id, start, "step_start", id="0-*")
    await append(client, run_id, end, "complete", id="0-*")
    async with workflow(edge, run_id) as viewer:
        await viewer.until_ended()
    greeting, _, rest = bytes(viewer.body).partition(b"\n")
    assert greeting.startswith(b"retry: ")
    assert rest.decode() == (
        f"id: 2\nevent: step_start\ndata: {start}\n\nid: 3\nevent: complete\ndata: {end}\n\n"
    )
    async with workflow(edge, run_id, "2") as viewer:
        await viewer.until_ended()
        assert viewer.ids == ["3"]
    async with workflow(edge, run_id, "3") as viewer:
        assert viewer.status == httpx.codes.NO_CONTENT


async def test_a_quiet_stream_has_heartbeat_comments(
    edge: Edge, client: Redis, run_id: str
) -> None:
    await append(client, run_id, "{}", "progress", id="0-*")
    async with workflow(edge, run_id) as viewer:
        await eventually(lambda: viewer.decoder.comments[:2] == ["heartbeat", "heartbeat"])
    assert bytes(viewer.body).endswith(b": heartbeat\n")


async def test_a_cursor_is_a_whole_number(edge: Edge, client: Redis, run_id: str) -> None:
    await append(client, run_id)
    for cursor in ("0-1", "x", "-1", "01"):
        async with workflow(edge, run_id, cursor) as viewer:
            await viewer.until_ended()
            assert viewer.status == httpx.codes.BAD_REQUEST
            assert viewer.json()["type"] == "urn:runcast:problem:bad-cursor"


async def test_a_gap_is_an_event_with_numbers(edge: Edge, client: Redis, run_id: str) -> None:
    for _ in range(5):
        await append(client, run_id, id="0-*")
    await client.xtrim(key_of(run_id), maxlen=2, approximate=False)
    async with workflow(edge, run_id, "1") as viewer:
        await eventually(lambda: len(viewer.messages) == 3)
        assert [message.type for message in viewer.messages] == ["gap", "chunk", "chunk"]
        assert viewer.messages[0].data == '{"requested":"1","resumed_at":"4","reason":"trimmed"}'


async def test_a_lost_run_ends_in_words_that_clients_know(
    edge: Edge, client: Redis, run_id: str
) -> None:
    lost = '{"reason": "worker_lost", "error": "the worker is gone"}'
    await append(client, run_id, lost, "worker_lost", id="0-*", final="1")
    async with workflow(edge, run_id) as viewer:
        await viewer.until_ended()
        assert [(event.type, event.data) for event in viewer.events] == [
            (
                "complete",
                '{"status":"failed","error":"the worker is gone","reason":"worker_lost"}',
            )
        ]


# ---- the current execution


async def test_an_agent_has_no_execution_yet(edge: Edge, client: Redis, run_id: str) -> None:
    async with agent(edge, run_id) as viewer:
        await viewer.until_ended()
        assert viewer.status == httpx.codes.OK
        assert bytes(viewer.body).startswith(b"retry: "), "a client is to come back"
        assert viewer.messages == []
    for name in ("a b", "a%2Fb", "x" * 129):
        async with agent(edge, name.replace(" ", "%20")) as viewer:
            assert viewer.status in (httpx.codes.BAD_REQUEST, httpx.codes.NOT_FOUND)


async def test_the_next_execution_is_followed_when_the_viewer_comes_back(
    edge: Edge, client: Redis, run_id: str
) -> None:
    first, second = f"{run_id}-a", f"{run_id}-b"
    pointer = f"agent:{run_id}:current"
    await client.set(pointer, first)
    await append(client, first, "1")
    async with agent(edge, run_id) as viewer:
        await viewer.until(1)
        await client.set(pointer, second)
        await append(client, second, "of the second")
        await append(client, first, "2")
        await viewer.until(2)
        await append(client, first, "3", "complete")
        await viewer.until_ended()
        assert [event.data for event in viewer.events] == ["1", "2", "3"]
    async with agent(edge, run_id, viewer.ids[-1]) as viewer:
        # Ids from Redis' clock: the cursor is older than all of this run.
        await viewer.until(1)
        assert [(m.type, m.data) for m in viewer.messages][1:] == [("chunk", "of the second")]
        assert viewer.messages[0].type == "gap"
        assert '"reason":"reset"' in viewer.messages[0].data


async def test_a_pointer_that_names_no_run_is_none(edge: Edge, client: Redis, run_id: str) -> None:
    await client.set(f"agent:{run_id}:current", "not a run's id\r\n")
    async with agent(edge, run_id) as viewer:
        await viewer.until_ended()
        assert viewer.messages == []
    await client.delete(f"agent:{run_id}:current")
    await client.rpush(f"agent:{run_id}:current", "a list")
    async with agent(edge, run_id) as viewer:
        await viewer.until_ended()
        assert viewer.status == httpx.codes.OK
        assert viewer.messages == []


@pytest.mark.parametrize("seen", [1, 2, 3])
async def test_no_cursor_of_an_earlier_execution_skips_any_of_the_next(
    edge: Edge, redis_url: str, run_id: str, seen: int
) -> None:
    """With counted ids, as the library counts them: on from the agent's last execution."""
    async with RunPublisher(redis_url) as publisher:
        async with publisher.run(f"{run_id}-a", agent=run_id, dense=True) as run:
            for _ in range(2):
                await run.emit("progress")
            await run.finish("complete")
        async with agent(edge, run_id) as viewer:
            await viewer.until_ended()
            assert viewer.ids == ["1", "2", "3"]
        async with publisher.run(f"{run_id}-b", agent=run_id, dense=True) as run:
            for number in range(4):
                await run.emit("progress", {"number": number})
            await run.finish("complete")
    async with agent(edge, run_id, str(seen)) as viewer:
        await viewer.until_ended()
        events = [message for message in viewer.messages if message.type != "gap"]
        assert [event.id for event in events] == ["4", "5", "6", "7", "8"]
        gaps = [message for message in viewer.messages if message.type == "gap"]
        assert [json.loads(gap.data)["reason"] for gap in gaps] == ["reset"]


async def test_a_cursor_beyond_the_newest_event_is_another_executions(
    edge: Edge, client: Redis, run_id: str
) -> None:
    await client.set(f"agent:{run_id}:current", run_id)
    for _ in range(2):
        await append(client, run_id, id="0-*")
    async with agent(edge, run_id, "42") as viewer:
        await eventually(lambda: len(viewer.messages) == 3)
        assert '"reason":"reset"' in viewer.messages[0].data
        assert [message.id for message in viewer.messages[1:]] == ["1", "2"]
