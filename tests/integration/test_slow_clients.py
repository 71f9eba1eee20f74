"""Clients that take up what they can without asking for anything: before, and instead of, a
request. On real edges, each with viewers that must not notice."""

import asyncio
import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from redis.asyncio import Redis

from tests.support.edges import Edge
from tests.support.producer import append
from tests.support.raw import connected
from tests.support.servers import available_kinds
from tests.support.viewer import watch
from tests.support.waiting import eventually

_HEADERS_SECONDS = 0.8
_STATUS = b"HTTP/1.1 %d "


@pytest.fixture(scope="session")
def redis_kind() -> str:
    """What is asked of Redis is tested on each kind elsewhere."""
    return available_kinds()[0]


@pytest.fixture(scope="module", params=[True, False], ids=["detached", "asgi"])
def edge(request: pytest.FixtureRequest, redis_url: str) -> Iterator[Edge]:
    """An edge that waits for a head a short time only, and takes a few connections."""
    edge = Edge(
        redis_url,
        detach=request.param,
        headers_seconds=_HEADERS_SECONDS,
        max_connections_per_address=20,
        max_request_line_bytes=1000,
        max_headers_bytes=2000,
    )
    yield edge
    traces = edge.traces()
    assert not traces, traces
    edge.close()


def refused(edge: Edge, reason: str) -> float:
    return edge.metric("runcast_refused_requests_total", reason=reason)


async def whole(reader: asyncio.StreamReader, *, within: float = 10) -> bytes:
    """All that comes until the connection is closed, however that is done."""
    data = b""
    async with asyncio.timeout(within):
        with contextlib.suppress(ConnectionError):
            while piece := await reader.read(1 << 16):
                data += piece
    return data


async def test_who_says_nothing_is_closed_without_an_answer(edge: Edge) -> None:
    before = refused(edge, "slow_headers")
    began = time.monotonic()
    async with connected(edge) as (reader, _):
        assert await whole(reader) == b""
    assert time.monotonic() - began >= 0.9 * _HEADERS_SECONDS
    assert refused(edge, "slow_headers") == before + 1


async def test_a_head_that_comes_byte_by_byte_must_be_whole_in_time(
    edge: Edge, client: Redis, run_id: str
) -> None:
    before = refused(edge, "slow_headers")
    async with watch(edge.events_url(run_id)) as viewer, connected(edge) as (reader, writer):
        await viewer.until_caught_up()
        began = time.monotonic()
        answer = asyncio.create_task(whole(reader))
        writer.write(b"GET / HTTP/1.1\r\na: ")
        while not answer.done():
            assert time.monotonic() - began < 10
            writer.write(b"x")
            await asyncio.sleep(0.05)
        data = await answer
        # The answer is lost if another byte came after it.
        assert data == b"" or data.startswith(_STATUS % 408)
        assert time.monotonic() - began >= 0.9 * _HEADERS_SECONDS
        assert refused(edge, "slow_headers") == before + 1
        # A stream, which has its head behind it, is none of these.
        await append(client, run_id)
        await viewer.until(1)


async def test_a_head_that_stops_is_answered(edge: Edge) -> None:
    async with connected(edge) as (reader, writer):
        writer.write(b"GET / HTTP/1.1\r\nhost:")
        data = await whole(reader)
        assert data.startswith(_STATUS % 408)
        assert b"content-type: application/problem+json" in data
        assert b"urn:runcast:problem:slow-headers" in data


async def test_the_next_request_of_a_connection_must_come_in_time_as_well(edge: Edge) -> None:
    async with connected(edge) as (reader, writer):
        for _ in range(2):
            writer.write(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
            assert (await reader.readuntil(b"}")).startswith(_STATUS % 200)
        writer.write(b"\r\n")
        await asyncio.sleep(_HEADERS_SECONDS / 2)
        writer.write(b"GET /healthz HT")
        began = time.monotonic()
        data = await whole(reader)
        assert data.startswith(_STATUS % 408)
        assert time.monotonic() - began < 0.8 * _HEADERS_SECONDS, "the first byte was before"


@pytest.mark.parametrize(
    ("data", "status", "reason"),
    [
        (b"GET /" + b"x" * 3000 + b" HTTP/1.1\r\nhost: x\r\n\r\n", 414, "target_too_long"),
        (b"GET / HTTP/1.1\r\na: " + b"x" * 3000 + b"\r\n\r\n", 431, "headers_too_large"),
        (b"GET / HTTP/1.1\r\na: " + b"x" * 4000, 431, "headers_too_large"),
        (b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 500 + b"\r\n", 431, "headers_too_large"),
        (b"\x16\x03\x01\x02\x00", 400, "bad_http"),
    ],
)
async def test_what_is_too_large_is_refused_by_its_name(
    edge: Edge, data: bytes, status: int, reason: str
) -> None:
    before = refused(edge, reason)
    async with connected(edge) as (reader, writer):
        writer.write(data)
        answer = await whole(reader)
        assert answer.startswith(_STATUS % status)
        assert b"content-type: application/problem+json" in answer
    assert refused(edge, reason) == before + 1


async def test_an_address_with_too_many_connections_leaves_the_others_theirs(
    edge: Edge, client: Redis, run_id: str
) -> None:
    name = "runcast_refused_connections_total"
    before = edge.metric(name, reason="address")
    async with contextlib.AsyncExitStack() as opened:
        streams = []
        for _ in range(20):
            connection = await opened.enter_async_context(connected(edge, "127.0.0.2"))
            connection[1].write(f"GET /v1/runs/{run_id}/events HTTP/1.1\r\n\r\n".encode())
            streams.append(connection)
        for reader, _ in streams:
            await reader.readuntil(b"caught-up")
        async with connected(edge, "127.0.0.2") as (reader, _):
            answer = await whole(reader)
            assert answer.startswith(_STATUS % 503)
            assert b"\r\nretry-after: " in answer
            assert b"urn:runcast:problem:too-many-connections" in answer
        assert edge.metric(name, reason="address") == before + 1
        async with watch(edge.events_url(run_id)) as viewer:
            await append(client, run_id)
            await viewer.until(1)
        streams[0][1].transport.abort()

        async def is_taken() -> bool:
            async with connected(edge, "127.0.0.2") as (reader, writer):
                writer.write(b"GET /healthz HTTP/1.1\r\nconnection: close\r\n\r\n")
                return (await whole(reader)).startswith(_STATUS % 200)

        await eventually(is_taken)


async def test_new_connections_come_at_a_rate(redis_url: str) -> None:
    edge = Edge(redis_url, connections_per_second=5)
    try:
        async with httpx.AsyncClient() as http:
            # One connection, kept open: others may be turned away.
            assert (await http.get(f"{edge.url}/healthz")).status_code == 200
            statuses = []
            for _ in range(20):
                async with connected(edge) as (reader, writer):
                    writer.write(b"GET /healthz HTTP/1.1\r\nconnection: close\r\n\r\n")
                    statuses.append((await whole(reader))[9:12])
            # The answer to one who is turned away may be lost to what they said.
            turned_away = 20 - statuses.count(b"200")
            assert 5 < turned_away <= 16
            metrics = (await http.get(f"{edge.url}/metrics")).text
            name = 'runcast_refused_connections_total{reason="rate"}'
            assert f"{name} {turned_away}.0" in metrics.splitlines()
    finally:
        edge.close()


_BODY_BYTES = 100 << 20
_ROOM_BYTES = 20 << 20


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("chunked", [True, False])
async def test_a_body_that_nobody_asked_for_takes_no_memory(
    edge: Edge, client: Redis, run_id: str, method: str, *, chunked: bool
) -> None:
    before = _resident_bytes(edge.process.pid)
    head = f"{method} /v1/runs/{run_id}/events HTTP/1.1\r\nhost: x\r\n"
    head += (
        "transfer-encoding: chunked\r\n\r\n"
        if chunked
        else f"content-length: {_BODY_BYTES}\r\n\r\n"
    )
    piece = b"x" * (1 << 20)
    if chunked:
        piece = b"%x\r\n%b\r\n" % (len(piece), piece)
    async with connected(edge) as (_, writer):
        writer.write(head.encode())
        most = before
        # A stream takes them and drops them; what was refused is closed.
        with contextlib.suppress(ConnectionError):
            for _ in range(_BODY_BYTES // (1 << 20)):
                writer.write(piece)
                await writer.drain()
                most = max(most, _resident_bytes(edge.process.pid))
    assert most - before < _ROOM_BYTES


async def test_requests_in_one_packet_take_no_memory(edge: Edge, run_id: str) -> None:
    before = _resident_bytes(edge.process.pid)
    request = f"GET /v1/runs/{run_id}/events HTTP/1.1\r\n\r\n".encode()
    async with contextlib.AsyncExitStack() as opened:
        for _ in range(10):
            reader, writer = await opened.enter_async_context(connected(edge))
            writer.write(request * 20_000)
            await reader.readuntil(b"retry:")
        assert _resident_bytes(edge.process.pid) - before < _ROOM_BYTES


def _resident_bytes(pid: int) -> int:
    status = Path(f"/proc/{pid}/status")
    if not status.exists():
        pytest.skip("there is no /proc")
    [line] = [line for line in status.read_text().splitlines() if line.startswith("VmRSS:")]
    return int(line.split()[1]) * 1024
