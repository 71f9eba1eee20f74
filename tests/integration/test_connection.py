"""The connection under a stream: what clients may do to it besides reading."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from redis.asyncio import Redis

from tests.support.edges import Edge
from tests.support.producer import append
from tests.support.sse import Decoder
from tests.support.viewer import watch
from tests.support.waiting import eventually


@asynccontextmanager
async def connected(edge: Edge) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", edge.port)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


def get(run_id: str, version: str = "1.1", **headers: str) -> bytes:
    lines = [f"GET /v1/runs/{run_id}/events HTTP/{version}", "host: x"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode()


async def test_bytes_that_nobody_asked_for_do_not_disturb_the_stream(
    edge: Edge, client: Redis, run_id: str
) -> None:
    async with watch(edge.events_url(run_id)) as viewer:
        await viewer.until_caught_up()
        assert viewer.writer is not None
        viewer.writer.write(get(run_id) + b"\x00\xff" + b"x" * 100_000)
        ids = [await append(client, run_id), await append(client, run_id, "{}", "done")]
        await viewer.until_ended()
    assert viewer.whole
    assert viewer.ids == ids


async def test_a_request_behind_another_is_not_answered_into_the_stream(
    edge: Edge, client: Redis, run_id: str
) -> None:
    await append(client, run_id)
    async with connected(edge) as (reader, writer):
        writer.write(get(run_id) + get(run_id))
        await reader.readuntil(b"caught-up")
        await append(client, run_id, "{}", "done")
        first = await reader.readuntil(b"0\r\n\r\n")
        assert b"HTTP/1.1" not in first
        # Through ASGI the connection lives on, and the other request has its turn.
        rest = await reader.read()
        assert rest == b"" or rest.startswith(b"HTTP/1.1 200 OK")


async def test_a_stream_on_a_connection_that_was_kept_alive(
    edge: Edge, client: Redis, run_id: str
) -> None:
    await append(client, run_id, "{}", "done")
    async with connected(edge) as (reader, writer):
        for _ in range(2):
            writer.write(get(run_id, accept="application/json"))
            head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            assert "connection: close" not in head
            length = int(head.partition("content-length: ")[2].partition("\r\n")[0])
            await reader.readexactly(length)
        writer.write(get(run_id))
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        assert "text/event-stream" in head
        assert (await reader.read()).endswith(b"0\r\n\r\n")


async def test_a_client_of_http_1_0(edge: Edge, client: Redis, run_id: str) -> None:
    ids = [await append(client, run_id)]
    async with connected(edge) as (reader, writer):
        writer.write(get(run_id, "1.0"))
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        if "transfer-encoding: chunked" in head:
            # Through ASGI the server knows no better.
            return
        decoder = Decoder()
        messages = decoder.feed(await reader.readuntil(b"caught-up"))
        ids.append(await append(client, run_id, "{}", "done"))
        messages += decoder.feed(await reader.read())
    assert [message.id for message in messages if message.of_run] == ids
    assert not decoder.mid_frame


async def test_a_client_that_closes_its_sending_side_is_gone(edge: Edge, run_id: str) -> None:
    """It can't be told from one that has closed altogether, until much is lost on it."""
    async with connected(edge) as (reader, writer):
        writer.write(get(run_id))
        await reader.readuntil(b"caught-up")
        writer.write_eof()
        await reader.read()
        await eventually(lambda: edge.metric("runcast_subscribers") == 0)


async def test_connections_are_counted_until_they_are_gone(
    edge: Edge, client: Redis, run_id: str
) -> None:
    before = edge.metric("runcast_disconnects_total", reason="client_gone")
    async with connected(edge) as (reader, writer):
        writer.write(get(run_id))
        await reader.readuntil(b"caught-up")
        assert edge.metric("runcast_subscribers") == 1
    await eventually(lambda: edge.metric("runcast_subscribers") == 0)
    assert edge.metric("runcast_disconnects_total", reason="client_gone") == before + 1
    await eventually(
        lambda: any(
            line["event"] == "stream ended" and line["run"] == run_id for line in edge.log()
        )
    )
    ended = [line for line in edge.log() if line.get("run") == run_id]
    assert [line["reason"] for line in ended] == ["client_gone"]
