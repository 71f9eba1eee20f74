"""The backend that Pushpin asks what to do with a viewer: hold it, on the channel of its run.

A helper of the benchmark and not a part of Pushpin. It runs in the benchmark's own process, off
the server's cores, and is busy only while viewers connect.
"""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

__all__ = ["grip_backend"]

_REQUEST_SECONDS: Final = 600
_RUN: Final = re.compile(rb"GET /events/(\S+) HTTP/1\.1\r\n")


@asynccontextmanager
async def grip_backend() -> AsyncIterator[int]:
    """Serves on a free port of 127.0.0.1, which it yields, while the context lasts."""
    connections: set[asyncio.Task[None]] = set()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(_answer_all(reader, writer))
        connections.add(task)
        task.add_done_callback(connections.discard)

    server = await asyncio.start_server(connected, "127.0.0.1", 0, backlog=4096)
    try:
        port: int = server.sockets[0].getsockname()[1]
        yield port
    finally:
        server.close()
        for task in connections:
            task.cancel()
        await asyncio.gather(*connections, return_exceptions=True)


async def _answer_all(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while True:
            async with asyncio.timeout(_REQUEST_SECONDS):
                request = await reader.readuntil(b"\r\n\r\n")
                writer.write(_answer(request))
                await writer.drain()
    except (asyncio.IncompleteReadError, OSError):
        # Pushpin keeps connections for later requests, and closes them when it likes.
        return
    finally:
        writer.transport.abort()


def _answer(request: bytes) -> bytes:
    match = _RUN.match(request)
    if match is None:
        return b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
    return (
        b"HTTP/1.1 200 OK\r\n"
        b"Content-Type: text/event-stream\r\n"
        b"Content-Length: 0\r\n"
        b"Grip-Hold: stream\r\n"
        b"Grip-Channel: %b\r\n\r\n" % match[1]
    )
