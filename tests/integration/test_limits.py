"""Limits on streams and connections, on real edges: what is one too many, and how it is told."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Final

import httpx
import jwt
import pytest
from redis.asyncio import Redis

from tests.support.edges import Edge
from tests.support.producer import append
from tests.support.raw import connected
from tests.support.servers import available_kinds
from tests.support.viewer import Viewer, watch
from tests.support.waiting import eventually

_SECRET: Final = "of the tests alone, and long enough for its hash"


@pytest.fixture(scope="session")
def redis_kind() -> str:
    """What is asked of Redis is tested on each kind elsewhere."""
    return available_kinds()[0]


@pytest.fixture(scope="module", params=[True, False], ids=["detached", "asgi"])
def edge(
    request: pytest.FixtureRequest, redis_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Edge]:
    """An edge with a limit of each kind, whose proxy is anybody on this machine."""
    secret = tmp_path_factory.mktemp("keys") / "secret"
    secret.write_text(_SECRET)
    edge = Edge(
        redis_url,
        detach=request.param,
        publish=True,
        profile="native,run-agent",
        requests_key="runcast:requests:limits",
        jwt_algorithms="HS256",
        jwt_key_file=secret,
        jwt_audience="runcast",
        jwt_rights="watch:* command:*",
        metrics_public=True,
        trusted_proxies="127.0.0.0/8",
        max_streams=6,
        max_streams_per_run=4,
        max_streams_per_address=3,
        max_streams_per_subject=2,
    )
    yield edge
    edge.close()


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(timeout=10) as client:
        yield client


def shown(subject: str, address: str) -> dict[str, str]:
    """The headers of a request of somebody's, from somewhere."""
    token = jwt.encode(
        {"sub": subject, "aud": "runcast", "exp": int(time.time()) + 60}, _SECRET, "HS256"
    )
    return {"authorization": f"Bearer {token}", "x-forwarded-for": f"1.2.3.4, {address}"}


@pytest.fixture
async def watching(edge: Edge, run_id: str) -> AsyncIterator[Callable[..., Any]]:
    """Connects viewers, and waits until the edge has seen all of them leave."""
    async with contextlib.AsyncExitStack() as connected:

        async def connect(subject: str, address: str, run: str = run_id) -> Viewer:
            viewer = watch(edge.events_url(run), headers=shown(subject, address))
            return await connected.enter_async_context(viewer)

        yield connect
    await eventually(lambda: edge.metric("runcast_subscribers") == 0)


async def refused(viewer: Viewer) -> str:
    """Why; as an EventSource is told, which would give up for good on any other status."""
    await viewer.until_ended()
    assert viewer.status == 200
    assert viewer.whole
    assert not viewer.messages
    retry, why = bytes(viewer.body).decode().splitlines()
    assert retry.startswith("retry: ")
    return why


@pytest.mark.parametrize(
    ("limit", "most", "why", "someone"),
    [
        ("run", 4, ": The run has as many viewers as it may have.", lambda n: {"run": None}),
        ("process", 6, ": This process has as many viewers as it takes.", lambda n: {}),
        (
            "address",
            3,
            ": Your address has as many streams open as it may.",
            lambda n: {"address": "203.0.113.99"},
        ),
        (
            "subject",
            2,
            ": You have as many streams open as you may.",
            lambda n: {"subject": "zaphod"},
        ),
    ],
)
async def test_one_too_many_is_told_why_and_when_to_come_back(
    edge: Edge,
    http: httpx.AsyncClient,
    watching: Any,
    run_id: str,
    limit: str,
    most: int,
    why: str,
    someone: Callable[[int], dict[str, Any]],
) -> None:
    def who(number: int) -> dict[str, Any]:
        given = {
            "subject": f"subject-{number}",
            "address": f"203.0.113.{number}",
            "run": f"{run_id}-{number}",
            **someone(number),
        }
        return given | {"run": given["run"] or run_id}

    before = edge.metric("runcast_refused_streams_total", limit=limit)
    viewers = [await watching(**who(number)) for number in range(most)]
    for viewer in viewers:
        await viewer.until_caught_up()
    assert await refused(await watching(**who(most))) == why
    assert edge.metric("runcast_refused_streams_total", limit=limit) == before + 1
    await viewers[0].close()
    await eventually(lambda: edge.metric("runcast_subscribers") == most - 1)
    another = await watching(**who(most + 1))
    await another.until_caught_up()
    text = (await http.get(f"{edge.url}/metrics")).text
    assert run_id not in text
    assert "203.0.113" not in text
    assert "zaphod" not in text


async def test_streams_that_end_in_any_way_are_counted_no_more(
    edge: Edge, watching: Any, client: Redis, run_id: str
) -> None:
    for number in range(3):
        run = f"{run_id}-{number}"
        by_terminal = [await watching("a", "203.0.113.1", run) for _ in range(2)]
        await append(client, run)
        await append(client, run, "{}", "done")
        for viewer in by_terminal:
            await viewer.until_ended()
            assert len(viewer.events) == 2
        await eventually(lambda: edge.metric("runcast_subscribers") == 0)
        cut = [await watching("a", "203.0.113.1") for _ in range(2)]
        for viewer in cut:
            await viewer.until_caught_up()
            await viewer.close()
        await eventually(lambda: edge.metric("runcast_subscribers") == 0)
    last = await watching("a", "203.0.113.1")
    await last.until_caught_up()


async def test_a_long_poll_counts_while_it_waits_and_is_refused_as_json(
    edge: Edge, watching: Any, http: httpx.AsyncClient, client: Redis, run_id: str
) -> None:
    who = shown("poller", "203.0.113.50") | {"accept": "application/json"}
    url = edge.events_url(run_id, "wait=20")
    before = edge.metric("runcast_refused_streams_total", limit="subject")

    async def poll() -> httpx.Response:
        while True:
            answer = await http.get(url, headers=who)
            if answer.status_code != 503:
                return answer
            # The third was first.
            await asyncio.sleep(0.02)

    waiting = [asyncio.create_task(poll()) for _ in range(2)]

    async def a_third() -> httpx.Response:
        return await http.get(edge.events_url(run_id, "wait=0.1"), headers=who)

    async def is_refused() -> bool:
        return (await a_third()).status_code == 503

    await eventually(is_refused)
    answer = await a_third()
    assert answer.headers["content-type"] == "application/problem+json"
    assert int(answer.headers["retry-after"]) >= 1
    assert answer.json()["type"] == "urn:runcast:problem:too-many-streams"
    assert answer.json()["detail"] == "You have as many streams open as you may."
    assert await refused(await watching("poller", "203.0.113.51"))
    assert edge.metric("runcast_refused_streams_total", limit="subject") > before
    # A page that need not wait is none of them.
    page = await http.get(edge.events_url(run_id), headers=who)
    assert page.status_code == 200
    await append(client, run_id)
    for answered in await asyncio.gather(*waiting):
        assert answered.status_code == 200
        assert len(answered.json()["events"]) == 1
    viewer = await watching("poller", "203.0.113.51")
    await viewer.until(1)


async def test_no_run_is_begun_whose_answer_would_be_refused(
    edge: Edge, watching: Any, http: httpx.AsyncClient, client: Redis
) -> None:
    for number in range(2):
        viewer = await watching("asker", f"203.0.113.{number}", f"other-{number}")
        await viewer.until_caught_up()
    before = await client.xlen("runcast:requests:limits")
    answer = await http.post(
        f"{edge.url}/v1/agents/thinker/stream",
        json={"query": "why?"},
        headers=shown("asker", "203.0.113.9"),
    )
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) >= 1
    assert "error" in answer.json()
    assert await client.xlen("runcast:requests:limits") == before


async def test_a_viewer_of_three_ages_misses_nothing_and_sees_nothing_twice(
    redis_url: str, client: Redis, run_id: str
) -> None:
    edge = Edge(redis_url, max_age_seconds=0.6)
    appended: list[str] = []
    seen: list[str] = []
    lasted: list[float] = []

    enough = asyncio.Event()

    async def produce() -> None:
        while not enough.is_set():
            appended.append(await append(client, run_id))
            await asyncio.sleep(0.02)

    producing = asyncio.create_task(produce())
    try:
        cursor = None
        for _ in range(3):
            began = time.monotonic()
            async with watch(edge.events_url(run_id), cursor) as viewer:
                await viewer.until_ended()
            lasted.append(time.monotonic() - began)
            assert viewer.whole
            assert not viewer.gaps
            seen += viewer.ids
            cursor = viewer.decoder.last_event_id
        enough.set()
        await producing
        appended.append(await append(client, run_id, "{}", "done"))
        async with watch(edge.events_url(run_id), cursor) as viewer:
            await viewer.until_ended()
        seen += viewer.ids
        assert seen == appended
        assert all(0.45 <= seconds < 2 for seconds in lasted), lasted
        assert edge.metric("runcast_disconnects_total", reason="age") == 3
    finally:
        enough.set()
        await asyncio.wait([producing])
        edge.close()


async def test_workers_say_together_what_each_has_refused(redis_url: str) -> None:
    edge = Edge(redis_url, workers=2, max_connections_per_address=1)
    try:
        async with contextlib.AsyncExitStack() as opened:
            readers = [
                (await opened.enter_async_context(connected(edge, "127.0.0.9")))[0]
                for _ in range(8)
            ]

            async def told() -> bool:
                # Each worker has taken one, if it was given any.
                name = "runcast_refused_connections_total"
                return await asyncio.to_thread(edge.metric, name, reason="address") in (6, 7)

            await eventually(told)
            answers = await asyncio.gather(*(_word(reader) for reader in readers))
            assert sum(answer.startswith(b"HTTP/1.1 503 ") for answer in answers) in (6, 7)
    finally:
        edge.close()


async def _word(reader: asyncio.StreamReader) -> bytes:
    """What has come, without waiting for more."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(0.5):
            return await reader.read()
    return b""
