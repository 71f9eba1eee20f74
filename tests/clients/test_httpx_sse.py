"""Python's `httpx-sse`, in the reconnect loop that its README shows."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import httpx
from httpx_sse import ServerSentEvent, aconnect_sse
from redis.asyncio import Redis

from tests.clients.journey import travel
from tests.support.cuttable import Cuttable
from tests.support.edges import Edge
from tests.support.producer import append
from tests.support.viewer import watch
from tests.support.waiting import eventually

_RUN_EVENTS: Final = ("", "message", "chunk", "done")
_NO_READ_TIMEOUT: Final = httpx.Timeout(10, read=None)


class _Loop:
    """The README's loop: it comes back with the last id until it is answered with 204."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.seen: list[ServerSentEvent] = []
        self.stopped = False

    def of_type(self, *types: str) -> list[ServerSentEvent]:
        """What it saw of these types."""
        return [sse for sse in self.seen if sse.event in types]

    @property
    def ids(self) -> list[str]:
        """The ids of the run's events."""
        return [sse.id for sse in self.of_type(*_RUN_EVENTS) if sse.data]

    @property
    def gaps(self) -> int:
        """How often it was told of a gap."""
        return len(self.of_type("runcast.gap"))

    async def run(self) -> None:
        """Watches until the end."""
        last_event_id = ""
        delay_seconds = 0.0
        async with httpx.AsyncClient(timeout=_NO_READ_TIMEOUT) as http:
            while True:
                await asyncio.sleep(delay_seconds)
                headers = {"Last-Event-ID": last_event_id} if last_event_id else {}
                with contextlib.suppress(httpx.TransportError):
                    async with aconnect_sse(http, "GET", self._url, headers=headers) as source:
                        if source.response.status_code == httpx.codes.NO_CONTENT:
                            self.stopped = True
                            return
                        async for sse in source.aiter_sse():
                            self.seen.append(sse)
                            last_event_id = sse.id
                            if sse.retry is not None:
                                delay_seconds = sse.retry / 1000


@asynccontextmanager
async def _watch(url: str) -> AsyncIterator[_Loop]:
    loop = _Loop(url)
    task = asyncio.create_task(loop.run(), name="httpx-sse loop")
    try:
        yield loop
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def test_misses_nothing_and_doubles_nothing_on_a_bad_line(
    edge: Edge, client: Redis, run_id: str
) -> None:
    await travel(_watch, edge, client, run_id)


async def test_stops_at_204_after_the_terminal_event(
    edge: Edge, client: Redis, run_id: str
) -> None:
    last = await append(client, run_id, "{}", "done")
    async with Cuttable(edge.port) as line, _watch(line.events_url(run_id)) as loop:
        await eventually(lambda: loop.stopped)
        assert loop.ids == [last]
        assert line.resumed_from(run_id) == [None, last]


async def test_heartbeats_dispatch_nothing(edge: Edge, client: Redis, run_id: str) -> None:
    """httpx-sse dispatches an empty event for each blank line that comes after any id."""
    first = await append(client, run_id, "a")
    async with _watch(edge.events_url(run_id)) as loop:
        await eventually(lambda: len(loop.of_type("runcast.caught-up")) == 1)
        async with watch(edge.events_url(run_id)) as later:
            # Whoever came earlier has been sent as many by then.
            await eventually(lambda: later.decoder.comments.count("heartbeat") == 2)
        second = await append(client, run_id, "b")
        await eventually(lambda: len(loop.ids) == 2)
        assert loop.ids == [first, second]
        assert [sse for sse in loop.seen if not sse.data and sse.retry is None] == []


async def test_a_second_cut_before_anything_new_does_not_lose_the_cursor(
    edge: Edge, client: Redis, run_id: str
) -> None:
    first = await append(client, run_id, "a")
    async with Cuttable(edge.port) as line, _watch(line.events_url(run_id)) as loop:
        await eventually(lambda: len(loop.of_type("runcast.caught-up")) == 1)
        line.cut()
        line.mend()
        await eventually(lambda: len(loop.of_type("runcast.caught-up")) == 2)
        line.cut()
        line.mend()
        await eventually(lambda: len(loop.of_type("runcast.caught-up")) == 3)
        assert line.resumed_from(run_id) == [None, first, first]
        assert loop.ids == [first]
