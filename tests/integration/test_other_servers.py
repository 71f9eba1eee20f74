"""An edge under a server that is not ours, by `broker.asgi:app`: hypercorn, with HTTP/1.1 and
HTTP/2. Streams go through plain ASGI there.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from redis.asyncio import Redis

from tests.support.edges import QUICK
from tests.support.http2 import http2
from tests.support.producer import append
from tests.support.servers import free_port, redis_of_kind
from tests.support.viewer import watch
from tests.support.waiting import eventually, eventually_sync

_APP = "broker.asgi:app"
_ORIGIN = "https://app.example.com"


@pytest.fixture(scope="module")
def redis_url() -> Iterator[str]:
    """One kind of Redis is enough: here the server is what varies."""
    with redis_of_kind("valkey") as url:
        yield url


@pytest.fixture(scope="module")
def hypercorn(redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of an edge that runs under hypercorn."""
    directory = tmp_path_factory.mktemp("hypercorn")
    url = f"http://127.0.0.1:{free_port()}"
    chosen = {**QUICK, "cors_origins": _ORIGIN}
    settings = {f"RUNCAST_{name.upper()}": str(value) for name, value in chosen.items()}
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "hypercorn", _APP, "--bind", url.removeprefix("http://")],
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, **settings, "RUNCAST_REDIS_URL": redis_url},
            cwd=directory,
        )

    def ready() -> bool:
        text = (directory / "log").read_text()
        assert process.poll() is None, text
        # Else another process could be the one that answers.
        if "Running on" not in text:
            return False
        return httpx.get(f"{url}/readyz").status_code == 200

    try:
        eventually_sync(ready, within=20)
        yield url
        text = (directory / "log").read_text()
        assert "Traceback" not in text, text
    finally:
        process.kill()
        process.wait()


async def viewers(url: str) -> float:
    """How many it has."""
    async with httpx.AsyncClient() as http:
        text = (await http.get(f"{url}/metrics")).text
    for family in text_string_to_metric_families(text):
        if family.name == "runcast_subscribers":
            return family.samples[0].value
    raise AssertionError(text)


async def nobody(url: str) -> None:
    """Waits until it has noticed that all have gone."""

    async def none_left() -> bool:
        return await viewers(url) == 0

    await eventually(none_left)


def path(run_id: str) -> str:
    return f"/v1/runs/{run_id}/events"


async def test_http_1_replays_follows_and_ends(hypercorn: str, client: Redis, run_id: str) -> None:
    ids = [await append(client, run_id, str(number)) for number in range(3)]
    async with watch(hypercorn + path(run_id)) as viewer:
        await viewer.until_caught_up()
        ids += [await append(client, run_id, "live"), await append(client, run_id, "{}", "done")]
        await viewer.until_ended()
    assert (viewer.status, viewer.ids, viewer.whole) == (200, ids, True)
    assert viewer.gaps == []
    async with watch(hypercorn + path(run_id), ids[1]) as resumed:
        await resumed.until_ended()
    assert resumed.ids == ids[2:]
    async with httpx.AsyncClient() as http:
        answer = await http.get(hypercorn + path(run_id), headers={"last-event-id": ids[-1]})
    assert answer.status_code == 204


async def test_http_1_notices_that_a_client_has_gone(hypercorn: str, run_id: str) -> None:
    async with watch(hypercorn + path(run_id)) as viewer:
        await viewer.until_caught_up()
        assert await viewers(hypercorn) == 1
    await nobody(hypercorn)


async def test_http_2_replays_follows_resumes_and_ends(
    hypercorn: str, client: Redis, run_id: str
) -> None:
    ids = [await append(client, run_id, str(number)) for number in range(3)]
    async with http2(hypercorn) as connection:
        viewer = connection.get(path(run_id))
        await viewer.until_caught_up()
        assert viewer.status == 200
        assert viewer.headers["content-type"].startswith("text/event-stream")
        ids.append(await append(client, run_id, "live"))
        assert await viewer.until(4) == ids
        connection.reset(viewer)
        ids += [await append(client, run_id, "missed"), await append(client, run_id, "{}", "done")]
        resumed = connection.get(path(run_id), last_event_id=viewer.last_event_id)
        await resumed.until_ended()
        assert resumed.ids == ids[4:]
        over = connection.get(path(run_id), last_event_id=ids[-1])
        await over.until_ended()
        assert over.status == 204


async def test_httpx_over_http_2(hypercorn: str, client: Redis, run_id: str) -> None:
    event_id = await append(client, run_id, "{}", "done")
    async with httpx.AsyncClient(http1=False, http2=True) as http:
        answer = await http.get(hypercorn + path(run_id))
    assert answer.http_version == "HTTP/2"
    assert f"id: {event_id}\n" in answer.text


async def test_http_2_has_twenty_streams_on_one_connection(
    hypercorn: str, client: Redis, run_id: str
) -> None:
    # Over HTTP/1.1 browsers open six connections to a server, and no more streams.
    runs = [f"{run_id}-{number}" for number in range(20)]
    async with http2(hypercorn) as connection:
        streams = [connection.get(path(run)) for run in runs]
        for stream in streams:
            await stream.until_caught_up()
        assert await viewers(hypercorn) == 20
        for run, stream in zip(runs, streams, strict=True):
            event_id = await append(client, run)
            assert await stream.until(1) == [event_id]
        # One that leaves is noticed, and disturbs nobody.
        connection.reset(streams[0])

        async def one_less() -> bool:
            return await viewers(hypercorn) == 19

        await eventually(one_less)
        for run, stream in zip(runs[1:], streams[1:], strict=True):
            await append(client, run, "{}", "done")
            await stream.until_ended()
            assert len(stream.ids) == 2
    await nobody(hypercorn)


async def test_http_2_notices_that_the_connection_has_gone(hypercorn: str, run_id: str) -> None:
    async with http2(hypercorn) as connection:
        for number in range(3):
            await connection.get(path(f"{run_id}-{number}")).until_caught_up()
        assert await viewers(hypercorn) == 3
    await nobody(hypercorn)


def test_without_a_redis_url_it_says_what_to_set(tmp_path: Path) -> None:
    outcome = subprocess.run(
        [sys.executable, "-c", "import broker.asgi"],
        cwd=tmp_path,
        env={**os.environ, "RUNCAST_REDIS_URL": ""},
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert outcome.returncode == 1
    assert outcome.stderr.splitlines()[-1].endswith(
        "SettingsError: redis_url: set RUNCAST_REDIS_URL; only runcast serve embeds a server"
    )


async def test_pages_of_a_listed_origin_may_read_it_over_http_2(
    hypercorn: str, client: Redis, run_id: str
) -> None:
    await append(client, run_id)
    async with http2(hypercorn) as connection:
        readable = connection.get(path(run_id), origin=_ORIGIN)
        other = connection.get(path(run_id), origin="https://evil.example")
        await readable.until(1)
        await other.until(1)
        connection.reset(readable)
        connection.reset(other)
    assert readable.headers["access-control-allow-origin"] == _ORIGIN
    assert "access-control-allow-origin" not in other.headers
    for stream in (readable, other):
        assert "origin" in stream.headers["vary"]
        assert stream.headers["referrer-policy"] == "no-referrer"
    await nobody(hypercorn)
