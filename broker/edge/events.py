"""`GET /v1/runs/{run_id}/events`: a run's events as a stream, or as one JSON page."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import orjson
import structlog
from starlette.datastructures import Headers, QueryParams
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from broker.edge.asgi_sink import AsgiSink
from broker.edge.connection import Detach, detach_of
from broker.edge.problems import problem_response
from broker.engine.delivery import Sink, View
from broker.engine.hub import Hub, Opening
from broker.engine.log import LogUnavailable, NotAStream
from broker.engine.page import Page
from broker.engine.subscriber import Subscriber
from broker.wire.event import Event
from broker.wire.frame import greeting, id_block
from broker.wire.gap import Gap
from broker.wire.ids import START, RunId, StreamId, is_run_id
from broker.wire.problem import (
    BadRunId,
    Problem,
    RunNotFound,
    Unavailable,
    WrongKeyType,
)
from broker.wire.request import Beginning, EventsRequest, RequestLimits, Resume

__all__ = ["EventsEndpoint", "EventsPolicy", "log_end"]

logger = structlog.get_logger("runcast.stream")

STREAM_HEADERS: Final = {
    "content-type": "text/event-stream; charset=utf-8",
    "cache-control": "no-store, no-transform",
    "x-accel-buffering": "no",
    "x-content-type-options": "nosniff",
}
JSON_HEADERS: Final = {
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
    "vary": "accept",
}


@dataclass(frozen=True, slots=True)
class EventsPolicy:
    """What operators may choose about this endpoint."""

    reject_missing: bool
    """Answer 404 for a run that does not exist, instead of waiting for it."""
    end_expired: bool
    """Answer 204 for a cursor into a run that is gone, instead of saying a gap."""
    limits: RequestLimits
    detach: bool = True
    """Take connections over from the server where it lets us: cheaper for the same."""


class EventsEndpoint:
    """A raw ASGI endpoint: no layer stands between the stream and the server's `send`."""

    def __init__(self, hub: Hub, policy: EventsPolicy) -> None:
        self._hub = hub
        self._policy = policy

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request; everything that can be refused is refused before the first byte."""
        wants_json = False
        try:
            run_id = _run_id(scope["path_params"]["run_id"])
            request = self._parse(scope)
            wants_json = request.as_json
            opening = await self._open(run_id, request)
            if wants_json:
                response = await self._json(opening, request)
            elif (
                opening.over
                or self._expired(opening, request)
                or await self._nothing_left(opening, request)
            ):
                response = Response(status_code=204, headers={"cache-control": "no-store"})
            elif scope["method"] == "HEAD":
                response = Response(headers=STREAM_HEADERS)
            else:
                await self._stream(opening, request, scope, receive, send)
                return
        except NotAStream:
            response = problem_response(WrongKeyType(run_id))
        except LogUnavailable:
            response = self._come_back("Redis can't be reached.", wants_json=wants_json)
        except Problem as problem:
            response = problem_response(problem)
        await response(scope, receive, send)

    def _parse(self, scope: Scope) -> EventsRequest:
        headers = Headers(scope=scope)
        return EventsRequest.parse(
            last_event_id=headers.getlist("last-event-id"),
            accept=", ".join(headers.getlist("accept")),
            query=QueryParams(scope["query_string"]),
            limits=self._policy.limits,
        )

    async def _open(self, run_id: RunId, request: EventsRequest) -> Opening:
        if self._hub.draining:
            raise LogUnavailable
        opening = await self._hub.open(run_id, request.start)
        if self._policy.reject_missing and opening.missing:
            raise RunNotFound(run_id)
        return opening

    def _expired(self, opening: Opening, request: EventsRequest) -> bool:
        return (
            self._policy.end_expired
            and opening.missing
            and isinstance(request.start, Resume)
            and request.start.cursor != START
        )

    def _come_back(self, why: str, *, wants_json: bool) -> Response:
        """What is answered when nothing can be served now.

        An EventSource gives up for good on 503, so it gets an empty stream and a time to return.
        """
        milliseconds = self._hub.retry_milliseconds
        if wants_json:
            return problem_response(Unavailable(why, max(1, round(milliseconds / 1000))))
        return Response(greeting(milliseconds), headers=STREAM_HEADERS)

    # ---- the stream

    async def _stream(
        self, opening: Opening, request: EventsRequest, scope: Scope, receive: Receive, send: Send
    ) -> None:
        headers = dict(STREAM_HEADERS)
        if not request.control and not opening.feed.window.covers(opening.position):
            # Without control events a gap can only be said before the first byte.
            page = await self._hub.page(opening, self._policy.limits.page_events)
            if page.gap is not None:
                headers["runcast-gap"] = page.gap.header()
        detach = detach_of(scope) if self._policy.detach else None
        if detach is not None:
            self._stream_detached(opening, request, detach, headers)
        else:
            await self._stream_through_asgi(opening, request, headers, scope, receive, send)

    def _stream_detached(
        self, opening: Opening, request: EventsRequest, detach: Detach, headers: Mapping[str, str]
    ) -> None:
        """Hands the connection to the engine; the request's task ends here."""
        connection = detach(headers)
        if connection is None:
            return
        subscriber = self._subscriber(opening, request, connection)
        connection.attach(subscriber)
        self._hub.admit(subscriber, self._greeting(opening, request))
        connection.release()

    async def _stream_through_asgi(
        self,
        opening: Opening,
        request: EventsRequest,
        headers: Mapping[str, str],
        scope: Scope,
        receive: Receive,
        send: Send,
    ) -> None:
        """Holds the request's task for as long as the stream goes on; works on any server."""
        await send(
            {
                "type": "http.response.start",
                "status": 200,
                "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
            }
        )
        sink = AsgiSink(scope)
        subscriber = self._subscriber(opening, request, sink)
        self._hub.admit(subscriber, self._greeting(opening, request))
        try:
            await sink.run(receive, send, subscriber.drained)
        finally:
            subscriber.closed()

    def _subscriber(self, opening: Opening, request: EventsRequest, sink: Sink) -> Subscriber:
        view = View(request.types, request.control, request.heartbeat_as_event)
        return self._hub.subscriber(opening, sink, view)

    def _greeting(self, opening: Opening, request: EventsRequest) -> bytes:
        milliseconds = self._hub.retry_milliseconds
        match request.start:
            case Beginning():
                # A reconnect without a cursor begins there again.
                return greeting(milliseconds)
            case Resume() if not request.control:
                return greeting(milliseconds)
            case _ if not request.control:
                # No control event will carry the id to the client.
                return greeting(milliseconds) + id_block(opening.position)
            case _:
                return greeting(milliseconds, opening.position)

    async def _nothing_left(self, opening: Opening, request: EventsRequest) -> bool:
        """Whether the run is over and none of the wanted types is among what is left of it.

        Some clients don't take the id of an event that they did not ask for: they would come
        back to the end of the run for ever.
        """
        if request.types is None or opening.feed.final is None or opening.lenient:
            return False
        page = await self._hub.page(opening, self._policy.limits.page_events)
        return page.final and not any(event.type in request.types for event in page.events)

    # ---- the page

    async def _json(self, opening: Opening, request: EventsRequest) -> Response:
        run_id = opening.feed.run_id
        if opening.over:
            return _page_response(run_id, opening, (), final=True)
        deadline = asyncio.get_running_loop().time() + request.wait_seconds
        while True:
            seen = opening.feed.end
            page = await self._hub.page(opening, request.limit)
            events = tuple(
                event
                for event in page.events
                if request.types is None or event.type in request.types
            )
            if events or page.gap is not None or page.final or page.more:
                return _page_response(run_id, opening, events, page=page)
            # Types that were not asked for are behind us: the next look begins after them.
            opening = replace(opening, position=page.last, lenient=False)
            if not await self._hub.wait_for_move(opening.feed, seen, deadline):
                return _page_response(run_id, opening, ())


def _run_id(text: str) -> RunId:
    if not is_run_id(text):
        raise BadRunId(text)
    return RunId(text)


def _page_response(
    run_id: RunId,
    opening: Opening,
    events: tuple[Event, ...],
    *,
    page: Page | None = None,
    final: bool = False,
) -> Response:
    gap: Gap | None = page.gap if page is not None else None
    document = {
        "run_id": run_id,
        "events": [_event_document(event) for event in events],
        "next": str(opening.position if page is None else page.last),
        "has_more": page is not None and page.more,
        "final": final or (page is not None and page.final),
        "gap": None if gap is None else gap.document(),
    }
    return Response(orjson.dumps(document), headers=JSON_HEADERS, media_type="application/json")


def _event_document(event: Event) -> dict[str, Any]:
    return {
        "id": str(event.id),
        "type": event.type or None,
        "data": event.data.decode(),
        "time": _time(event.id),
    }


def _time(event_id: StreamId) -> str | None:
    moment = event_id.time()
    if moment is None:
        return None
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def log_end(subscriber: Subscriber, seconds: float) -> None:
    """The access log's line: how a stream that took so many seconds went."""
    ending = subscriber.ending
    logger.info(
        "stream ended",
        run=subscriber.feed.run_id,
        reason=None if ending is None else ending.value,
        client_returns=ending is not None and ending.come_back,
        events=subscriber.sent_frames,
        bytes=subscriber.sent_bytes,
        seconds=round(seconds, 3),
    )
