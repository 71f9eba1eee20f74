"""A run's events over SSE, as section 4 of the contract has it."""

import time
from collections.abc import Callable

from redis.asyncio import Redis

from tests.support.edges import Edge
from tests.support.producer import append, key_of
from tests.support.viewer import together, watch
from tests.support.waiting import eventually


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


async def test_the_head_of_the_answer(edge: Edge, client: Redis, run_id: str) -> None:
    await append(client, run_id)
    async with watch(edge.events_url(run_id)) as viewer:
        await viewer.until_caught_up()
    assert viewer.status == 200
    assert viewer.response_headers["content-type"].startswith("text/event-stream")
    assert viewer.response_headers["cache-control"] == "no-store, no-transform"
    assert viewer.response_headers["x-accel-buffering"] == "no"
    assert viewer.response_headers["x-content-type-options"] == "nosniff"
    assert bytes(viewer.body).startswith(b"retry: ")
    assert viewer.decoder.retry is not None


async def test_the_frame_has_the_data_byte_for_byte(edge: Edge, client: Redis, run_id: str) -> None:
    data = '{"text": "¡hola! 🦊", "n":1.0}'
    entry_id = await append(client, run_id, data)
    async with watch(edge.events_url(run_id)) as viewer:
        await viewer.until(1)
    assert f"id: {entry_id}\nevent: chunk\ndata: {data}\n\n".encode() in bytes(viewer.body)


async def test_the_header_wins_over_the_query(edge: Edge, client: Redis, run_id: str) -> None:
    ids = [await append(client, run_id) for _ in range(4)]
    async with watch(edge.events_url(run_id, f"last_event_id={ids[0]}&from=latest"), ids[2]) as v:
        await v.until_caught_up()
        assert v.ids == ids[3:]
    for name in ("last_event_id", "lastEventId", "since"):
        async with watch(edge.events_url(run_id, f"{name}={ids[1]}&from=latest")) as viewer:
            await viewer.until_caught_up()
            assert viewer.ids == ids[2:]


async def test_from_latest(edge: Edge, client: Redis, run_id: str) -> None:
    await append(client, run_id)
    async with watch(edge.events_url(run_id, "from=latest")) as viewer:
        await viewer.until_caught_up()
        new = await append(client, run_id)
        await viewer.until(1)
    assert viewer.ids == [new]
    assert viewer.gaps == []


async def test_from_the_newest(edge: Edge, client: Redis, run_id: str) -> None:
    ids = [await append(client, run_id) for _ in range(10)]
    for count in (1, 3, 9, 10, 11, 500):
        async with watch(edge.events_url(run_id, f"from=-{count}")) as viewer:
            await viewer.until_caught_up()
            assert viewer.ids == ids[-count:], count
            assert viewer.gaps == []


async def test_from_a_time(edge: Edge, client: Redis, run_id: str) -> None:
    ids = [await append(client, run_id, id=f"{1_767_225_600_000 + n * 1000}-0") for n in range(4)]
    for query, expected in (
        ("2025-12-31T23:59:59Z", ids),
        ("2026-01-01T00:00:00Z", ids),
        ("2026-01-01T00:00:00.001Z", ids[1:]),
        ("2026-01-01T01:00:02%2B01:00", ids[2:]),
        ("2030-01-01T00:00:00Z", []),
    ):
        async with watch(edge.events_url(run_id, f"from={query}")) as viewer:
            await viewer.until_caught_up()
            assert viewer.ids == expected, query
            assert viewer.gaps == []


async def test_only_some_types(edge: Edge, client: Redis, run_id: str) -> None:
    wanted = await append(client, run_id, event_type="chunk")
    await append(client, run_id, event_type="noise")
    async with watch(edge.events_url(run_id, "types=chunk,other")) as viewer:
        await viewer.until_caught_up()
        skipped = await append(client, run_id, event_type="noise")
        # The next heartbeat carries the id of what was skipped.
        await eventually(lambda: viewer.decoder.last_event_id == skipped)
        assert viewer.ids == [wanted]
    async with watch(edge.events_url(run_id, "types=chunk"), skipped) as viewer:
        last = await append(client, run_id, "{}", "done")
        await viewer.until_ended()
        assert viewer.ids == []
        assert viewer.decoder.last_event_id == last


async def test_heartbeats(edge: Edge, client: Redis, run_id: str) -> None:
    await append(client, run_id)
    async with (
        watch(edge.events_url(run_id)) as comment,
        watch(edge.events_url(run_id, "heartbeat=event")) as event,
    ):
        await eventually(lambda: len(comment.decoder.comments) >= 2)
        await eventually(lambda: [m.type for m in event.messages].count("heartbeat") >= 2)
    assert b": heartbeat\n\n" not in comment.body
    assert not event.decoder.comments


async def test_control_events_can_be_turned_off(edge: Edge, client: Redis, run_id: str) -> None:
    ids = [await append(client, run_id) for _ in range(5)]
    await client.xtrim(key_of(run_id), maxlen=2, approximate=False)
    async with watch(edge.events_url(run_id, "control=0"), ids[0]) as viewer:
        await viewer.until(2)
        assert [message.type for message in viewer.messages] == ["chunk", "chunk"]
    assert viewer.response_headers["runcast-gap"] == (
        f"requested={ids[0]}, resumed_at={ids[3]}, reason=trimmed"
    )
    async with watch(edge.events_url(run_id, "control=0"), ids[3]) as viewer:
        await viewer.until(1)
    assert "runcast-gap" not in viewer.response_headers


async def test_waits_for_a_run_that_has_not_begun(edge: Edge, client: Redis, run_id: str) -> None:
    async with watch(edge.events_url(run_id)) as viewer:
        await viewer.until_caught_up()
        ids = [await append(client, run_id), await append(client, run_id, "{}", "done")]
        await viewer.until_ended()
    assert viewer.ids == ids
    assert viewer.gaps == []


async def test_does_not_wait_for_ever(start_edge: Callable[..., Edge], run_id: str) -> None:
    edge = start_edge(missing_run_timeout_seconds=0.5)
    async with watch(edge.events_url(run_id)) as viewer:
        await viewer.until_ended()
    assert viewer.whole
    assert edge.metric("runcast_disconnects_total", reason="run_missing") == 1


async def test_a_missing_run_can_be_rejected(start_edge: Callable[..., Edge], run_id: str) -> None:
    edge = start_edge(missing_run="reject")
    async with watch(edge.events_url(run_id)) as viewer:
        await viewer.until_ended()
    assert viewer.status == 404
    assert viewer.json()["type"] == "urn:runcast:problem:run-not-found"


async def test_a_cursor_into_an_expired_run(
    edge: Edge, start_edge: Callable[..., Edge], run_id: str
) -> None:
    async with watch(edge.events_url(run_id), "7-0") as viewer:
        await viewer.until_caught_up()
        assert viewer.gaps == [{"requested": "7-0", "resumed_at": None, "reason": "unknown"}]
    ending = start_edge(expired_run="end")
    async with watch(ending.events_url(run_id), "7-0") as viewer:
        assert viewer.status == 204


async def test_at_and_past_the_terminal_event(edge: Edge, client: Redis, run_id: str) -> None:
    await append(client, run_id, id="5-0")
    await append(client, run_id, "{}", "succeeded", id="6-0")
    for cursor in ("6-0", "6-1", "9-9"):
        async with watch(edge.events_url(run_id), cursor) as viewer:
            assert viewer.status == 204
            assert viewer.response_headers["cache-control"] == "no-store"
    async with watch(edge.events_url(run_id), "5-0") as viewer:
        await viewer.until_ended()
        assert viewer.ids == ["6-0"]


async def test_what_comes_after_the_terminal_event_is_not_the_runs(
    edge: Edge, client: Redis, run_id: str
) -> None:
    ids = [await append(client, run_id), await append(client, run_id, "{}", "done")]
    await append(client, run_id)
    async with watch(edge.events_url(run_id)) as viewer:
        await viewer.until_ended()
        assert viewer.ids == ids


async def test_other_ways_to_end(start_edge: Callable[..., Edge], client: Redis) -> None:
    edge = start_edge(terminal_rule="state in succeeded,failed", terminal_types="bye")
    for name, data, event_type, fields in (
        ("rule", '{"state":"failed"}', "status", {}),
        ("field", "{}", "status", {"final": "1"}),
        ("type", "{}", "bye", {}),
    ):
        run_id = f"t-end-{name}-{time.time_ns()}"
        await append(client, run_id, "{}", "done")
        async with watch(edge.events_url(run_id)) as viewer:
            await viewer.until_caught_up()
            await append(client, run_id, data, event_type, **fields)
            await viewer.until_ended()
            assert len(viewer.ids) == 2


async def test_names_are_settings(
    start_edge: Callable[..., Edge], client: Redis, run_id: str
) -> None:
    edge = start_edge(key_template="app:{{jobs}}:{run_id}", type_field="kind", data_field="body")
    entry_id = await client.xadd(f"app:{{jobs}}:{run_id}", {"kind": "step", "body": "hello"})
    async with watch(edge.events_url(run_id)) as viewer:
        [message] = await viewer.until(1)
    assert (message.id, message.type, message.data) == (entry_id, "step", "hello")


async def test_dense_ids(edge: Edge, client: Redis, run_id: str) -> None:
    ids = [await append(client, run_id, id=f"0-{number}") for number in range(1, 30)]
    async with watch(edge.events_url(run_id), "0-9") as viewer:
        await viewer.until_caught_up()
        await append(client, run_id, id="0-30")
        await viewer.until(21)
        assert viewer.ids == [*ids[9:], "0-30"]
        assert viewer.gaps == []


async def test_a_long_run_is_replayed_whole_to_many(edge: Edge, client: Redis, run_id: str) -> None:
    async with client.pipeline(transaction=False) as pipeline:
        for number in range(5000):
            pipeline.xadd(key_of(run_id), {"data": f"{number}"})
        ids = await pipeline.execute()
    async with together(watch(edge.events_url(run_id)) for _ in range(20)) as viewers:
        for viewer in viewers:
            await viewer.until(5000, within=30)
            assert viewer.ids == ids


async def test_head(edge: Edge, client: Redis, run_id: str) -> None:
    import httpx

    await append(client, run_id)
    async with httpx.AsyncClient() as http:
        answer = await http.head(edge.events_url(run_id))
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/event-stream")


async def test_a_stream_cut_before_its_first_event_says_where_it_stood(
    edge: Edge, client: Redis, run_id: str
) -> None:
    """Else a reconnect with `from=latest` would begin at a later latest, and skip the rest."""
    old = await append(client, run_id)
    for query, control in (("from=latest", True), ("from=latest&control=0", False)):
        async with watch(edge.events_url(run_id, query)) as viewer:
            await viewer.until_last_event_id(old)
            assert viewer.caught_up is control
            assert viewer.ids == []
    async with watch(edge.events_url(f"{run_id}-new", "from=latest")) as viewer:
        await viewer.until_caught_up()
        assert viewer.decoder.last_event_id == "0-0"


async def test_a_run_with_nothing_left_of_the_wanted_types_is_over(
    edge: Edge, client: Redis, run_id: str
) -> None:
    """For clients that don't take the id of the terminal event, which they did not ask for."""
    wanted = await append(client, run_id)
    await append(client, run_id, event_type="noise")
    await append(client, run_id, "{}", "done")
    async with watch(edge.events_url(run_id, "types=chunk"), wanted) as viewer:
        assert viewer.status == 204
    async with watch(edge.events_url(run_id, "types=chunk,noise"), wanted) as viewer:
        await viewer.until_ended()
        assert len(viewer.ids) == 1
