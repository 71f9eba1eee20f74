"""`/healthz`, `/readyz`, `/metrics`, and what the log says of a stream."""

import re
from collections.abc import Callable

import httpx
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as parse_openmetrics,
)
from prometheus_client.parser import text_string_to_metric_families as parse_text
from redis.asyncio import Redis

from broker.engine.ending import Ending
from broker.wire.gap import GapReason
from tests.support.edges import Edge
from tests.support.producer import append
from tests.support.viewer import watch
from tests.support.waiting import eventually

PROMISED = {
    "runcast_build_info",
    "runcast_delivered_bytes_total",
    "runcast_disconnects_total",
    "runcast_draining",
    "runcast_event_to_socket_seconds",
    "runcast_events_read_total",
    "runcast_events_repaired_total",
    "runcast_frames_delivered_total",
    "runcast_gaps_total",
    "runcast_live_subscribers",
    "runcast_pages_read_total",
    "runcast_pages_shared_total",
    "runcast_redis_reconnects_total",
    "runcast_runs_watched",
    "runcast_slow_subscribers_total",
    "runcast_stalled_subscribers_total",
    "runcast_subscribers",
    "runcast_subscriptions_total",
    "runcast_tail_connections",
    "runcast_tail_interruptions_total",
    "runcast_tail_wakeups_total",
    "runcast_memory_hits_total",
}


async def get(url: str, **headers: str) -> httpx.Response:
    async with httpx.AsyncClient() as http:
        return await http.get(url, headers=headers)


async def test_health_and_readiness(edge: Edge) -> None:
    for path, status in (("healthz", "ok"), ("readyz", "ready")):
        answer = await get(f"{edge.url}/{path}")
        assert answer.status_code == 200
        assert answer.json()["status"] == status
        assert answer.headers["cache-control"] == "no-store"


async def test_every_promised_metric_is_there_and_named_as_prometheus_has_it(edge: Edge) -> None:
    families = list(parse_text((await get(f"{edge.url}/metrics")).text))
    ours = [family for family in families if family.name.startswith("runcast_")]
    names = {sample.name for family in ours for sample in family.samples}
    names |= {re.sub(r"_(bucket|sum|count)$", "", name) for name in names}
    assert names >= PROMISED
    for family in ours:
        assert family.documentation.endswith("."), family.name
        if family.type == "counter":
            assert all(sample.name.endswith("_total") for sample in family.samples)
        assert not re.search(r"_(ms|milliseconds|kb|mb)(_|$)", family.name)


async def test_the_process_is_measured_too(edge: Edge) -> None:
    text = (await get(f"{edge.url}/metrics")).text
    assert "process_resident_memory_bytes" in text
    assert "process_open_fds" in text


async def test_openmetrics_where_it_is_asked_for(edge: Edge) -> None:
    answer = await get(f"{edge.url}/metrics", accept="application/openmetrics-text; version=1.0.0")
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    families = parse_openmetrics(answer.text)  # type: ignore[no-untyped-call]
    assert any(family.name == "runcast_subscribers" for family in families)


async def test_every_reason_has_a_series_before_it_happens(edge: Edge) -> None:
    text = (await get(f"{edge.url}/metrics")).text
    for reason in GapReason:
        assert f'runcast_gaps_total{{reason="{reason.value}"}}' in text
    for ending in Ending:
        assert f'runcast_disconnects_total{{reason="{ending.value}"}}' in text


async def test_what_happens_is_counted(
    start_edge: Callable[..., Edge], client: Redis, run_id: str
) -> None:
    edge = start_edge()
    await append(client, run_id, "before")
    async with watch(edge.events_url(run_id)) as one, watch(edge.events_url(run_id)) as other:
        await one.until_caught_up()
        await other.until_caught_up()
        assert edge.metric("runcast_subscribers") == 2
        assert edge.metric("runcast_live_subscribers") == 2
        assert edge.metric("runcast_runs_watched") == 1
        await append(client, run_id, "live")
        await append(client, run_id, "{}", "done")
        await one.until_ended()
        await other.until_ended()
    assert edge.metric("runcast_events_read_total") == 2
    assert edge.metric("runcast_frames_delivered_total") == 6
    assert edge.metric("runcast_delivered_bytes_total") == len(one.body) + len(other.body)
    assert edge.metric("runcast_disconnects_total", reason="terminal") == 2
    assert edge.metric("runcast_event_to_socket_seconds_count") == 4
    assert 0 <= edge.metric("runcast_event_to_socket_seconds_sum") < 4
    assert edge.metric("runcast_subscriptions_total") == 2


async def test_the_log_says_how_a_stream_ended_and_no_secret(
    start_edge: Callable[..., Edge], client: Redis, run_id: str
) -> None:
    edge = start_edge()
    await append(client, run_id, "{}", "done")
    async with watch(edge.events_url(run_id, "token=s3cret")) as viewer:
        await viewer.until_ended()
    await eventually(lambda: "stream ended" in edge.raw_log())
    [line] = [line for line in edge.log() if line["event"] == "stream ended"]
    assert (line["run"], line["reason"], line["events"]) == (run_id, "terminal", 1)
    assert line["bytes"] == len(viewer.body)
    assert line["seconds"] >= 0
    assert "s3cret" not in edge.raw_log()
