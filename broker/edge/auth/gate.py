"""The gate before every route: no endpoint is called without a permit.

An endpoint's first argument is a `Permit`, which only a guard gives; so it can't be mounted without
a gate. And a route is an `EdgeRoute`, which has a decision about rights for each of its methods;
`require_decisions` refuses all others when the edge is made.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from broker.edge.auth.guard import EVERYONE, RETRY_SECONDS, Guard
from broker.edge.auth.identity import CredentialKind
from broker.edge.auth.permit import Permit
from broker.edge.auth.rights import Action
from broker.edge.problems import problem_response
from broker.engine.log import LogUnavailable
from broker.wire.ids import RunId, is_run_id
from broker.wire.problem import BadRunId, Problem, Unavailable

__all__ = [
    "Asks",
    "Decision",
    "EdgeRoute",
    "Endpoint",
    "Plain",
    "Public",
    "RouteUndecided",
    "RunOf",
    "guarded",
    "no_run",
    "public_route",
    "require_decisions",
    "run_of_path",
]


@dataclass(frozen=True, slots=True)
class Public:
    """Everyone may."""

    why: str


@dataclass(frozen=True, slots=True)
class Asks:
    """Who has a right may."""

    action: Action
    kinds: Sequence[CredentialKind] = ()
    """What may prove who asks; empty for any."""
    profile: str = "native"
    """Whose runs these are."""
    owner_only: bool = False
    """Whether nobody but a run's owner may, whatever rights others have."""


Decision = Public | Asks

RunOf = Callable[[Scope], Awaitable[RunId | None]]
"""Which run a request is about; `None` for none. Raises `Problem` or `LogUnavailable`."""


class Endpoint(Protocol):
    """What is behind a gate."""

    async def __call__(self, permit: Permit, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request."""

    async def refuse(self, problem: Problem, scope: Scope, receive: Receive, send: Send) -> None:
        """Says that there is no permit, in its own way."""


class Plain:
    """An endpoint that is a function of the request alone."""

    def __init__(self, answer: Callable[[Request], Awaitable[Response]]) -> None:
        self._answer = answer

    async def __call__(self, permit: Permit, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request."""
        response = await self._answer(Request(scope, receive))
        await response(scope, receive, send)

    async def refuse(self, problem: Problem, scope: Scope, receive: Receive, send: Send) -> None:
        """Says so."""
        await problem_response(problem)(scope, receive, send)


class EdgeRoute(Route):
    """A route with a decision about rights for each of its methods."""

    def __init__(self, path: str, app: ASGIApp, decisions: Mapping[str, Decision]) -> None:
        """
        Args:
            path: as Starlette has it.
            app: what is served.
            decisions: by method, `HEAD` excepted, which is `GET`'s.
        """
        super().__init__(path, app, methods=sorted(decisions))
        self.decisions = dict(decisions)


def guarded(
    guard: Guard,
    path: str,
    methods: Sequence[str],
    endpoint: Endpoint,
    decision: Decision,
    run_of: RunOf,
) -> EdgeRoute:
    """A route with a gate before it.

    Args:
        guard: who decides.
        path: as Starlette has it.
        methods: that it answers to.
        endpoint: what is behind the gate.
        decision: what is asked for.
        run_of: which run a request is about.
    """
    gate = _Gate(guard if isinstance(decision, Asks) else EVERYONE, endpoint, decision, run_of)
    return EdgeRoute(path, gate, dict.fromkeys(methods, decision))


def public_route(
    path: str, answer: Callable[[Request], Awaitable[Response]], why: str
) -> EdgeRoute:
    """A route that everyone may `GET`, and why."""
    return guarded(EVERYONE, path, ["GET"], Plain(answer), Public(why), no_run)


async def no_run(scope: Scope) -> RunId | None:
    """For requests that are about no run, or none yet."""
    return None


async def run_of_path(scope: Scope) -> RunId | None:
    """The run that the path names.

    Raises:
        BadRunId: it is none.
    """
    text: str = scope["path_params"]["run_id"]
    if not is_run_id(text):
        raise BadRunId(text)
    return RunId(text)


class RouteUndecided(RuntimeError):
    """Nobody has decided who may use a route: a defect, for which the edge does not start."""


def require_decisions(routes: Iterable[BaseRoute]) -> None:
    """Returns if every route has a decision for every method.

    Raises:
        RouteUndecided: one has not.
    """
    for route in routes:
        decided = route.decisions if isinstance(route, EdgeRoute) else {}
        methods = getattr(route, "methods", None) or {"any method"}
        missing = sorted(set(methods) - set(decided) - {"HEAD"})
        if missing:
            path = getattr(route, "path", route)
            raise RouteUndecided(f"{path}: who may use it with {', '.join(missing)}?")


class _Gate:
    """An ASGI application: asks the guard, then calls the endpoint."""

    def __init__(self, guard: Guard, endpoint: Endpoint, decision: Decision, run_of: RunOf) -> None:
        self._guard = guard
        self._endpoint = endpoint
        self._decision = decision if isinstance(decision, Asks) else _NOTHING
        self._run_of = run_of

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        decision = self._decision
        try:
            permit = await self._guard.permit(
                scope,
                decision.action,
                await self._run_of(scope),
                kinds=decision.kinds,
                profile=decision.profile,
                owner_only=decision.owner_only,
            )
        except LogUnavailable:
            problem: Problem = Unavailable("Redis can't be reached.", RETRY_SECONDS)
        except Problem as error:
            problem = error
        else:
            await self._endpoint(permit, scope, receive, send)
            return
        await self._endpoint.refuse(problem, scope, receive, send)


_NOTHING: Final = Asks(Action.WATCH)
"""What everyone may."""
