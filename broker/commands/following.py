"""Following a run over HTTP, across any number of connections, until the server says it is over.

The cursor is the last id that the server sent, in whatever block: an event's, one that only moves
it (types that are filtered out), or that of caught-up, where nothing else was sent yet. So what
happens while there is no connection is either received after it, or said as a gap.
"""

import asyncio
import contextlib
import random
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass
from enum import Enum, auto
from http import HTTPStatus
from typing import Any, Final, Protocol

import httpx
import orjson
from httpx_sse import EventSource, ServerSentEvent, aconnect_sse

from broker.redis.addresses import shown_url
from broker.wire.problem import CONTENT_TYPE

__all__ = ["Following", "Listener", "Refused", "SeenEvent", "Target", "reconnect_seconds"]

TIMEOUT: Final = httpx.Timeout(10, read=45)
"""Seconds. Reading waits for three of the server's heartbeats: after that, nobody is there."""
_RETRY_SECONDS: Final = 1.0
"""Until the server has said how long it would have us wait."""
_LEAST_RETRY_SECONDS: Final = 0.1
_LONGEST_BACKOFF_SECONDS: Final = 30.0
_CONTROL_PREFIX: Final = "runcast."
_UNNAMED: Final = "message"
"""What a block without an event name is called."""
_TRANSIENT: Final = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS})


@dataclass(frozen=True, slots=True)
class Target:
    """Which events are wanted."""

    url: str
    """Of the run's events."""
    start: str | None = None
    """The `from` parameter."""
    types: str | None = None
    """The `types` parameter."""

    def parameters(self) -> dict[str, str]:
        """The query parameters; a cursor goes into a header, which wins over them."""
        given = {"from": self.start, "types": self.types}
        return {name: text for name, text in given.items() if text is not None}


@dataclass(frozen=True, slots=True)
class SeenEvent:
    """An event of the run, as it came."""

    id: str
    type: str
    data: str


class Listener(Protocol):
    """Who is told."""

    def event(self, event: SeenEvent) -> None:
        """An event of the run."""

    def gap(self, gap: dict[str, Any]) -> None:
        """Events are missing; the fields are those of `runcast.gap`."""

    def caught_up(self) -> None:
        """The replay is done; what follows happens now."""

    def waiting(self, why: str, seconds: float) -> None:
        """There is no connection; the next attempt is after `seconds`."""


class Refused(Exception):
    """The server will not serve this, however often it is asked; the message says why."""


class _Unavailable(Exception):
    """The server can't serve this now."""


class _End(Enum):
    """How a response ended that did not fail."""

    OVER = auto()
    AFTER_EVENT = auto()
    QUIET = auto()


def reconnect_seconds(retry: float, failures: int, random_source: random.Random) -> float:
    """How long to wait before the next connection.

    Args:
        retry: what the server asked for, in seconds; it is never less.
        failures: connections that failed in a row; each doubles the wait, up to 30 s.
        random_source: for the jitter, so that clients that were cut together come back apart.
    """
    base = max(retry, _LEAST_RETRY_SECONDS)
    longest = min(max(_LONGEST_BACKOFF_SECONDS, base), base * 1.5 * 2 ** min(failures, 16))
    return random_source.uniform(max(base, longest / 2), longest)


class Following:
    """Follows one run for one listener."""

    def __init__(
        self,
        client: httpx.AsyncClient,
        target: Target,
        listener: Listener,
        *,
        cursor: str | None,
        random_source: random.Random,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """
        Args:
            client: has timeouts; a read's must be above the server's heartbeat.
            target: which events.
            listener: who is told.
            cursor: the id after which to begin; `None` for what the target says.
            random_source: for jitter.
            sleep: waits for seconds.
        """
        self._client = client
        self._target = target
        self._listener = listener
        self._cursor = cursor
        self._random = random_source
        self._sleep = sleep
        self._retry = _RETRY_SECONDS
        self._failures = 0
        # Of the present connection: the id that its blocks stand at, and whether the last one was
        # an event, or the trace of one that was filtered out.
        self._block_id = ""
        self._after_event = False

    async def run(self) -> None:
        """Returns when the run is over.

        Raises:
            Refused: the server will not serve it.
        """
        while True:
            try:
                end = await self._connect()
            except (httpx.TransportError, _Unavailable) as error:
                seconds = self._wait()
                self._listener.waiting(_described(error), seconds)
                self._failures += 1
            else:
                if end is _End.OVER:
                    return
                # A stream that ends right after an event has most likely ended with its run:
                # asking at once tells, and costs at most one request for each event.
                seconds = 0 if end is _End.AFTER_EVENT else self._wait()
            await self._sleep(seconds)

    def _wait(self) -> float:
        return reconnect_seconds(self._retry, self._failures, self._random)

    async def _connect(self) -> _End:
        headers = {"accept-encoding": "identity"}
        if self._cursor is not None:
            headers["last-event-id"] = self._cursor
        async with aconnect_sse(
            self._client,
            "GET",
            self._target.url,
            params=self._target.parameters(),
            headers=headers,
        ) as source:
            if source.response.status_code == HTTPStatus.NO_CONTENT:
                return _End.OVER
            await _check(source.response)
            self._failures = 0
            return await self._read(source)

    async def _read(self, source: EventSource) -> _End:
        self._block_id, self._after_event = "", False
        blocks: AsyncGenerator[ServerSentEvent, None] = source.aiter_sse()
        async with contextlib.aclosing(blocks):
            async for block in blocks:
                self._take(block)
        return _End.AFTER_EVENT if self._after_event else _End.QUIET

    def _take(self, block: ServerSentEvent) -> None:
        if block.retry is not None and block.retry >= 0:
            self._retry = block.retry / 1000
        # The decoder gives a block without an id that of the block before.
        moved = block.id != self._block_id
        if moved:
            self._block_id = self._cursor = block.id
        control = block.event.startswith(_CONTROL_PREFIX)
        self._after_event = moved and not control
        if control:
            self._take_control(block)
        elif self._has_event(block, moved=moved):
            self._after_event = True
            self._listener.event(SeenEvent(block.id, block.event, block.data))

    def _has_event(self, block: ServerSentEvent, *, moved: bool) -> bool:
        """Whether a block that is no control event is an event.

        The decoder also yields blocks without any data line, which are none. An event without
        type whose data is empty looks the same to it; but the server sends a block with nothing
        but an id only where types are filtered, and there no event is without a type.
        """
        if block.data or block.event != _UNNAMED:
            return True
        return moved and self._target.types is None

    def _take_control(self, block: ServerSentEvent) -> None:
        match block.event:
            case "runcast.gap":
                self._listener.gap(_document(block))
            case "runcast.caught-up":
                position = _document(block).get("id")
                if isinstance(position, str):
                    self._cursor = position
                self._listener.caught_up()
            case _:
                # Of a newer server; the name is reserved, so it is no event of the run.
                return


async def _check(response: httpx.Response) -> None:
    """Returns if the answer is an event stream."""
    status, url = response.status_code, shown_url(str(response.url))
    if status == HTTPStatus.OK:
        media_type = response.headers.get("content-type", "").partition(";")[0].strip()
        if media_type != "text/event-stream":
            raise Refused(
                f"{url} is not an event stream but {media_type or 'of no type'}: "
                "is --url that of an edge?"
            )
        return
    text = f"{status} {response.reason_phrase}".strip()
    if status in _TRANSIENT or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        raise _Unavailable(f"{url} answered {text}")
    if response.headers.get("content-type", "").startswith(CONTENT_TYPE):
        raise Refused(await _problem(response) or f"{url} answered {text}")
    raise Refused(f"{url} answered {text}: is --url that of an edge?")


async def _problem(response: httpx.Response) -> str | None:
    """A problem's title and detail as one line."""
    try:
        document = orjson.loads(await response.aread())
    except orjson.JSONDecodeError:
        return None
    if not isinstance(document, dict):
        return None
    parts = [str(document[name]) for name in ("title", "detail") if document.get(name)]
    return " ".join(": ".join(parts).split()) or None


def _document(block: ServerSentEvent) -> dict[str, Any]:
    try:
        document = orjson.loads(block.data)
    except orjson.JSONDecodeError:
        document = None
    if not isinstance(document, dict):
        raise Refused(f"the server's {block.event} is not a JSON object: is it a newer version?")
    return document


def _described(error: httpx.TransportError | _Unavailable) -> str:
    if isinstance(error, _Unavailable):
        return str(error)
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
