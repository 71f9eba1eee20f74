"""What operators see and do: on one process, and on several, whichever of them is asked."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from openapi_schema_validator import OAS31Validator
from redis.asyncio import Redis

from broker.edge.openapi import make_document
from broker.wire.request import RequestLimits
from tests.support.edges import Edge
from tests.support.keys_file import KeysFile
from tests.support.posting import posting
from tests.support.producer import append
from tests.support.servers import available_kinds
from tests.support.viewer import together, watch
from tests.support.waiting import eventually


@pytest.fixture(scope="session")
def redis_kind() -> str:
    """Which Redis it is makes no difference here."""
    return available_kinds()[0]


@pytest.fixture(scope="module")
def edge(redis_url: str) -> Iterator[Edge]:
    edge = Edge(redis_url, log_level="debug")
    yield edge
    edge.close()


@pytest.fixture(scope="module")
def workers(redis_url: str) -> Iterator[Edge]:
    edge = Edge(redis_url, workers=2)
    yield edge
    edge.close()


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(timeout=10) as client:
        yield client


async def ask(http: httpx.AsyncClient, edge: Edge, path: str, **query: Any) -> Any:
    answer = await http.get(f"{edge.url}/admin/{path}", params=query)
    assert answer.status_code == 200, answer.text
    assert answer.headers["cache-control"] == "no-store"
    return answer.json()


def test_answers_are_as_the_document_says(edge: Edge, run_id: str) -> None:
    document = make_document(RequestLimits(), None, admin=True)
    with httpx.Client(base_url=edge.url) as client:
        for path in ("/admin/overview", "/admin/runs", "/admin/subscribers"):
            [content] = document["paths"][path]["get"]["responses"]["200"]["content"].values()
            schema = {**content["schema"], "components": document["components"]}
            OAS31Validator(schema).validate(client.get(path).json())
        assert client.get("/openapi.json").json()["paths"].keys() == document["paths"].keys()


async def test_what_is_said_of_a_viewer(
    edge: Edge, http: httpx.AsyncClient, client: Redis, run_id: str
) -> None:
    ids = [await append(client, run_id, str(number)) for number in range(3)]
    async with watch(edge.events_url(run_id)) as viewer:
        await viewer.until_caught_up()
        ids.append(await append(client, run_id, "live"))
        await viewer.until(4)
        body = len(viewer.body)
        [row] = (await ask(http, edge, "subscribers", run=run_id))["subscribers"]
        assert row.pop("age_seconds") > 0
        assert row.pop("events_per_second") > 0
        assert row.pop("bytes_per_second") > 0
        connection = row.pop("id")
        assert row == {
            "worker": 1,
            "run_id": run_id,
            "profile": "native",
            "subject": None,
            "address": "127.0.0.1",
            "state": "live",
            "position": ids[-1],
            "lag_seconds": 0.0,
            "unsent_bytes": 0,
            "events": 4,
            "bytes": body,
        }
        found = (await ask(http, edge, "runs", limit=1000))["runs"]
        [run] = [each for each in found if each["run_id"] == run_id]
        assert 0 <= run.pop("lag_seconds") < 5
        assert run == {
            "run_id": run_id,
            "profile": "native",
            "viewers": 1,
            "live": 1,
            "behind": 0,
            "end": ids[-1],
            "final": None,
            # Those that came while it was watched.
            "events": 1,
            "bytes": body,
        }
    lines = await eventually(
        lambda: [line for line in edge.log() if line.get("connection") == connection][1:]
    )
    began = next(line for line in edge.log() if line["event"] == "stream began")
    assert began["level"] == "debug"
    [ended] = lines
    assert ended["event"] == "stream ended"
    assert (ended["run"], ended["worker"], ended["reason"]) == (run_id, 1, "client_gone")


async def test_one_that_reads_nothing_stands_out(
    edge: Edge, http: httpx.AsyncClient, client: Redis, run_id: str
) -> None:
    for _ in range(100):
        await append(client, run_id, "x" * 100_000)
    async with watch(edge.events_url(run_id), reading=False), watch(edge.events_url(run_id)) as ok:
        await ok.until_caught_up()

        async def lags() -> Any:
            found = await ask(http, edge, "subscribers", run=run_id, state="lagging")
            return found["subscribers"]

        [slow] = await eventually(lags)
        assert slow["unsent_bytes"] > 0
        for order in ("unsent", "lag"):
            rows = (await ask(http, edge, "subscribers", run=run_id, order=order))["subscribers"]
            assert [row["id"] == slow["id"] for row in rows] == [True, False]
        first = await ask(http, edge, "subscribers", run=run_id, order="unsent", limit=1)
        assert [row["id"] for row in first["subscribers"]] == [slow["id"]]
        assert first["more"] is True
        found = (await ask(http, edge, "runs"))["runs"]
        [run] = [each for each in found if each["run_id"] == run_id]
        assert (run["viewers"], run["live"], run["behind"]) == (2, 1, 1)
        # It has megabytes to take, and nobody waits for that.
        assert (await http.delete(f"{edge.url}/admin/subscribers/{slow['id']}")).status_code == 204
        await eventually(lambda: any(line.get("connection") == slow["id"] for line in ends(edge)))


def ends(edge: Edge) -> list[dict[str, Any]]:
    return [line for line in edge.log() if line["event"] == "stream ended"]


async def test_the_oldest_come_first(edge: Edge, http: httpx.AsyncClient, run_id: str) -> None:
    async with watch(edge.events_url(run_id)):
        [old] = (await ask(http, edge, "subscribers", run=run_id))["subscribers"]
        async with watch(edge.events_url(run_id)):
            rows = (await ask(http, edge, "subscribers", run=run_id, order="age"))["subscribers"]
            assert len(rows) == 2
            assert rows[0]["id"] == old["id"]
            # Nobody has been sent events here.
            assert [row["lag_seconds"] for row in rows] == [0.0, 0.0]


async def test_a_viewer_is_disconnected_and_may_come_back(
    edge: Edge, http: httpx.AsyncClient, client: Redis, run_id: str
) -> None:
    await append(client, run_id)
    before = (await ask(http, edge, "overview"))["endings"]["disconnected"]
    async with together(watch(edge.events_url(run_id)) for _ in range(2)) as viewers:
        for viewer in viewers:
            await viewer.until_caught_up()
        rows = (await ask(http, edge, "subscribers", run=run_id))["subscribers"]
        target = f"{edge.url}/admin/subscribers/{rows[0]['id']}"
        assert (await http.delete(target)).status_code == 204
        await eventually(lambda: sum(viewer.ended.is_set() for viewer in viewers) == 1)
        [gone] = [viewer for viewer in viewers if viewer.ended.is_set()]
        assert gone.whole
        again = await http.delete(target)
        assert again.status_code == 404
        assert again.json()["type"] == "urn:runcast:problem:subscriber-not-found"
        async with watch(edge.events_url(run_id), gone.decoder.last_event_id) as back:
            await back.until_caught_up()
        left = (await ask(http, edge, "subscribers", run=run_id))["subscribers"]
        assert rows[1]["id"] in [row["id"] for row in left]
    assert (await ask(http, edge, "overview"))["endings"]["disconnected"] == before + 1


@pytest.mark.parametrize("text", ["1-0", "3-1", "nobody", "1-", "01-1", "%2e%2e", "1-" + "f" * 17])
async def test_nobody_is_called_so(
    edge: Edge, workers: Edge, http: httpx.AsyncClient, text: str
) -> None:
    for each in (edge, workers):
        answer = await http.delete(f"{each.url}/admin/subscribers/{text}")
        assert answer.status_code == 404
        assert answer.json()["status"] == 404


@pytest.mark.parametrize(
    ("path", "query"),
    [
        ("runs", {"limit": "0"}),
        ("runs", {"limit": "1001"}),
        ("runs", {"limit": "²"}),
        ("runs", {"order": "age"}),
        ("subscribers", {"order": "viewers"}),
        ("subscribers", {"state": "ended"}),
        ("subscribers", {"limit": "x"}),
    ],
)
async def test_what_makes_no_sense_is_said(
    edge: Edge, http: httpx.AsyncClient, path: str, query: dict[str, str]
) -> None:
    answer = await http.get(f"{edge.url}/admin/{path}", params=query)
    assert answer.status_code == 400
    assert answer.json()["type"] == "urn:runcast:problem:bad-parameter"


async def test_the_overview_counts(
    edge: Edge, http: httpx.AsyncClient, client: Redis, run_id: str
) -> None:
    before = await ask(http, edge, "overview")
    async with together(watch(edge.events_url(run_id)) for _ in range(3)) as viewers:
        # Not before the run has begun.
        await append(client, run_id)
        for viewer in viewers:
            await viewer.until(1)
        now = await ask(http, edge, "overview")
    assert now["totals"]["subscribers"] == now["totals"]["live"] + now["totals"]["behind"]
    assert now["totals"]["subscriptions"] == before["totals"]["subscriptions"] + 3
    assert now["totals"]["frames_delivered"] == before["totals"]["frames_delivered"] + 3
    assert now["totals"]["runs"] >= 1
    assert now["totals"]["bytes_delivered"] > before["totals"]["bytes_delivered"]
    assert 0 < now["latency"]["p50"] <= now["latency"]["p99"] < 5
    assert (now["redis"], now["workers"], now["draining"]) == ("ok", 1, False)
    assert now["authentication"] is False
    assert sum(now["tail"].values()) == 1
    assert now["silent"] == []
    [process] = now["processes"]
    assert process["pid"] == edge.process.pid
    assert process["rss_bytes"] > 20 << 20
    assert process["cpu_seconds"] > 0
    assert now["started_at"] == before["started_at"]


# ---- who may


async def test_without_authentication_only_who_is_near(
    edge: Edge, http: httpx.AsyncClient, run_id: str
) -> None:
    for headers in (
        {"host": "edge.example.com"},
        {"host": f"localhost.example.com:{edge.port}"},
        {"x-forwarded-for": "127.0.0.1"},
        {"forwarded": "for=127.0.0.1"},
        {"origin": "https://example.com"},
        {"sec-fetch-site": "cross-site"},
        {"origin": "null"},
    ):
        for method, path in (("GET", "overview"), ("POST", "drain"), ("DELETE", "subscribers/1-1")):
            answer = await http.request(method, f"{edge.url}/admin/{path}", headers=headers)
            assert answer.status_code == 403, (headers, path)
    for headers in ({"host": "localhost"}, {"host": "[::1]:8080"}, {"sec-fetch-site": "none"}):
        answer = await http.get(f"{edge.url}/admin/overview", headers=headers)
        assert answer.status_code == 200, headers


async def test_with_authentication_only_admins(
    redis_url: str, client: Redis, http: httpx.AsyncClient, run_id: str, tmp_path: Path
) -> None:
    keys = KeysFile(tmp_path / "keys.toml")
    keys.add("admin", "admin")
    keys.add("ada", "watch:*", "metrics", subject="ada")
    edge = Edge(
        redis_url,
        host="0.0.0.0",
        api_keys_file=keys.path,
        revocations_key=f"revoked-{uuid4().hex}",
        trusted_proxies="127.0.0.1",
    )
    try:
        url = f"http://127.0.0.1:{edge.port}"
        events = f"{url}/v1/runs/{run_id}/events"
        given = {**keys.headers("ada"), "x-forwarded-for": "203.0.113.7"}
        async with watch(events, headers=given) as viewer:
            await append(client, run_id)
            await viewer.until(1)
            for path in ("overview", "runs", "subscribers"):
                target = f"{url}/admin/{path}"
                assert (await http.get(target)).status_code == 401
                answer = await http.get(target, headers=keys.headers("ada"))
                assert answer.status_code == 403
                answer = await http.get(target, headers=keys.headers("admin"))
                assert answer.status_code == 200
            asked = {"headers": keys.headers("admin"), "params": {"subject": "ada"}}
            [row] = (await http.get(f"{url}/admin/subscribers", **asked)).json()["subscribers"]  # type: ignore[arg-type]
            assert (row["subject"], row["address"]) == ("ada", "203.0.113.7")
            asked = {"headers": keys.headers("admin"), "params": {"subject": "bob"}}
            answer = await http.get(f"{url}/admin/subscribers", **asked)  # type: ignore[arg-type]
            assert answer.json()["subscribers"] == []
            target = f"{url}/admin/subscribers/{row['id']}"
            refused = await http.delete(target, headers=keys.headers("ada"))
            assert refused.status_code == 403
            done = await http.delete(target, headers=keys.headers("admin"))
            assert done.status_code == 204
            await viewer.until_ended()
        # Who it was is for administrators, not for logs.
        await eventually(lambda: len(ends(edge)) == 1)
        assert "203.0.113.7" not in edge.raw_log()
        assert "ada" not in edge.raw_log().replace("adapter", "")
    finally:
        edge.close()


# ---- several processes


async def test_whichever_is_asked_all_answer(
    workers: Edge, http: httpx.AsyncClient, client: Redis, run_id: str
) -> None:
    async with together(watch(workers.events_url(run_id)) for _ in range(24)) as viewers:
        await append(client, run_id)
        for viewer in viewers:
            await viewer.until(1)
        for _ in range(8):
            # A connection each, so that it falls to either.
            async with httpx.AsyncClient() as once:
                overview = await ask(once, workers, "overview")
                found = await ask(once, workers, "subscribers", run=run_id, limit=1000)
                listed = await ask(once, workers, "runs", limit=1000)
            assert overview["workers"] == 2
            assert overview["totals"]["subscribers"] == 24
            assert overview["totals"]["runs"] == 1
            assert [each["worker"] for each in overview["processes"]] == [1, 2]
            rows = found["subscribers"]
            assert len({row["id"] for row in rows}) == 24
            assert all(row["id"].startswith(f"{row['worker']}-") for row in rows)
            if sys.platform == "linux":
                assert {row["worker"] for row in rows} == {1, 2}
            [run] = [each for each in listed["runs"] if each["run_id"] == run_id]
            assert (run["viewers"], run["live"], run["events"]) == (24, 24, 1)
        for row in rows:
            # The other worker's as well.
            answer = await http.delete(f"{workers.url}/admin/subscribers/{row['id']}")
            assert answer.status_code == 204
        await asyncio.gather(*(viewer.until_ended() for viewer in viewers))


async def test_one_that_hangs_is_named(workers: Edge, run_id: str) -> None:
    async with AsyncExitStack() as opened:
        clients = [
            await opened.enter_async_context(httpx.AsyncClient(timeout=15)) for _ in range(8)
        ]
        await opened.enter_async_context(
            together(watch(workers.events_url(run_id)) for _ in range(12))
        )
        for each in clients:
            # Its connection falls to one of them, and stays there.
            await ask(each, workers, "overview")
        stopped = workers.workers()[2]
        os.kill(stopped, signal.SIGSTOP)
        try:
            # Those that are with the stopped one wait for it.
            asked = [asyncio.create_task(_all_of(each, workers)) for each in clients]
            done, _ = await asyncio.wait(asked, timeout=9, return_when=asyncio.FIRST_COMPLETED)
            overview, found, gone = done.pop().result()
        finally:
            os.kill(stopped, signal.SIGCONT)
        assert overview["silent"] == found["silent"] == [2]
        assert [each["worker"] for each in overview["processes"]] == [1]
        assert {row["worker"] for row in found["subscribers"]} <= {1}
        assert gone.status_code == 503
        await asyncio.gather(*asked)


async def _all_of(http: httpx.AsyncClient, edge: Edge) -> tuple[Any, Any, httpx.Response]:
    return (
        await ask(http, edge, "overview"),
        await ask(http, edge, "subscribers", limit=1000),
        await http.delete(f"{edge.url}/admin/subscribers/2-1"),
    )


# ---- draining


async def test_a_body_that_is_none_drains_nobody(edge: Edge, http: httpx.AsyncClient) -> None:
    url = f"{edge.url}/admin/drain"
    for body, status in (
        (b'{"seconds": 0}', 400),
        (b'{"seconds": true}', 400),
        (b'{"seconds": 1e9}', 400),
        (b'{"second": 1}', 400),
        (b"[]", 400),
        (b"{", 400),
        (b"x" * 5000, 413),
    ):
        answer = await http.post(url, content=body, headers={"content-type": "application/json"})
        assert answer.status_code == status, body
    form = await http.post(url, content=b"{}", headers={"content-type": "text/plain"})
    assert form.status_code == 415
    async with posting(edge.port, "/admin/drain", "application/json", host="x") as post:
        assert (await post.answer()).status == 403
    assert (await ask(http, edge, "overview"))["draining"] is False
