"""AG-UI from a real server to its own client: whole runs, joins at every cursor, trimmed runs.

That the bytes are right wherever one joins is in tests/clients/test_agui_client.py; here it is
whether the server finds out what they have to be.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import orjson
import pytest
from redis.asyncio import Redis

from tests.conftest import WAYS
from tests.support.agui_client import Client, gaps_of, needs_agui_client, texts_of
from tests.support.agui_runs import CHUNKED, ERRED, REALISTIC, SUBAGENTS, as_events
from tests.support.edges import Edge
from tests.support.producer import append, key_of
from tests.support.servers import available_kinds
from tests.support.viewer import watch
from tests.support.waiting import eventually

pytestmark = needs_agui_client


@pytest.fixture(scope="session")
def redis_kind() -> str:
    """What is told to whom does not depend on the server."""
    return available_kinds()[0]


@pytest.fixture(scope="session")
def edge_settings() -> dict[str, Any]:
    """Nor on the way to the client."""
    return WAYS["detached-notify"]


@pytest.fixture(scope="module")
def agui() -> Iterator[Client]:
    """AG-UI's own client."""
    client = Client()
    yield client
    client.close()


@pytest.fixture(scope="module")
def agui_edge(redis_url: str, edge_settings: dict[str, Any]) -> Iterator[Edge]:
    """An edge with the profiles that speak AG-UI."""
    edge = Edge(redis_url, profile="native,ag-ui,middesk", **edge_settings)
    yield edge
    edge.close()


@pytest.fixture
async def watching(agui: Client) -> AsyncIterator[Callable[[str], asyncio.Task[dict[str, Any]]]]:
    """Has the client watch a URL while the test goes on."""
    tasks: list[asyncio.Task[dict[str, Any]]] = []

    def start(url: str) -> asyncio.Task[dict[str, Any]]:
        task = asyncio.create_task(asyncio.to_thread(agui.ask, {"url": url}))
        tasks.append(task)
        return task

    yield start
    await asyncio.gather(*tasks, return_exceptions=True)


def url_of(edge: Edge, run_id: str, query: str = "") -> str:
    return f"{edge.url}/v1/runs/{run_id}/ag-ui" + (f"?{query}" if query else "")


async def write(client: Redis, run_id: str, run: list[dict[str, Any]]) -> list[str]:
    """Appends a run as a worker does; the ids."""
    return [await append(client, run_id, each.data, each.type) for each in as_events(run)]


def accepted(answer: dict[str, Any]) -> dict[str, Any]:
    assert (answer["thrown"], answer["warnings"]) == (None, [])
    return answer


@pytest.mark.parametrize("run", [REALISTIC, CHUNKED, SUBAGENTS, ERRED])
async def test_a_run_is_watched_while_it_goes_on(
    agui_edge: Edge,
    client: Redis,
    run_id: str,
    watching: Callable[[str], asyncio.Task[dict[str, Any]]],
    run: list[dict[str, Any]],
) -> None:
    answer = watching(url_of(agui_edge, run_id))
    await eventually(lambda: agui_edge.metric("runcast_subscribers") >= 1)
    await write(client, run_id, run)
    watched = accepted(await answer)
    assert watched["types"][0] == "RUN_STARTED"
    assert watched["types"][-1] == run[-1]["type"]
    # Whoever comes later is told the same.
    assert accepted(await watching(url_of(agui_edge, run_id))) == watched
    folded = accepted(await watching(url_of(agui_edge, run_id, "fold=text")))
    assert (folded["messages"], folded["state"]) == (watched["messages"], watched["state"])
    assert len(folded["types"]) < len(watched["types"])


@pytest.mark.parametrize("run", [REALISTIC, CHUNKED, SUBAGENTS])
async def test_whoever_joins_at_a_cursor_ends_with_what_the_others_have(
    agui_edge: Edge, client: Redis, run_id: str, agui: Client, run: list[dict[str, Any]]
) -> None:
    ids = await write(client, run_id, run)
    full = accepted(agui.ask({"url": url_of(agui_edge, run_id)}))
    for cut in range(1, len(ids)):
        await client.delete(key_of(f"{run_id}-{cut}"))
        before = await _as_far_as(agui_edge, client, agui, f"{run_id}-{cut}", run[:cut])
        resumed = {"url": url_of(agui_edge, run_id, f"last_event_id={ids[cut - 1]}"), **before}
        answer = accepted(agui.ask(resumed))
        assert answer["messages"] == full["messages"], run[cut]
        assert answer["state"] == full["state"], run[cut]


async def _as_far_as(
    edge: Edge, client: Redis, agui: Client, run_id: str, run: list[dict[str, Any]]
) -> dict[str, Any]:
    """What a client has that was cut off there: its connection is, by an end that is none."""
    await write(client, run_id, run)
    await append(client, run_id, b"{}", "worker_lost")
    answer = accepted(agui.ask({"url": url_of(edge, run_id)}))
    assert answer["types"][-1] == "RUN_ERROR"
    return {"messages": answer["messages"], "state": answer["state"]}


async def test_whoever_joins_anew_in_mid_run_is_told_the_state(
    agui_edge: Edge,
    client: Redis,
    run_id: str,
    watching: Callable[[str], asyncio.Task[dict[str, Any]]],
) -> None:
    await write(client, run_id, REALISTIC[:20])
    answer = watching(url_of(agui_edge, run_id, "from=latest"))
    await eventually(lambda: agui_edge.metric("runcast_subscribers") >= 1)
    await write(client, run_id, REALISTIC[20:])
    joined = accepted(await answer)
    assert joined["state"] == {"plan": ["say it"], "progress": 100}
    assert texts_of(joined)["m-3"] == "It is 21 °C in Bern ☀. Anything else?"
    assert joined["types"][:6] == [
        "RUN_STARTED",
        "STATE_SNAPSHOT",
        *["STEP_STARTED"] * 2,
        "TEXT_MESSAGE_START",
        "TOOL_CALL_START",
    ]


async def test_whoever_joins_anew_is_told_no_changes_of_a_state_that_nobody_told_them(
    agui_edge: Edge,
    client: Redis,
    run_id: str,
    watching: Callable[[str], asyncio.Task[dict[str, Any]]],
) -> None:
    stateless = [said for said in REALISTIC if said["type"] != "STATE_SNAPSHOT"]
    await write(client, run_id, stateless[:20])
    answer = watching(url_of(agui_edge, run_id, "from=latest"))
    await eventually(lambda: agui_edge.metric("runcast_subscribers") >= 1)
    await write(client, run_id, stateless[20:])
    assert "STATE_DELTA" not in accepted(await answer)["types"]


@pytest.mark.parametrize("run", [REALISTIC, CHUNKED, SUBAGENTS, ERRED])
async def test_a_run_whose_beginning_was_trimmed(
    agui_edge: Edge, client: Redis, run_id: str, agui: Client, run: list[dict[str, Any]]
) -> None:
    ids = await write(client, run_id, run)
    for cut in range(2, len(ids), 2):
        await client.xtrim(key_of(run_id), minid=ids[cut], approximate=False)
        anew = accepted(agui.ask({"url": url_of(agui_edge, run_id)}))
        assert anew["types"][0] == "RUN_STARTED"
        assert anew["types"][-1] == run[-1]["type"]
        resumed = {"url": url_of(agui_edge, run_id, f"last_event_id={ids[0]}")}
        answer = agui.ask(resumed)
        assert answer["thrown"] is None
        assert gaps_of(answer) == 1


@pytest.mark.parametrize("query", ["", "fold=text"])
async def test_a_run_that_is_trimmed_under_those_who_watch_it(
    agui_edge: Edge,
    client: Redis,
    run_id: str,
    watching: Callable[[str], asyncio.Task[dict[str, Any]]],
    query: str,
) -> None:
    await write(client, run_id, REALISTIC[:17])
    async with watch(url_of(agui_edge, run_id)) as viewer:
        answer = watching(url_of(agui_edge, run_id, query))
        await viewer.until(17)
        await eventually(lambda: agui_edge.metric("runcast_subscribers") >= 2)
        async with client.pipeline(transaction=True) as transaction:
            for event in as_events(REALISTIC)[17:25]:
                entry: dict[Any, Any] = {"type": event.type, "data": event.data}
                transaction.xadd(key_of(run_id), entry, maxlen=2, approximate=False)
            await transaction.execute()
        await viewer.until(19)
        await write(client, run_id, REALISTIC[25:])
    told = await answer
    assert told["thrown"] is None
    assert gaps_of(told) == 1
    assert told["types"][-1] == "RUN_FINISHED"
    assert texts_of(told)["m-3"] == "It is 21 °C in Bern ☀. Anything else?"


async def test_a_cursor_of_another_run(
    agui_edge: Edge,
    client: Redis,
    run_id: str,
    watching: Callable[[str], asyncio.Task[dict[str, Any]]],
) -> None:
    await write(client, run_id, REALISTIC[:20])
    answer = watching(url_of(agui_edge, run_id, "last_event_id=99999999999999-7"))
    await eventually(lambda: agui_edge.metric("runcast_subscribers") >= 1)
    await write(client, run_id, REALISTIC[20:])
    other = accepted(await answer)
    full = accepted(await watching(url_of(agui_edge, run_id)))
    assert (other["messages"], other["state"]) == (full["messages"], full["state"])
    assert other["errors"] == []
    assert [each["value"]["reason"] for each in other["custom"] if each["name"] != "cost"] == [
        "reset"
    ]


async def test_a_finished_middesk_run_is_told_from_its_start_with_its_id_in_every_event(
    agui_edge: Edge, client: Redis, run_id: str, agui: Client
) -> None:
    run: list[dict[str, Any]] = [
        {"type": "RUN_STARTED"},
        {"type": "STATE_SNAPSHOT", "snapshot": {"run": {}, "steps": [], "artifacts": []}},
        {"type": "STATE_SNAPSHOT", "snapshot": {"run": {}, "steps": ["s"], "artifacts": ["a"]}},
        {"type": "RUN_FINISHED"},
    ]
    await write(client, run_id, run)
    url = f"{agui_edge.url}/v1/runs/{run_id}/stream"
    answer = agui.ask({"url": url})
    assert (answer["thrown"], answer["types"]) == (None, [said["type"] for said in run])
    assert answer["state"] == {"run": {}, "steps": ["s"], "artifacts": ["a"]}
    async with watch(url) as viewer:
        await viewer.until_ended()
    assert viewer.whole
    assert [message.type for message in viewer.messages] == ["message"] * 4
    assert {orjson.loads(message.data)["run_id"] for message in viewer.messages} == {run_id}


async def test_heartbeats_and_the_wait_for_a_run_harm_no_client(
    agui_edge: Edge,
    client: Redis,
    run_id: str,
    watching: Callable[[str], asyncio.Task[dict[str, Any]]],
) -> None:
    answer = watching(url_of(agui_edge, run_id))
    async with watch(url_of(agui_edge, run_id)) as viewer:
        await eventually(lambda: viewer.decoder.comments)
        await append(client, run_id, b"{}", "queued")
        await write(client, run_id, REALISTIC[:10])
        await eventually(lambda: len(viewer.decoder.comments) > 1)
        await write(client, run_id, REALISTIC[10:])
        await viewer.until_ended()
    assert accepted(await answer)["types"] == [said["type"] for said in REALISTIC]
