"""Viewers by the thousand who come back as an EventSource does, and count what they get.

Events are numbered from 1 within each run, `{"n": 7}`; from the first number that a viewer sees on,
each has to be one more than the last, over reconnects too.
"""

import asyncio
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import httptools

__all__ = ["Crowd", "Seen"]

_BLOCK_END: Final = b"\n\n"
_FIELD: Final = re.compile(rb"^(id|event|retry|data): ?(.*)$", re.MULTILINE)
_NUMBER: Final = re.compile(rb'"n": ?(\d+)')
_RETRY_SECONDS: Final = 3.0
"""As long as nobody has said another."""
_CONNECT_SECONDS: Final = 30.0


@dataclass
class Seen:
    """What one viewer has seen."""

    first: int = 0
    last: int = 0
    lost: int = 0
    doubled: int = 0
    gaps: int = 0
    reconnects: int = 0
    over: bool = False
    """Whether it was told that the run is over."""

    def number(self, number: int) -> None:
        """It got the event with this number."""
        if not self.first:
            self.first = number
        elif number <= self.last:
            self.doubled += 1
            return
        else:
            self.lost += number - self.last - 1
        self.last = number


@dataclass
class Crowd:
    """All viewers, as long as their tasks go on."""

    choose: Callable[[], int]
    """The port for a new connection: what a load balancer does, or its own."""
    viewers: list[Seen] = field(default_factory=list)
    reconnects: Counter[int] = field(default_factory=Counter)
    """How many began in each second of the loop's time."""
    refused: Counter[str] = field(default_factory=Counter)
    """Answers that were no stream, and connections that came to nothing, by what it was. Who gets
    one of the former, an EventSource would never come back."""
    retries: set[int] = field(default_factory=set)
    """The times that it was told to wait, in milliseconds."""
    connected: int = 0
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)

    def watch(self, run_id: str) -> None:
        """One viewer more."""
        seen = Seen()
        self.viewers.append(seen)
        name = f"viewer {len(self.viewers)}"
        self._tasks.append(asyncio.create_task(self._stay(run_id, seen), name=name))

    async def until_over(self, within: float) -> None:
        """Waits until all were told that their runs are over."""
        async with asyncio.timeout(within):
            await asyncio.gather(*self._tasks)

    async def close(self) -> None:
        """Ends them all."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _stay(self, run_id: str, seen: Seen) -> None:
        loop = asyncio.get_running_loop()
        stream = _Stream(seen, self.retries)
        while True:
            await self._connect(run_id, stream)
            if seen.over:
                return
            await asyncio.sleep(stream.retry_seconds)
            seen.reconnects += 1
            self.reconnects[int(loop.time())] += 1

    async def _connect(self, run_id: str, stream: "_Stream") -> None:
        """One connection, until it is over."""
        loop = asyncio.get_running_loop()
        lines = [f"GET /v1/runs/{run_id}/events HTTP/1.1", "host: localhost"]
        lines += ["accept: text/event-stream"]
        if stream.last_event_id:
            lines.append(f"last-event-id: {stream.last_event_id.decode()}")
        head = "\r\n".join([*lines, "", ""]).encode()
        over: asyncio.Future[str | None] = loop.create_future()
        try:
            async with asyncio.timeout(_CONNECT_SECONDS):
                transport, _ = await loop.create_connection(
                    lambda: _Connection(stream, head, over), "127.0.0.1", self.choose()
                )
        except OSError as error:
            self.refused[type(error).__name__] += 1
            return
        self.connected += 1
        try:
            refused = await over
        finally:
            self.connected -= 1
            transport.abort()
        if refused is not None:
            self.refused[refused] += 1


class _Stream:
    """What an EventSource keeps over its connections."""

    def __init__(self, seen: Seen, retries: set[int]) -> None:
        self.last_event_id = b""
        self.retry_seconds = _RETRY_SECONDS
        self._seen = seen
        self._retries = retries
        self._rest = b""

    def begin(self) -> None:
        """A new connection: half of a block is void."""
        self._rest = b""

    def over(self) -> None:
        """It is told not to come back."""
        self._seen.over = True

    def take(self, data: bytes) -> None:
        """What came of the body."""
        *blocks, self._rest = (self._rest + data).split(_BLOCK_END)
        for block in blocks:
            self._block(block)
        # Once it is said it counts, whatever becomes of the block.
        self._look_for_retry(self._rest)

    def _block(self, block: bytes) -> None:
        fields = dict(_FIELD.findall(block))
        self._look_for_retry(block)
        if b"id" in fields:
            self.last_event_id = fields[b"id"]
        kind = fields.get(b"event", b"")
        if kind == b"runcast.gap":
            self._seen.gaps += 1
        elif not kind.startswith(b"runcast.") and b"data" in fields:
            found = _NUMBER.search(fields[b"data"])
            assert found is not None, block
            self._seen.number(int(found[1]))

    def _look_for_retry(self, text: bytes) -> None:
        if b"retry:" in text:
            found = re.findall(rb"^retry: ?(\d+)\n", text + b"\n", re.MULTILINE)
            if found:
                self._retries.add(int(found[-1]))
                self.retry_seconds = int(found[-1]) / 1000


class _Connection(asyncio.Protocol):
    """One request and its answer; `over` gets `None` at a stream's end, else what it was."""

    def __init__(self, stream: _Stream, head: bytes, over: "asyncio.Future[str | None]") -> None:
        self._stream = stream
        self._head = head
        self._over = over
        self._parser: Any = httptools.HttpResponseParser(self)

    def connection_made(  # type: ignore[override]
        self, transport: asyncio.WriteTransport
    ) -> None:
        self._stream.begin()
        transport.write(self._head)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def connection_lost(self, error: Exception | None) -> None:
        # Cut in its midst: it comes back, as after an end.
        status = self._parser.get_status_code()
        self._end(None if status == 200 else "cut before an answer")

    def on_body(self, body: bytes) -> None:
        if self._parser.get_status_code() == 200:
            self._stream.take(body)

    def on_message_complete(self) -> None:
        status = self._parser.get_status_code()
        if status == 204:
            self._stream.over()
        self._end(None if status in (200, 204) else f"status {status}")

    def _end(self, refused: str | None) -> None:
        if not self._over.done():
            self._over.set_result(refused)
