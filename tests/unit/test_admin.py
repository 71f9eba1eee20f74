"""What operators are told, on paper: lists, sums, quantiles, paces; and who is near."""

import asyncio
import random
from collections.abc import Awaitable
from typing import Any

import httpx
import orjson
import pytest
from prometheus_client.parser import text_string_to_metric_families

from broker.app import make_edge
from broker.edge.admin import summing
from broker.edge.admin.drain_body import parse_drain
from broker.edge.admin.latency import RecentLatency, quantile_seconds
from broker.edge.admin.nearby import is_loopback
from broker.edge.admin.pace import Pace, Paces
from broker.edge.admin.questions import (
    AboutProcess,
    AboutRuns,
    AboutSubscribers,
    Disconnect,
    Leave,
    Question,
    RunOrder,
    SubscriberOrder,
    SubscriberState,
    dump_question,
    load_question,
)
from broker.edge.admin.roster import Roster, lag_seconds
from broker.edge.admin.totals import Totals
from broker.edge.connection_ids import connection_id, parse_connection_id
from broker.edge.refusals import RequestRefusal, StreamLimit
from broker.engine.delivery import View
from broker.engine.ending import Ending
from broker.engine.hub import Opening
from broker.engine.stats import LATENCY_BUCKETS, Latency
from broker.engine.visitor import Visitor
from broker.redis.catalogue import Catalogue, Reading
from broker.redis.streams import KeyTemplate
from broker.settings import load_settings
from broker.wire.event import Event, EventFormat
from broker.wire.ids import START, RunId, StreamId
from broker.wire.problem import BadBody
from broker.wire.request import Beginning, Resume
from tests.unit.test_hub import RUN, make_stage
from tests.unit.test_hub import Stage as HubStage
from tests.unit.test_subscriber import SinkOnPaper

CATALOGUE = Catalogue(
    Reading(KeyTemplate("run:{run_id}"), EventFormat()),
    {"coasty": Reading(KeyTemplate("coasty:{run_id}"), EventFormat())},
)
NOW_MS = 1_700_000_000_000


def admit(
    stage: HubStage, opening: Opening, number: int, sink: SinkOnPaper | None = None, **who: Any
) -> SinkOnPaper:
    sink = sink or SinkOnPaper()
    subscriber = stage.hub.subscriber(
        opening, sink, View(), visitor=Visitor(number, "native", **who)
    )
    stage.hub.admit(subscriber, b"")
    return sink


def roster_of(stage: HubStage, worker: int = 1) -> Roster:
    return Roster(worker, stage.hub, CATALOGUE, "native", lambda: stage.now[0])


async def ids_of(roster: Roster, **about: Any) -> list[str]:
    asked = {"order": SubscriberOrder.AGE, "limit": 100, **about}
    return [row["id"] for row in await roster.subscribers(AboutSubscribers(**asked))]


# ---- lists


async def test_a_row_says_who_it_is() -> None:
    async with make_stage() as stage:
        stage.log.append(1, 2)
        opening = await stage.hub.open(RUN, Beginning())
        admit(stage, opening, 0x2A, subject="ada", address="203.0.113.7")
        await asyncio.sleep(0.01)
        stage.now[0] += 4
        [row] = await roster_of(stage, 3).subscribers(AboutSubscribers(SubscriberOrder.AGE, 10))
        assert row["id"] == "3-2a"
        assert (row["subject"], row["address"], row["age_seconds"]) == ("ada", "203.0.113.7", 4)
        assert (row["events"], row["position"], row["events_per_second"]) == (2, "2-0", 0.5)


async def test_filters() -> None:
    async with make_stage() as stage:
        stage.log.append(1)
        opening = await stage.hub.open(RUN, Resume(StreamId(1, 0)))
        admit(stage, opening, 1, subject="ada")
        admit(stage, opening, 2, subject="bob")
        other = await stage.hub.open(RunId("coasty:r"), Resume(StreamId(1, 0)))
        admit(stage, other, 3)
        third = await stage.hub.open(RunId("x"), Resume(StreamId(1, 0)))
        admit(stage, third, 4)
        roster = roster_of(stage)
        assert sorted(await ids_of(roster)) == ["1-1", "1-2", "1-3", "1-4"]
        assert await ids_of(roster, subject="bob") == ["1-2"]
        # Of all profiles.
        assert sorted(await ids_of(roster, run="r")) == ["1-1", "1-2", "1-3"]
        assert len(await ids_of(roster, state=SubscriberState.LIVE)) == 4
        assert await ids_of(roster, state=SubscriberState.LAGGING) == []
        gone = roster.find(2)
        assert gone is not None
        gone.end(Ending.DISCONNECTED)
        # Its connection is not over yet.
        assert stage.hub.subscriber_count == 4
        assert roster.find(2) is None
        assert sorted(await ids_of(roster, run="r")) == ["1-1", "1-3"]


async def test_orders_and_limits() -> None:
    async with make_stage() as stage:
        stage.log.events = [Event(StreamId(NOW_MS, 0), "chunk", b"{}", False)]
        stage.log.added = 1
        opening = await stage.hub.open(RUN, Resume(StreamId(NOW_MS, 0)))
        for number in range(1, 4):
            sink = admit(stage, opening, number, SinkOnPaper(stuck=True))
            sink.write(b"x" * (10 * number % 30 + 1))
            stage.now[0] += 1
        roster = roster_of(stage)
        assert await ids_of(roster) == ["1-1", "1-2", "1-3"]
        assert await ids_of(roster, order=SubscriberOrder.UNSENT) == ["1-2", "1-1", "1-3"]
        # One more than was asked for: there are more.
        assert await ids_of(roster, order=SubscriberOrder.UNSENT, limit=1) == ["1-2", "1-1"]


async def test_runs_in_the_words_of_their_profile() -> None:
    async with make_stage() as stage:
        stage.log.append(1)
        for address in ("r", "coasty:r", "quiet"):
            opening = await stage.hub.open(RunId(address), Resume(StreamId(1, 0)))
            for number in range({"r": 2, "coasty:r": 1, "quiet": 0}[address]):
                admit(stage, opening, number)
        rows = await roster_of(stage).runs(AboutRuns(RunOrder.VIEWERS))
        found = [(row["run_id"], row["profile"], row["viewers"]) for row in rows]
        assert found == [("r", "native", 2), ("r", "coasty", 1), ("quiet", "native", 0)]
        # A count of the producer's is no time.
        assert [row["lag_seconds"] for row in rows] == [None] * 3


async def test_what_a_run_has_sent_stays_when_viewers_leave() -> None:
    async with make_stage() as stage:
        stage.log.append(1, 2)
        opening = await stage.hub.open(RUN, Beginning())
        sinks = [admit(stage, opening, number) for number in range(2)]
        await asyncio.sleep(0.01)
        roster = roster_of(stage)
        [before] = await roster.runs(AboutRuns(RunOrder.EVENTS))
        assert before["bytes"] == sum(len(sink.written) for sink in sinks)
        found = roster.find(1)
        assert found is not None
        found.end(Ending.AGE)
        found.closed()
        [after] = await roster.runs(AboutRuns(RunOrder.EVENTS))
        assert after["bytes"] == before["bytes"]
        assert after["viewers"] == 1


async def test_ten_thousand_viewers_hold_up_nobody() -> None:
    async with make_stage() as stage:
        stage.log.append(1)
        opening = await stage.hub.open(RUN, Resume(StreamId(1, 0)))
        for number in range(10_000):
            admit(stage, opening, number, address="203.0.113.7")
        roster = roster_of(stage)
        for order in SubscriberOrder:
            turns = await turns_of_others(roster.subscribers(AboutSubscribers(order, 1000)))
            assert turns >= 10_000 / 500
        # One run is one step, however many watch it.
        assert await turns_of_others(roster.runs(AboutRuns(RunOrder.VIEWERS))) > 1


async def turns_of_others(work: Awaitable[object]) -> int:
    """How often others had their turn meanwhile."""
    task = asyncio.ensure_future(work)
    turns = 0
    while not task.done():
        await asyncio.sleep(0)
        turns += 1
    await task
    return turns


async def test_who_comes_while_it_drains_is_sent_elsewhere() -> None:
    async with make_stage() as stage:
        stage.log.append(1)
        opening = await stage.hub.open(RUN, Resume(StreamId(1, 0)))
        await stage.hub.drain(0.01)
        sink = admit(stage, opening, 1)
        assert sink.finished
        assert b"retry: " in sink.written
        assert stage.hub.stats.endings[Ending.DRAIN] == 1


@pytest.mark.parametrize(
    ("position", "end", "lag"),
    [
        (StreamId(NOW_MS, 0), StreamId(NOW_MS + 1500, 0), 1.5),
        (StreamId(NOW_MS, 3), StreamId(NOW_MS, 3), 0.0),
        (StreamId(NOW_MS + 9, 0), StreamId(NOW_MS, 0), 0.0),
        (START, StreamId(NOW_MS, 0), None),
        (START, START, 0.0),
        (StreamId(0, 5), StreamId(0, 7), None),
        (StreamId(41, 0), StreamId(42, 0), None),
    ],
)
def test_lag(position: StreamId, end: StreamId, lag: float | None) -> None:
    assert lag_seconds(position, end) == lag


# ---- paces


def test_a_pace_is_since_the_last_look() -> None:
    paces = Paces()
    assert paces.look(1, began=0, events=100, size=1000, now=10) == Pace(10, 100)
    # Too soon to tell.
    assert paces.look(1, began=0, events=200, size=1000, now=10.5) == Pace(10, 100)
    assert paces.look(1, began=0, events=104, size=1000, now=12) == Pace(2, 0)
    assert paces.look(2, began=11.9, events=3, size=30, now=12) == Pace(3, 30)
    paces.forget_old(41.9)
    assert len(paces) == 2
    paces.forget_old(42)
    assert len(paces) == 0


# ---- latency


def test_quantiles() -> None:
    counts = [0] * (len(LATENCY_BUCKETS) + 1)
    assert quantile_seconds(counts, 0.5) is None
    counts[3] = 100
    assert quantile_seconds(counts, 0.5) == pytest.approx(0.0075)
    counts[-1] = 1000
    assert quantile_seconds(counts, 0.99) == LATENCY_BUCKETS[-1]


def test_latency_is_that_of_lately() -> None:
    latency = Latency()
    latency.observe(5, 1)
    recent = RecentLatency(latency)
    assert sum(recent.counts()) == 0
    latency.observe(0.002, 7)
    for _ in range(5):
        recent.look()
        assert sum(recent.counts()) == 7
    recent.look()
    assert sum(recent.counts()) == 0


# ---- sums


def run_row(**changed: Any) -> dict[str, Any]:
    row = {
        "run_id": "r", "profile": "native", "viewers": 1, "live": 1, "behind": 0, "end": "9-0",
        "final": None, "lag_seconds": None, "events": 5, "bytes": 10,
    }  # fmt: skip
    return {**row, **changed}


def test_a_run_of_several_workers_is_one_row() -> None:
    runs, more = summing.first_runs(
        [
            [run_row(lag_seconds=0.1), run_row(run_id="s", viewers=2)],
            [run_row(viewers=2, behind=1, end="10-0", events=7, final="10-0")],
            [run_row(profile="coasty")],
        ],
        RunOrder.VIEWERS,
        2,
    )
    assert more
    assert [row["run_id"] for row in runs] == ["r", "s"]
    assert runs[0] == run_row(
        viewers=3, live=2, behind=1, bytes=20, events=7, end="10-0", final="10-0", lag_seconds=0.1
    )


def test_the_first_of_all_viewers() -> None:
    one: list[dict[str, Any]] = [
        {"id": "1-1", "lag_seconds": None},
        {"id": "1-2", "lag_seconds": 0.5},
    ]
    two: list[dict[str, Any]] = [{"id": "2-1", "lag_seconds": 7}]
    rows, more = summing.first_subscribers([one, two], SubscriberOrder.LAG, 2)
    assert ([row["id"] for row in rows], more) == (["1-1", "2-1"], True)
    rows, more = summing.first_subscribers([one, two], SubscriberOrder.LAG, 3)
    assert not more


def test_runs_are_counted_once() -> None:
    named = {"runs": 3, "run_ids": ["a", "b", "c"]}
    assert summing.run_count([named, {"runs": 2, "run_ids": ["b", "d"]}]) == 4
    # Too many to name.
    assert summing.run_count([named, {"runs": 12, "run_ids": ["a", "b"]}]) == 13


async def test_totals_are_the_metrics() -> None:
    edge = make_edge(load_settings({}), "redis://localhost")
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(edge.app), base_url="http://localhost"
    ) as http:
        edge.hub.stats.endings[Ending.STALLED] = 2
        edge.hub.stats.bytes_delivered = 77
        edge.refusals.streams[StreamLimit.RUN] = 3
        edge.refusals.requests[RequestRefusal.BAD_HTTP] = 1
        text = (await http.get("/metrics")).text
    totals = Totals(text_string_to_metric_families(text))
    assert totals.endings["stalled"] == 2
    assert set(totals.endings) == {ending.value for ending in Ending}
    assert totals.document()["bytes_delivered"] == 77
    assert totals.document()["stalled"] == 2
    assert totals.document()["refused"] == 4
    assert (totals.workers, totals.draining) == (1, False)
    assert sum(totals.tail.values()) <= 1


# ---- questions, ids, bodies


@pytest.mark.parametrize(
    "question",
    [
        AboutProcess(),
        AboutRuns(RunOrder.LAG),
        AboutSubscribers(SubscriberOrder.RATE, 5, run="r", state=SubscriberState.LIVE),
        Disconnect(7),
        Leave(2.5),
    ],
)
def test_questions_survive_the_way(question: Question) -> None:
    line = dump_question(question)
    assert b"\n" not in line
    assert load_question(line) == question


def test_ids_of_connections() -> None:
    number = random.getrandbits(40)
    assert parse_connection_id(connection_id(12, number)) == (12, number)
    for text in ("", "0-1", "1-", "1-G", "1_1", "-1-1", "1-1\n", "1-" + "1" * 17):
        assert parse_connection_id(text) is None


def test_what_a_drain_may_say() -> None:
    assert parse_drain(b"", 2) == 2
    assert parse_drain(b"{}", 2) == 2
    assert parse_drain(orjson.dumps({"seconds": 30}), 2) == 30
    for body in (b"[]", b"{", b'{"seconds":"1"}', b'{"seconds":-1}', b'{"seconds":null}'):
        with pytest.raises(BadBody):
            parse_drain(body, 2)


# ---- where it is served


def admin_paths(**settings: Any) -> set[str]:
    edge = make_edge(load_settings(settings), "redis://localhost")
    return {route.path for route in edge.routes if route.path.startswith("/admin")}


def test_it_is_not_served_to_everyone() -> None:
    assert "/admin/drain" in admin_paths()
    assert "/admin/drain" in admin_paths(host="::1")
    assert admin_paths(host="0.0.0.0", insecure=True) == set()
    under_another = make_edge(load_settings({}), "redis://localhost", listens=False)
    assert not any(route.path.startswith("/admin") for route in under_another.routes)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.9.9.9", "::1"])
def test_loopback(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["", "0.0.0.0", "10.0.0.1", "localhost.example.com", "::"])
def test_not_loopback(host: str) -> None:
    assert not is_loopback(host)
