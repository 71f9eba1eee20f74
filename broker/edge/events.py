"""A run's events as a stream, or as one JSON page; in the words of one profile."""

import asyncio
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Final, Protocol

import structlog
from starlette.datastructures import Headers, QueryParams
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from broker.edge.admission import Admission
from broker.edge.agui_joins import AguiJoins
from broker.edge.auth.gate import run_of_path
from broker.edge.auth.own_runs import require_same_run
from broker.edge.auth.permit import Permit
from broker.edge.connection_ids import connection_id
from broker.edge.problems import problem_response
from broker.edge.streaming import STREAM_HEADERS, Answer, Streamer
from broker.engine.delivery import View
from broker.engine.feed import Feed
from broker.engine.hub import Hub, Opening
from broker.engine.log import LogUnavailable, NotAStream
from broker.engine.page import Page
from broker.engine.subscriber import Subscriber
from broker.profiles.document import RouteSection
from broker.profiles.profile import PageContents, Profile
from broker.redis.catalogue import Catalogue
from broker.redis.pointers import RedisPointers
from broker.wire.agui import Agui
from broker.wire.dialect import SaysStatus
from broker.wire.event import Event
from broker.wire.folding import fold
from broker.wire.frame import greeting
from broker.wire.ids import START, RunId, StreamId, is_run_id
from broker.wire.problem import (
    BadRunId,
    Problem,
    RunNotFound,
    Unavailable,
    WrongKeyType,
)
from broker.wire.request import Beginning, EventsRequest, RequestLimits, Resume
from broker.wire.status import RunStatus

__all__ = [
    "EventsEndpoint",
    "EventsParts",
    "EventsPolicy",
    "Statuses",
    "log_beginning",
    "log_end",
]

logger = structlog.get_logger("runcast.stream")

_RETRY_SECONDS: Final = 2

JSON_HEADERS: Final = {
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
    "vary": "accept",
}


@dataclass(frozen=True, slots=True)
class EventsPolicy:
    """What operators may choose about these endpoints."""

    reject_missing: bool
    """Answer 404 for a run that does not exist, instead of waiting for it."""
    end_expired: bool
    """Answer 204 for a cursor into a run that is gone, instead of saying a gap."""
    limits: RequestLimits


class Statuses(Protocol):
    """How runs stand."""

    async def of(self, feed: Feed) -> RunStatus:
        """How this one stands.

        Raises:
            LogUnavailable: Redis can't be read now.
        """


@dataclass(frozen=True, slots=True)
class EventsParts:
    """What these endpoints are made of."""

    hub: Hub
    streamer: Streamer
    catalogue: Catalogue
    pointers: RedisPointers
    statuses: Statuses
    agui_joins: AguiJoins
    admission: Admission


class EventsEndpoint:
    """No layer stands between the stream and the server's `send`."""

    def __init__(
        self,
        parts: EventsParts,
        policy: EventsPolicy,
        profile: Profile,
        route: RouteSection,
    ) -> None:
        """
        Args:
            parts: what it is made of, in common with others.
            policy: what operators may choose.
            profile: in whose words.
            route: which of the profile's.
        """
        self._hub = parts.hub
        self._parts = parts
        self._policy = policy
        self._profile = profile
        self._route = route

    async def __call__(self, permit: Permit, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request; everything that can be refused is refused before the first byte."""
        try:
            request = self._parse(scope)
        except Problem as problem:
            await problem_response(problem)(scope, receive, send)
            return
        wants_json = request.as_json
        run_id = permit.run_id
        if run_id is None:
            response = self._come_back(
                Unavailable("There is no current run.", _RETRY_SECONDS), wants_json=wants_json
            )
            await response(scope, receive, send)
            return
        try:
            opening = await self._open(run_id, request)
            if wants_json:
                response = await self._json(permit, opening, request, scope)
            elif (
                opening.over
                or self._expired(opening, request)
                or (isinstance(request.start, Resume) and await self._hub.ends_at(opening))
                or await self._nothing_left(opening, request)
            ):
                response = Response(status_code=204, headers={"cache-control": "no-store"})
            elif scope["method"] == "HEAD":
                response = Response(headers=STREAM_HEADERS)
            else:
                await self._stream(permit, opening, request, scope, receive, send)
                return
        except NotAStream:
            response = problem_response(WrongKeyType(run_id))
        except LogUnavailable:
            response = self._come_back(
                Unavailable("Redis can't be reached.", _RETRY_SECONDS), wants_json=wants_json
            )
        except Unavailable as problem:
            response = self._come_back(problem, wants_json=wants_json)
        except Problem as problem:
            response = problem_response(problem)
        await response(scope, receive, send)

    async def refuse(self, problem: Problem, scope: Scope, receive: Receive, send: Send) -> None:
        """Says that there is no permit; or to come back, where nobody knows."""
        response = problem_response(problem)
        if isinstance(problem, Unavailable):
            try:
                wants_json = self._parse(scope).as_json
            except Problem as misread:
                response = problem_response(misread)
            else:
                response = self._come_back(problem, wants_json=wants_json)
        await response(scope, receive, send)

    def _parse(self, scope: Scope) -> EventsRequest:
        headers = Headers(scope=scope)
        request = EventsRequest.parse(
            last_event_id=headers.getlist("last-event-id"),
            accept=", ".join(headers.getlist("accept")),
            query=QueryParams(scope["query_string"]),
            limits=self._policy.limits,
            cursors=self._profile.cursors,
        )
        match self._route.serves:
            case "page":
                return replace(request, as_json=True)
            case "events":
                return request
            case _:
                return replace(request, as_json=False)

    async def run_of(self, scope: Scope) -> RunId | None:
        """The run that a request is about; `None` if it asks for what somebody is at now, and
        that is nothing.

        Raises:
            BadRunId: the path names none.
            LogUnavailable: Redis can't be read now.
        """
        if self._route.pointer is None:
            return await run_of_path(scope)
        name: str = scope["path_params"]["name"]
        if not is_run_id(name):
            raise BadRunId(name)
        return await self._parts.pointers.get(self._route.pointer.replace("{name}", name))

    async def _open(self, run_id: RunId, request: EventsRequest) -> Opening:
        if self._hub.draining:
            raise LogUnavailable
        address = self._parts.catalogue.address(self._profile.name, run_id)
        opening = await self._hub.open(address, request.start)
        if self._policy.reject_missing and opening.missing:
            raise RunNotFound
        return opening

    def _expired(self, opening: Opening, request: EventsRequest) -> bool:
        return (
            self._policy.end_expired
            and opening.missing
            and isinstance(request.start, Resume)
            and request.start.cursor != START
        )

    def _come_back(self, problem: Unavailable, *, wants_json: bool) -> Response:
        """What is answered when nothing can be served now.

        An EventSource gives up for good on 503, so it gets an empty stream, a time to return, and
        the reason as a comment, for who looks.
        """
        milliseconds = self._hub.retry_milliseconds
        if wants_json:
            problem.retry_after_seconds = max(1, round(milliseconds / 1000))
            return problem_response(problem)
        why = " ".join(problem.detail.split()).encode()
        return Response(greeting(milliseconds) + b": " + why + b"\n", headers=STREAM_HEADERS)

    # ---- the stream

    async def _stream(
        self,
        permit: Permit,
        opening: Opening,
        request: EventsRequest,
        scope: Scope,
        receive: Receive,
        send: Send,
    ) -> None:
        """Answers with the stream.

        Raises:
            LogUnavailable: Redis can't be read now.
            NotAStream: the key holds something else.
        """
        headers: dict[str, str] = {}
        says_gaps = request.control and self._profile.says_gaps
        if not says_gaps and not opening.feed.window.covers(opening.position):
            # Where no event says it, a gap can only be said before the first byte.
            page = await self._hub.page(opening, self._policy.limits.page_events)
            if page.gap is not None:
                headers["runcast-gap"] = page.gap.header()
        view, first = await self._view(opening, request)
        # It took a while to get here.
        await require_same_run(permit, opening)
        profile = self._profile
        answer = Answer(
            permit, opening, view, first, profile.name, headers, compress=profile.compress
        )
        await self._parts.streamer.serve(answer, scope, receive, send)

    async def _view(self, opening: Opening, request: EventsRequest) -> tuple[View, bytes]:
        """What the viewer is to see, and the stream's first bytes."""
        profile = self._profile
        run_id = self._parts.catalogue.run_of(opening.feed.run_id)
        dialect = profile.dialect(run_id, request)
        retry = self._hub.retry_milliseconds
        if isinstance(dialect, Agui):
            joins = self._parts.agui_joins
            dialect, first = await joins.join(dialect, opening, request.start, retry)
        else:
            first = dialect.greeting(retry, self._place(opening, request))
        seconds = None
        if profile.wants_status and isinstance(dialect, SaysStatus):
            opening.feed.status = await self._parts.statuses.of(opening.feed)
            first += dialect.opening(opening.feed.status)
            seconds = profile.status_seconds
        history = profile.history(dialect, request)
        return View(request.types, dialect, history, status_seconds=seconds), first

    def _place(self, opening: Opening, request: EventsRequest) -> StreamId | None:
        """Where a reconnect before the first event is to begin, if the client must be told."""
        match request.start:
            case Beginning():
                # A reconnect without a cursor begins there again.
                return None
            case Resume() if not (request.control and self._profile.says_where):
                return None
            case _:
                return opening.position

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

    async def _json(
        self, permit: Permit, opening: Opening, request: EventsRequest, scope: Scope
    ) -> Response:
        if opening.over:
            return await self._page_response(opening, (), final=True)
        deadline = asyncio.get_running_loop().time() + request.wait_seconds
        with ExitStack() as waiting:
            waits = False
            while True:
                seen = opening.feed.end
                page = await self._hub.page(opening, request.limit)
                await require_same_run(permit, opening)
                events: Sequence[Event] = tuple(
                    event
                    for event in page.events
                    if request.types is None or event.type in request.types
                )
                if request.fold:
                    events = fold(events, self._profile.fold)
                if events or page.gap is not None or page.final or page.more:
                    return await self._page_response(opening, events, page=page)
                # Types that were not asked for are behind us: the next look begins after them.
                opening = replace(opening, position=page.last, lenient=False)
                if request.wait_seconds and not waits:
                    waits = True
                    waiting.enter_context(
                        self._parts.admission.take(scope, permit.subject, opening.feed.run_id)
                    )
                if not await self._hub.wait_for_move(opening.feed, seen, deadline):
                    return await self._page_response(opening, ())

    async def _page_response(
        self,
        opening: Opening,
        events: Sequence[Event],
        *,
        page: Page | None = None,
        final: bool = False,
    ) -> Response:
        status = None
        if self._profile.wants_status:
            status = await self._parts.statuses.of(opening.feed)
        contents = PageContents(
            run_id=self._parts.catalogue.run_of(opening.feed.run_id),
            events=events,
            next=opening.position if page is None else page.last,
            has_more=page is not None and page.more,
            final=final or (page is not None and page.final),
            gap=None if page is None else page.gap,
            status=status,
        )
        body = self._profile.page(contents)
        return Response(body, headers=JSON_HEADERS, media_type="application/json")


def log_beginning(subscriber: Subscriber, worker: int) -> None:
    """Says that a worker has begun a stream; for whoever looks for one connection."""
    logger.debug(
        "stream began",
        run=subscriber.feed.run_id,
        worker=worker,
        connection=connection_id(worker, subscriber.number),
        profile=subscriber.profile,
    )


def log_end(subscriber: Subscriber, seconds: float, worker: int) -> None:
    """The access log's line: how a stream that took so many seconds went."""
    ending = subscriber.ending
    logger.info(
        "stream ended",
        run=subscriber.feed.run_id,
        worker=worker,
        connection=connection_id(worker, subscriber.number),
        reason=None if ending is None else ending.value,
        client_returns=ending is not None and ending.come_back,
        events=subscriber.sent_frames,
        bytes=subscriber.sent_bytes,
        seconds=round(seconds, 3),
    )
