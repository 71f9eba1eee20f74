"""Viewers behind a proxy, over HTTP/1.1 or HTTP/2 with TLS; some come back by themselves."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Final

import httpx

from tests.proxies.proxy import Proxy
from tests.support.sse import Decoder, Message
from tests.support.waiting import eventually

__all__ = ["Comeback", "Stream", "client_of", "come_back", "watch"]

_SECONDS: Final = 20
"""The longest that a viewer waits for anything; heartbeats come much more often."""
_FIRST_PAUSE_SECONDS: Final = 0.1
"""Before it was told another."""
_ACCEPT: Final = {"accept": "text/event-stream", "accept-encoding": "gzip, br, zstd"}
"""A browser accepts compression; a proxy must not take it up."""


def client_of(
    proxy: Proxy, *, http2: bool = False, address: str | None = None
) -> httpx.AsyncClient:
    """A client of the proxy.

    Args:
        proxy: whose certificate is believed.
        http2: whether it speaks HTTP/2 only.
        address: the client's own, of the loopback network.
    """
    transport = httpx.AsyncHTTPTransport(
        verify=proxy.trust(), http1=not http2, http2=http2, local_address=address
    )
    return httpx.AsyncClient(transport=transport, timeout=_SECONDS)


@dataclass
class Stream:
    """One answer, as far as it has come."""

    response: httpx.Response
    asked_at: float
    """When the request was sent, in seconds of the monotonic clock."""
    first_byte_after: float | None = None
    """Seconds until the first byte of the body."""
    messages: list[Message] = field(default_factory=list)
    seen_at: dict[str, float] = field(default_factory=dict)
    """When each event of the run came, by its id."""
    ended: bool = False
    decoder: Decoder = field(default_factory=Decoder)

    @property
    def ids(self) -> list[str]:
        """The ids of the run's events."""
        return [message.id for message in self.messages if message.of_run]

    @property
    def heartbeats(self) -> int:
        return self.decoder.comments.count("heartbeat")

    async def until(self, event_id: str) -> float:
        """Waits for that event; when it came."""
        await eventually(lambda: event_id in self.seen_at, within=_SECONDS)
        return self.seen_at[event_id]

    async def read(self) -> None:
        """Takes the body to its end, however that comes."""
        try:
            async for piece in self.response.aiter_raw():
                now = time.monotonic()
                if self.first_byte_after is None:
                    self.first_byte_after = now - self.asked_at
                for message in self.decoder.feed(piece):
                    self.messages.append(message)
                    if message.of_run:
                        self.seen_at[message.id] = now
        except httpx.TransportError:
            # How a proxy cuts a stream is its own affair.
            pass
        finally:
            self.ended = True


@contextlib.asynccontextmanager
async def watch(client: httpx.AsyncClient, url: str, **headers: str) -> AsyncIterator[Stream]:
    """A viewer's stream, while the context lasts."""
    async with _ask(client, url, headers) as stream:
        reading = asyncio.create_task(stream.read(), name="proxied viewer")
        try:
            yield stream
        finally:
            reading.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await reading


@contextlib.asynccontextmanager
async def _ask(
    client: httpx.AsyncClient, url: str, headers: Mapping[str, str]
) -> AsyncIterator[Stream]:
    asked_at = time.monotonic()
    async with client.stream("GET", url, headers={**_ACCEPT, **headers}) as response:
        yield Stream(response, asked_at)


class Comeback:
    """A viewer that does as an EventSource does (WHATWG HTML, 9.2.3): it comes back after each end
    of a 200, and stops for good at any other answer."""

    def __init__(self) -> None:
        self.streams: list[Stream] = []
        self.stopped_by: int | None = None
        """The status that it stopped at; 204 where all is well."""

    @property
    def ids(self) -> list[str]:
        """The ids of the run's events, over all connections."""
        return [event_id for stream in self.streams for event_id in stream.ids]

    @property
    def gaps(self) -> int:
        """How often it was told of a gap."""
        return sum(
            message.type == "runcast.gap" for stream in self.streams for message in stream.messages
        )

    async def run(self, client: httpx.AsyncClient, url: str) -> None:
        """Watches until it is stopped."""
        cursor: dict[str, str] = {}
        pause = _FIRST_PAUSE_SECONDS
        while True:
            with contextlib.suppress(httpx.TransportError):
                async with _ask(client, url, cursor) as stream:
                    if stream.response.status_code != 200:
                        self.stopped_by = stream.response.status_code
                        return
                    self.streams.append(stream)
                    await stream.read()
                    if stream.decoder.last_event_id:
                        cursor = {"last-event-id": stream.decoder.last_event_id}
                    if stream.decoder.retry is not None:
                        pause = stream.decoder.retry / 1000
            await asyncio.sleep(pause)


@contextlib.asynccontextmanager
async def come_back(
    client: httpx.AsyncClient, url: str, count: int
) -> AsyncIterator[list[Comeback]]:
    """That many of them over one client, while the context lasts."""
    viewers = [Comeback() for _ in range(count)]
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(viewer.run(client, url)) for viewer in viewers]
        try:
            await eventually(lambda: all(viewer.streams for viewer in viewers))
            yield viewers
        finally:
            for task in tasks:
                task.cancel()
