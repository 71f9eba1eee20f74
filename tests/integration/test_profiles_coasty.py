"""Coasty: runs and their states."""

import contextlib
import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from redis.asyncio import Redis

from tests.support.edges import Edge
from tests.support.producer import append
from tests.support.servers import available_kinds
from tests.support.sse import Message
from tests.support.viewer import Viewer, watch


@pytest.fixture(scope="session")
def redis_kind() -> str:
    """What is said in which words does not depend on the kind of Redis, nor on the way to it."""
    return available_kinds()[0]


@pytest.fixture(scope="module")
def edge(redis_url: str) -> Iterator[Edge]:
    """An edge with the profile."""
    edge = Edge(redis_url, profile="coasty")
    yield edge
    edge.close()


def watch_run(edge: Edge, run_id: str, cursor: str | None = None, **options: Any) -> Viewer:
    """A viewer."""
    return watch(edge.events_url(run_id), cursor, **options)


def told(message: Message) -> tuple[str, dict[str, Any]]:
    """The name of the message, and its data."""
    return message.type, json.loads(message.data)


async def test_each_event_has_the_run_its_state_and_its_data(
    edge: Edge, client: Redis, run_id: str
) -> None:
    await append(client, run_id, "{}", "queued", id="0-*")
    await append(client, run_id, '{"machine": "m1"}', "running", id="0-*")
    await append(client, run_id, '{"text": "hi"}', "text", id="0-*")
    await append(client, run_id, '{"reason": "a captcha"}', "awaiting_human", id="0-*")
    await append(client, run_id, "no JSON", "something_new", id="0-*")
    await append(client, run_id, '{"result": {"passed": true}}', "succeeded", id="0-*")
    async with watch_run(edge, run_id) as viewer:
        await viewer.until_ended()

    def common(number: int, state: str, event_type: str, data: Any) -> dict[str, Any]:
        known = {"run_id": run_id, "state": state, "type": event_type, "id": str(number)}
        return {**known, "data": data, **(data if isinstance(data, dict) else {})}

    assert [told(message) for message in viewer.messages] == [
        ("status", {**common(1, "queued", "queued", {}), "status": "queued"}),
        ("status", {**common(2, "running", "running", {"machine": "m1"}), "status": "running"}),
        ("text", common(3, "running", "text", {"text": "hi"})),
        (
            "awaiting_human",
            common(4, "awaiting_human", "awaiting_human", {"reason": "a captcha"}),
        ),
        ("something_new", common(5, "running", "something_new", "no JSON")),
        (
            "done",
            {
                **common(6, "succeeded", "succeeded", {"result": {"passed": True}}),
                "status": "succeeded",
            },
        ),
    ]
    assert [message.id for message in viewer.messages] == ["1", "2", "3", "4", "5", "6"]


async def test_events_in_the_words_of_its_reference_end_at_done(
    edge: Edge, client: Redis, run_id: str
) -> None:
    for event_type, data in (
        ("status", '{"status": "running"}'),
        ("tool_result", '{"step": 1, "status": "ok"}'),
        ("status", '{"status": "failed"}'),
        ("done", '{"status": "failed", "result": null, "error": {"code": "TASK_FAILED"}}'),
    ):
        await append(client, run_id, data, event_type, id="0-*")
    async with watch_run(edge, run_id) as viewer:
        await viewer.until_ended()
    assert [
        (name, document["state"], document["type"]) for name, document in map(told, viewer.messages)
    ] == [
        ("status", "running", "status"),
        ("tool_result", "running", "tool_result"),
        ("status", "failed", "status"),
        ("done", "failed", "failed"),
    ]
    assert told(viewer.messages[-1])[1]["error"] == {"code": "TASK_FAILED"}


@pytest.mark.parametrize(
    ("event_type", "data", "state"),
    [
        *((state, "{}", state) for state in ("succeeded", "failed", "cancelled", "timed_out")),
        ("step", '{"state": "cancelled"}', "cancelled"),
        ("no_worker", '{"error": "nobody came"}', "timed_out"),
        ("worker_lost", '{"error": "gone"}', "failed"),
    ],
)
async def test_a_terminal_state_ends_the_stream(
    edge: Edge, client: Redis, run_id: str, event_type: str, data: str, state: str
) -> None:
    final = {"final": "1"} if event_type in ("no_worker", "worker_lost") else {}
    await append(client, run_id, "{}", "running")
    await append(client, run_id, data, event_type, **final)
    async with watch_run(edge, run_id) as viewer:
        await viewer.until_ended()
        assert len(viewer.messages) == 2
        name, document = told(viewer.messages[-1])
        assert (name, document["state"], document["status"]) == ("done", state, state)
        assert viewer.whole
    async with watch_run(edge, run_id, viewer.messages[-1].id) as viewer:
        assert viewer.status == httpx.codes.NO_CONTENT


async def test_after_and_last_event_id_are_the_same(edge: Edge, client: Redis, run_id: str) -> None:
    for number in range(3):
        await append(client, run_id, f'{{"number": {number}}}', "text", id="0-*")
    await append(client, run_id, "{}", "done", id="0-*")
    for cursor, query in (("2", {}), (None, {"after": "2"}), ("2", {"after": "1"})):
        url = edge.events_url(run_id, "&".join(map("=".join, query.items())))
        async with watch(url, cursor) as viewer:
            await viewer.until_ended()
            assert [message.id for message in viewer.messages] == ["3", "4"]
    async with watch(edge.events_url(run_id, "after=0")) as viewer:
        await viewer.until_ended()
        assert [message.id for message in viewer.messages] == ["1", "2", "3", "4"]


async def test_line_breaks_of_other_readers_do_not_break_lines(
    edge: Edge, client: Redis, run_id: str
) -> None:
    """Coasty's Python client splits what it gets by `str.splitlines`."""
    await append(client, run_id, '{"text": "a\u2028b\u0085c"}', "text")
    await append(client, run_id, "{}", "done")
    async with watch_run(edge, run_id) as viewer:
        await viewer.until_ended()
    lines = bytes(viewer.body).decode().splitlines()
    assert all(line.partition(": ")[0] in ("", "retry", "id", "event", "data") for line in lines)
    assert told(viewer.messages[0])[1]["text"] == "a\u2028b\u0085c"


async def test_a_page_has_its_cursors_too(edge: Edge, client: Redis, run_id: str) -> None:
    for number in range(3):
        await append(client, run_id, f'{{"number": {number}}}', "text", id="0-*")
    async with httpx.AsyncClient(headers={"accept": "application/json"}) as http:
        page = (await http.get(edge.events_url(run_id, "after=1"))).json()
        assert [event["id"] for event in page["events"]] == ["2", "3"]
        assert (page["next"], page["gap"]) == ("3", None)
        after = (await http.get(edge.events_url(run_id, f"after={page['next']}"))).json()
        assert after["events"] == []


async def test_a_run_is_made_as_documented_and_watched_before_anybody_works_on_it(
    redis_url: str, client: Redis, run_id: str
) -> None:
    requests = f"requests:{run_id}"
    settings = {"profile": "coasty", "publish": True, "requests_key": requests}
    body = {"machine_id": "mch_test_abc", "task": "Export the report", "max_steps": 2}
    key = {"Idempotency-Key": f"quickstart-{run_id}"}
    with contextlib.closing(Edge(redis_url, **settings)) as edge:
        async with httpx.AsyncClient(base_url=edge.url) as http:
            made = await http.post("/v1/runs", json=body, headers=key)
            assert made.status_code == httpx.codes.CREATED
            assert made.json()["status"] == "queued"
            again = await http.post("/v1/runs", json=body, headers=key)
            assert again.json()["id"] == made.json()["id"]
        async with watch_run(edge, made.json()["id"]) as viewer:
            await viewer.until(1)
            name, document = told(viewer.messages[0])
            assert (name, document["state"], document["id"]) == ("status", "queued", "1")
    found: Any = await client.xrange(requests)
    ((_, request),) = found
    assert (request["profile"], json.loads(request["input"])) == ("coasty", body)
    assert request["run_id"] == made.json()["id"]
