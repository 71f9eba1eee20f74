"""Travelmode: agent runs, streamed with their status, or polled."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from redis.asyncio import Redis

from broker.publishing import RunPublisher
from broker.redis.meta import meta_key
from tests.support.edges import Edge
from tests.support.producer import append, key_of
from tests.support.servers import available_kinds
from tests.support.viewer import Viewer, watch
from tests.support.waiting import eventually

_OURS = Path(__file__).parents[2] / "broker" / "profiles" / "travelmode.toml"


@pytest.fixture(scope="session")
def redis_kind() -> str:
    """What is said in which words does not depend on the kind of Redis, nor on the way to it."""
    return available_kinds()[0]


@pytest.fixture(scope="module")
def edge(redis_url: str) -> Iterator[Edge]:
    """An edge with the profile."""
    edge = Edge(redis_url, profile="travelmode")
    yield edge
    edge.close()


def stream(edge: Edge, run_id: str, since: int | None = 0, cursor: str | None = None) -> Viewer:
    """A viewer."""
    query = "" if since is None else f"?since={since}"
    return watch(f"{edge.url}/v1/agent-runs/{run_id}/stream{query}", cursor)


async def poll(edge: Edge, run_id: str, query: str = "since=0") -> dict[str, Any]:
    """The answer to who polls."""
    async with httpx.AsyncClient() as http:
        answer = await http.get(f"{edge.url}/v1/agent-runs/{run_id}/events?{query}")
        assert answer.headers["content-type"] == "application/json"
        answer.raise_for_status()
        document: dict[str, Any] = answer.json()
        return document


def told(viewer: Viewer) -> list[dict[str, Any]]:
    """What its messages say; none of them has a name."""
    assert {message.type for message in viewer.messages} <= {"message"}
    return [json.loads(message.data) for message in viewer.messages]


def of_type(viewer: Viewer, kind: str) -> list[dict[str, Any]]:
    """Those messages of this type."""
    return [frame for frame in told(viewer) if frame["type"] == kind]


async def test_connected_comes_first_and_run_finished_last(
    edge: Edge, client: Redis, run_id: str
) -> None:
    await append(client, run_id, "{}", "queued", id="0-*")
    await append(client, run_id, '{"phase": "compose"}', "PHASE_STARTED", id="0-*")
    await append(client, run_id, '{"error": "a hiccup"}', "error", id="0-*")
    async with stream(edge, run_id) as viewer:
        await eventually(lambda: len(viewer.messages) == 3)
        await append(client, run_id, '{"status": "completed"}', "run_finished", id="0-*")
        await viewer.until_ended()
    frames = told(viewer)
    assert frames[0] == {
        "type": "connected",
        "runId": run_id,
        "runStatus": "running",
        "currentPhase": None,
    }
    assert frames[1:] == [
        {
            "type": "run_event",
            "sequence": 2,
            "eventType": "PHASE_STARTED",
            "payload": {"phase": "compose"},
            "createdAt": None,
        },
        {"type": "error", "error": "a hiccup", "sequence": 3},
        {"type": "run_finished", "runId": run_id, "status": "completed", "sequence": 4},
    ]
    assert [message.id for message in viewer.messages[1:]] == ["2", "3", "4"]


@pytest.mark.parametrize(
    ("event_type", "data", "status"),
    [
        ("completed", "{}", "completed"),
        ("failed", '{"error": "no"}', "failed"),
        ("cancelled", "{}", "cancelled"),
        ("run_finished", '{"status": "cancelled"}', "cancelled"),
        ("worker_lost", "{}", "failed"),
        ("no_worker", "{}", "failed"),
        ("timed_out", "{}", "failed"),
        ("succeeded", "{}", "completed"),
        ("report", "as text", "completed"),
    ],
)
async def test_every_end_is_a_run_finished_with_one_of_three_statuses(
    edge: Edge, client: Redis, run_id: str, event_type: str, data: str, status: str
) -> None:
    by_its_type = event_type not in ("worker_lost", "no_worker", "report")
    await append(client, run_id, data, event_type, **({} if by_its_type else {"final": "1"}))
    async with stream(edge, run_id) as viewer:
        await viewer.until_ended()
        (finished,) = of_type(viewer, "run_finished")
        assert (finished["status"], finished["runId"]) == (status, run_id)
    page = await poll(edge, run_id)
    assert (page["runStatus"], len(page["events"])) == (status, 1)
    # Of a run that is over, and of which nothing is left to read.
    after = await poll(edge, run_id, f"since={page['events'][0]['sequence']}")
    assert (after["runStatus"], after["events"]) == (status, [])


async def test_the_status_and_the_phase_are_said_now_and_then(
    redis_url: str, client: Redis, run_id: str, tmp_path: Path
) -> None:
    often = tmp_path / "travelmode.toml"
    often.write_text(_OURS.read_text().replace("seconds = 15", "seconds = 1"))
    await append(client, run_id)
    meta = meta_key(key_of(run_id))
    with contextlib.closing(Edge(redis_url, profile=str(often))) as edge:
        async with stream(edge, run_id) as viewer:
            await eventually(lambda: of_type(viewer, "status"))
            assert of_type(viewer, "status")[0] == {
                "type": "status",
                "runId": run_id,
                "runStatus": "running",
                "currentPhase": None,
            }
            await client.hset(meta, mapping={"status": "running", "phase": "reason"})
            await eventually(lambda: of_type(viewer, "status")[-1]["currentPhase"] == "reason")
            await append(client, run_id, "{}", "completed")
            await viewer.until_ended()
    # A status moves no cursor.
    assert not any(m.own_id for m in viewer.messages if '"type":"status"' in m.data)


async def test_a_worker_with_the_library_says_it_all(
    edge: Edge, redis_url: str, run_id: str
) -> None:
    assert (await poll(edge, run_id))["runStatus"] == "pending"
    async with stream(edge, run_id) as waiting:
        await eventually(lambda: told(waiting) != [])
        assert told(waiting)[0]["runStatus"] == "pending"
        async with (
            RunPublisher(redis_url) as publisher,
            publisher.run(run_id, dense=True) as run,
        ):
            await run.progress(phase="plan")
            await run.emit("PHASE_STARTED", {"phase": "plan"})
            await run.flush()

            async def is_planning() -> bool:
                page = await poll(edge, run_id)
                return (page["runStatus"], page["currentPhase"]) == ("running", "plan")

            await eventually(is_planning)
        await waiting.until_ended()
    assert of_type(waiting, "run_finished")[0]["status"] == "completed"
    page = await poll(edge, run_id)
    assert (page["runStatus"], page["currentPhase"]) == ("completed", "plan")
    assert [event["sequence"] for event in page["events"]] == [1, 2]


async def test_the_poll_answer_has_the_documented_form(
    edge: Edge, client: Redis, run_id: str
) -> None:
    for number in range(3):
        await append(client, run_id, f'{{"number": {number}}}', "STEP")
    everything = await poll(edge, run_id)
    assert everything["runStatus"] == "running"
    assert everything["currentPhase"] is None
    sequences = [event["sequence"] for event in everything["events"]]
    assert sequences == sorted(set(sequences))
    event = everything["events"][0]
    assert set(event) == {"sequence", "eventType", "payload", "createdAt"}
    assert (event["eventType"], event["payload"]) == ("STEP", {"number": 0})
    assert event["createdAt"].endswith("Z")
    later = await poll(edge, run_id, f"since={sequences[1]}")
    assert [event["sequence"] for event in later["events"]] == sequences[2:]


async def test_who_polls_until_the_status_is_final_has_all_events(
    edge: Edge, client: Redis, run_id: str
) -> None:
    """The documentation's loop, on a run of many pages that is over already."""
    for _ in range(250):
        await append(client, run_id, "{}", "STEP", id="0-*")
    await append(client, run_id, "{}", "completed", id="0-*")
    seen: list[int] = []
    while True:
        page = await poll(edge, run_id, f"since={seen[-1] if seen else 0}")
        seen += [event["sequence"] for event in page["events"]]
        if page["runStatus"] in ("completed", "failed", "cancelled"):
            break
        assert page["events"], "or it would never end"
    assert seen == list(range(1, 252))


async def test_a_status_that_a_dead_worker_left_behind_ends_with_the_run(
    edge: Edge, client: Redis, run_id: str
) -> None:
    await client.hset(meta_key(key_of(run_id)), mapping={"status": "running", "phase": "act"})
    await append(client, run_id, "{}", "STEP", id="0-*")
    assert (await poll(edge, run_id))["runStatus"] == "running"
    await append(client, run_id, "{}", "worker_lost", id="0-*", final="1")

    async def has_failed() -> bool:
        return bool((await poll(edge, run_id, "since=2"))["runStatus"] == "failed")

    await eventually(has_failed)


async def test_the_newest_cursor_wins_when_an_event_source_comes_back(
    edge: Edge, client: Redis, run_id: str
) -> None:
    for _ in range(3):
        await append(client, run_id, "{}", "STEP", id="0-*")
    await append(client, run_id, "{}", "completed", id="0-*")
    async with stream(edge, run_id, since=0, cursor="2") as viewer:
        await viewer.until_ended()
        assert [frame.get("sequence") for frame in told(viewer)] == [None, 3, 4]
    async with stream(edge, run_id, since=4) as viewer:
        assert viewer.status == httpx.codes.NO_CONTENT


async def test_a_gap_is_an_error_that_the_client_is_told(
    edge: Edge, client: Redis, run_id: str
) -> None:
    for _ in range(5):
        await append(client, run_id, "{}", "STEP", id="0-*")
    await client.xtrim(key_of(run_id), maxlen=2, approximate=False)
    async with stream(edge, run_id, since=1) as viewer:
        await eventually(lambda: len(viewer.messages) == 4)
        assert told(viewer)[1] == {
            "type": "error",
            "error": "events are missing",
            "code": "gap",
            "reason": "trimmed",
            "requested": "1",
            "resumedAt": "4",
        }
    page = await poll(edge, run_id, "since=1")
    assert page["gap"] == {"requested": "1", "resumed_at": "4", "reason": "trimmed"}
    # Who has seen nothing is not told that something is gone.
    assert (await poll(edge, run_id))["gap"] is None
