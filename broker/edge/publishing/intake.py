"""What all routes that take a body have in common: bounds, order of checks, answers."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from math import ceil
from typing import Final

import orjson
import structlog
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from broker.edge.auth.permit import Permit
from broker.edge.problems import problem_response
from broker.edge.publishing.body import LEAVING, RETURN_SECONDS, ClientGone, RequestBody
from broker.edge.publishing.limits import PublishingLimits
from broker.edge.publishing.rates import Rates
from broker.edge.publishing.stats import PublishingStats
from broker.redis.appending import RunEnded
from broker.wire.ids import RunId
from broker.wire.problem import (
    Problem,
    RunOver,
    TooManyRequests,
    Unavailable,
    UnsupportedMediaType,
    WrongKeyType,
)

__all__ = [
    "JSON",
    "NDJSON",
    "Intake",
    "IntakeEndpoint",
    "json_response",
    "media_type",
    "refusal",
    "run_over",
    "run_permitted",
]

logger = structlog.get_logger("runcast.publishing")

JSON: Final = "application/json"
NDJSON: Final = "application/x-ndjson"
_HEADERS: Final = {"cache-control": "no-store", "x-content-type-options": "nosniff"}
_LEFT: Final = "This process is leaving, and has not waited for Redis to say that it was done."
_REDIS_RETRY_SECONDS: Final = 2

Handle = Callable[[Headers, RequestBody], Awaitable[Response]]


class Intake:
    """Shared by the routes of an edge."""

    def __init__(
        self,
        limits: PublishingLimits,
        rates: Rates,
        stats: PublishingStats,
        leaving: Callable[[], bool],
    ) -> None:
        """
        Args:
            limits: the bounds.
            rates: how fast events are taken.
            stats: where to count.
            leaving: whether this process is about to end.
        """
        self.limits = limits
        self.rates = rates
        self.stats = stats
        self._leaving = leaving

    async def serve(self, scope: Scope, receive: Receive, send: Send, handle: Handle) -> None:
        """Has a request handled, and says what comes of it."""
        body = RequestBody(scope, receive, self._leaving)
        try:
            with self._place(), self.until_the_server_ends():
                response = await handle(Headers(scope=scope), body)
        except ClientGone:
            self.stats.abandoned += 1
            return
        except Problem as problem:
            self.stats.refused[problem.slug] += 1
            response = problem_response(problem)
        await body.answer(response, send)

    async def refuse(self, problem: Problem, scope: Scope, receive: Receive, send: Send) -> None:
        """Says so, to a client who may be sending a body."""
        self.stats.refused[problem.slug] += 1
        await RequestBody(scope, receive, self._leaving).answer(problem_response(problem), send)

    async def whole(self, body: RequestBody) -> bytes:
        """A body that is one JSON document.

        Raises:
            Problem, ClientGone: see `RequestBody.pieces`.
        """
        return await body.whole(self.limits.event_bytes, self.limits.idle_seconds)

    def check_rate(self, run_id: RunId | None) -> None:
        """To be called before anything is read.

        Raises:
            TooManyRequests: too much came lately, for this run or in all.
        """
        wait = self.rates.wait_seconds(run_id)
        if wait > 0:
            raise TooManyRequests(
                "More came than is taken: see the settings of publishing.", ceil(wait)
            )

    @contextmanager
    def until_the_server_ends(self) -> Iterator[None]:
        """Makes a problem of the cancellation by a server that leaves and waits no longer: an
        answer is the quickest end, and better than none.

        Raises:
            Unavailable: it does.
        """
        try:
            yield
        except asyncio.CancelledError:
            if not self._leaving():
                raise
            raise Unavailable(_LEFT, RETURN_SECONDS) from None

    @contextmanager
    def _place(self) -> Iterator[None]:
        if self._leaving():
            raise Unavailable(LEAVING, RETURN_SECONDS)
        if self.stats.requests >= self.limits.requests:
            raise Unavailable("Too many requests are being taken now.", RETURN_SECONDS)
        self.stats.requests += 1
        try:
            yield
        finally:
            self.stats.requests -= 1


class IntakeEndpoint:
    """What endpoints that take a body have in common."""

    def __init__(self, intake: Intake) -> None:
        self._intake = intake

    async def refuse(self, problem: Problem, scope: Scope, receive: Receive, send: Send) -> None:
        """Says that there is no permit."""
        await self._intake.refuse(problem, scope, receive, send)


def run_permitted(permit: Permit) -> RunId:
    """The run of a permit that is for one."""
    assert permit.run_id is not None
    return permit.run_id


def media_type(headers: Headers, *taken: str) -> str:
    """The body's type.

    Without one it is refused as well. The page of any site may have a browser send a request
    without a type, or with that of a form; with one of these the browser asks us first, and is told
    no (Fetch, "CORS-safelisted request-header").

    Raises:
        UnsupportedMediaType: it is none of those `taken`, or its content is encoded.
    """
    text = ", ".join(headers.getlist("content-type"))
    name, *parameters = (part.strip().lower() for part in text.split(";"))
    charsets = [value for value in parameters if value.startswith("charset=")]
    if name not in taken or any(value.strip('"') not in _UTF8 for value in charsets):
        raise UnsupportedMediaType(text, f"send {' or '.join(taken)}, in UTF-8")
    coding = ", ".join(headers.getlist("content-encoding"))
    if coding.strip().lower() not in ("", "identity"):
        raise UnsupportedMediaType(coding, "send the content as it is, without an encoding")
    return name


def json_response(document: object, status: int, **headers: str) -> Response:
    """An answer."""
    body = document if isinstance(document, bytes) else orjson.dumps(document)
    return Response(body, status, headers=_HEADERS | headers, media_type=JSON)


def refusal(error: Exception, run_id: RunId | None, said: str) -> Problem:
    """What is answered when Redis has not done what it was asked.

    Args:
        error: what came instead; only the log is told.
        run_id: the run, if there is one yet.
        said: what the client may be told.
    """
    # Before 7.0, Redis has the word in the midst of one about the script.
    if run_id is not None and "WRONGTYPE" in str(error):
        return WrongKeyType(run_id)
    logger.warning("not written", run=run_id, error=str(error))
    return Unavailable(said, _REDIS_RETRY_SECONDS)


def run_over(error: RunEnded, run_id: RunId | None) -> RunOver:
    """What is answered when the run has ended."""
    return RunOver(run_id or "", None if error.final is None else str(error.final))


_UTF8: Final = ("charset=utf-8", 'charset="utf-8')
