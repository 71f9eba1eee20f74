"""`/admin`: who is connected, how it goes; disconnecting one, draining all."""

import asyncio
from collections.abc import Awaitable, Callable
from enum import StrEnum
from typing import Any, Final, TypeVar

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from broker import __version__
from broker.edge.admin import summing
from broker.edge.admin.drain_body import parse_drain
from broker.edge.admin.paths import (
    DRAIN_PATH,
    OVERVIEW_PATH,
    RUNS_PATH,
    SUBSCRIBER_PATH,
    SUBSCRIBERS_PATH,
    USUAL_ROWS,
)
from broker.edge.admin.processes import Answers, Processes
from broker.edge.admin.questions import (
    MOST_ROWS,
    AboutProcess,
    AboutRuns,
    AboutSubscribers,
    Disconnect,
    Leave,
    RunOrder,
    SubscriberOrder,
    SubscriberState,
)
from broker.edge.admin.totals import Totals
from broker.edge.auth.gate import Asks, EdgeRoute, Plain, guarded, no_run
from broker.edge.auth.guard import Guard
from broker.edge.auth.permit import Permit
from broker.edge.auth.rights import Action
from broker.edge.connection_ids import parse_connection_id
from broker.edge.operations import Exposition
from broker.edge.problems import problem_response
from broker.edge.publishing.body import ClientGone, RequestBody
from broker.edge.publishing.intake import JSON, json_response, media_type
from broker.engine.log import LogUnavailable
from broker.wire.problem import BadParameter, Problem, SubscriberNotFound, Unavailable

__all__ = ["admin_routes"]

_PING_SECONDS: Final = 1.0
_MOST_BODY_BYTES: Final = 4096
_BODY_SECONDS: Final = 10.0
_RETRY_SECONDS: Final = 2
_DECISION: Final = Asks(Action.ADMIN)

Choice = TypeVar("Choice", bound=StrEnum)


def admin_routes(
    processes: Processes,
    exposition: Exposition,
    ping: Callable[[], Awaitable[None]],
    guard: Guard,
    *,
    drain_seconds: float,
    authentication: bool,
) -> list[EdgeRoute]:
    """The routes.

    Args:
        processes: who is asked.
        exposition: the metrics of all of them.
        ping: asks Redis; raises `LogUnavailable`.
        guard: who may.
        drain_seconds: the time over which viewers leave, unless told else.
        authentication: whether any is set up.
    """

    async def redis_state() -> str:
        try:
            async with asyncio.timeout(_PING_SECONDS):
                await ping()
        except (LogUnavailable, TimeoutError):
            return "unreachable"
        return "ok"

    async def overview(request: Request) -> Response:
        answers, metrics, redis = await asyncio.gather(
            processes.ask(AboutProcess()), exposition.collect(), redis_state()
        )
        heard = _in_order(answers)
        totals = Totals(metrics)
        return json_response(
            {
                "version": __version__,
                "started_at": summing.started_at(heard),
                "workers": totals.workers,
                "draining": totals.draining,
                "authentication": authentication,
                "redis": redis,
                "tail": totals.tail,
                "totals": {**totals.document(), "runs": summing.run_count(heard)},
                "endings": totals.endings,
                "latency": summing.latency(heard),
                "processes": summing.processes(heard),
                "silent": answers.silent,
            },
            200,
        )

    async def runs(request: Request) -> Response:
        order = _choice(request, "order", RunOrder) or RunOrder.VIEWERS
        limit = _limit(request)
        answers = await processes.ask(AboutRuns(order))
        rows, more = summing.first_runs(_in_order(answers), order, limit)
        return json_response({"runs": rows, "more": more, "silent": answers.silent}, 200)

    async def subscribers(request: Request) -> Response:
        order = _choice(request, "order", SubscriberOrder) or SubscriberOrder.AGE
        limit = _limit(request)
        about = AboutSubscribers(
            order,
            limit,
            run=request.query_params.get("run") or None,
            subject=request.query_params.get("subject") or None,
            state=_choice(request, "state", SubscriberState),
        )
        answers = await processes.ask(about)
        rows, more = summing.first_subscribers(_in_order(answers), order, limit)
        return json_response({"subscribers": rows, "more": more, "silent": answers.silent}, 200)

    async def disconnect(request: Request) -> Response:
        text: str = request.path_params["id"]
        found = parse_connection_id(text)
        if found is None:
            raise SubscriberNotFound(text)
        worker, number = found
        answers = await processes.ask(Disconnect(number), worker)
        if answers.silent:
            raise Unavailable(f"Worker {worker} does not answer.", _RETRY_SECONDS)
        if not answers.heard.get(worker):
            raise SubscriberNotFound(text)
        return Response(status_code=204, headers={"cache-control": "no-store"})

    def get(path: str, answer: Callable[[Request], Awaitable[Response]]) -> EdgeRoute:
        return guarded(guard, path, ["GET"], Plain(answer), _DECISION, no_run)

    drain = _Drain(processes, drain_seconds)
    return [
        get(OVERVIEW_PATH, overview),
        get(RUNS_PATH, runs),
        get(SUBSCRIBERS_PATH, subscribers),
        guarded(guard, SUBSCRIBER_PATH, ["DELETE"], Plain(disconnect), _DECISION, no_run),
        guarded(guard, DRAIN_PATH, ["POST"], drain, _DECISION, no_run),
    ]


class _Drain:
    """Has all processes drain, and stay."""

    def __init__(self, processes: Processes, usual_seconds: float) -> None:
        self._processes = processes
        self._usual_seconds = usual_seconds

    async def __call__(self, permit: Permit, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request."""
        body = _body(scope, receive)
        try:
            response = await self._drain(Headers(scope=scope), body)
        except ClientGone:
            return
        except Problem as problem:
            response = problem_response(problem)
        await body.answer(response, send)

    async def refuse(self, problem: Problem, scope: Scope, receive: Receive, send: Send) -> None:
        """Says so, to a client who may be sending a body."""
        await _body(scope, receive).answer(problem_response(problem), send)

    async def _drain(self, headers: Headers, body: RequestBody) -> Response:
        text = await body.whole(_MOST_BODY_BYTES, _BODY_SECONDS)
        if text:
            media_type(headers, JSON)
        seconds = parse_drain(text, self._usual_seconds)
        answers = await self._processes.ask(Leave(seconds))
        document = {
            "draining": True,
            "subscribers": sum(answers.heard.values()),
            "silent": answers.silent,
        }
        return json_response(document, 202)


def _body(scope: Scope, receive: Receive) -> RequestBody:
    # Also taken while the process leaves: it is told to do what it does.
    return RequestBody(scope, receive, lambda: False)


def _in_order(answers: Answers) -> list[Any]:
    return [answer for _, answer in sorted(answers.heard.items())]


def _choice(request: Request, name: str, kind: type[Choice]) -> Choice | None:
    """The parameter's value; `None` without one.

    Raises:
        BadParameter: it is none of them.
    """
    text = request.query_params.get(name)
    if not text:
        return None
    try:
        return kind(text)
    except ValueError:
        choices = ", ".join(choice.value for choice in kind)
        raise BadParameter(name, text, f"give one of {choices}") from None


def _limit(request: Request) -> int:
    """How many rows are wanted.

    Raises:
        BadParameter: it is no number of rows.
    """
    text = request.query_params.get("limit")
    if not text:
        return USUAL_ROWS
    known = text.isascii() and text.isdigit() and len(text) <= len(str(MOST_ROWS))
    if not known or not 1 <= int(text) <= MOST_ROWS:
        raise BadParameter("limit", text, f"give a whole number from 1 to {MOST_ROWS}")
    return int(text)
