"""A client that posts, over a plain socket: what it sends, and when, is the test's to say."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Final

__all__ = ["Answer", "Post", "posting"]

_SECONDS: Final = 10


@dataclass(frozen=True, slots=True)
class Answer:
    """What was answered."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        """The body as a JSON document."""
        return json.loads(self.body)


class Post:
    """A request under way."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def send_raw(self, data: bytes) -> None:
        """Sends bytes as they are."""
        self._writer.write(data)
        async with asyncio.timeout(_SECONDS):
            await self._writer.drain()

    async def send(self, piece: bytes) -> None:
        """Sends a chunk of the body."""
        await self.send_raw(b"%x\r\n%b\r\n" % (len(piece), piece))

    async def finish(self) -> Answer:
        """Ends the body; its answer."""
        await self.send_raw(b"0\r\n\r\n")
        return await self.answer()

    async def answer(self) -> Answer:
        """The next answer, `100 Continue` included."""
        async with asyncio.timeout(_SECONDS):
            head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            first, *lines = head.split("\r\n")[:-2]
            headers = {
                name.lower(): value.strip()
                for name, _, value in (line.partition(":") for line in lines)
            }
            body = await self._reader.readexactly(int(headers.get("content-length", 0)))
            return Answer(int(first.split()[1]), headers, body)

    async def is_over(self) -> bool:
        """Whether the server has ended the connection, with nothing more to say."""
        async with asyncio.timeout(_SECONDS):
            with contextlib.suppress(ConnectionResetError):
                return await self._reader.read(1) == b""
            return True

    def cut(self) -> None:
        """Resets the connection."""
        self._writer.transport.abort()


@contextlib.asynccontextmanager
async def posting(
    port: int, path: str, media_type: str = "application/x-ndjson", **headers: str
) -> AsyncIterator[Post]:
    """A request whose head has been sent; its body goes in chunks, unless a header says its length.

    Args:
        port: the edge's.
        path: what is posted to.
        media_type: of the body.
        headers: further ones; a `_` in a name stands for `-`.
    """
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    lines = [f"POST {path} HTTP/1.1", "host: edge", f"content-type: {media_type}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    if "content_length" not in headers:
        lines.append("transfer-encoding: chunked")
    post = Post(reader, writer)
    try:
        await post.send_raw("\r\n".join([*lines, "", ""]).encode("latin-1"))
        yield post
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
