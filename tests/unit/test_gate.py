"""Nothing is served without a decision about rights, and a permit."""

from collections.abc import Mapping
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.types import Receive, Scope, Send

from broker.app import make_edge
from broker.edge.auth.gate import (
    Asks,
    EdgeRoute,
    Public,
    RouteUndecided,
    guarded,
    no_run,
    public_route,
    require_decisions,
    run_of_path,
)
from broker.edge.auth.guard import CredentialGuard
from broker.edge.auth.identity import CredentialKind, Identity
from broker.edge.auth.permit import Permit
from broker.edge.auth.presented import Presented
from broker.edge.auth.rights import Action, Rights
from broker.engine.log import LogUnavailable
from broker.settings import load_settings
from broker.wire.ids import RunId
from broker.wire.problem import Forbidden, NotAuthenticated, Problem, RunNotFound, Unavailable

PUBLIC = ("/healthz", "/readyz", "/openapi.json", "/console")


async def page(request: Request) -> Response:
    return Response()


@pytest.mark.parametrize(
    "route",
    [
        Route("/open", page),
        Mount("/below", app=Response()),
        EdgeRoute("/half", Response(), {}),
    ],
    ids=["Starlette's own", "a mount", "without a method"],
)
def test_a_route_that_nobody_has_decided_about_does_not_start(route: BaseRoute) -> None:
    require_decisions([public_route("/", page, "a test")])
    with pytest.raises(RouteUndecided, match="who may use it"):
        require_decisions([public_route("/", page, "a test"), route])


def test_an_edge_with_such_a_route_does_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "broker.app.operations_routes", lambda *given, **named: [Route("/forgotten", page)]
    )
    with pytest.raises(RouteUndecided, match="/forgotten"):
        make_edge(load_settings({}), "redis://localhost")


@pytest.mark.parametrize("path", PUBLIC)
def test_what_is_public_says_why(path: str) -> None:
    routes = {route.path: route for route in make_edge(load_settings({}), "redis://x").routes}
    decision = routes[path].decisions["GET"]
    assert isinstance(decision, Public)
    assert decision.why


@pytest.mark.parametrize("profiles", ["native,ag-ui,cortex,middesk,travelmode,run-agent", "coasty"])
def test_all_else_asks(profiles: str) -> None:
    settings = load_settings({"publish": True, "profile": profiles})
    for route in make_edge(settings, "redis://x").routes:
        if route.path not in PUBLIC:
            assert all(isinstance(one, Asks) for one in route.decisions.values()), route.path


# ---- the guard


class Known:
    """A verifier that knows texts."""

    def __init__(self, people: Mapping[str, Identity]) -> None:
        self.people = people

    async def verify(self, presented: Presented, action: Action, run_id: RunId | None) -> Identity:
        if presented.text not in self.people:
            raise NotAuthenticated("unknown")
        return self.people[presented.text]


class Owned:
    """Owners on paper."""

    def __init__(self, **owners: str) -> None:
        self.owners = owners
        self.gone = False

    async def of(self, profile: str, run_id: RunId) -> str | None:
        if self.gone:
            raise LogUnavailable
        return self.owners.get(run_id)


def person(rights: str, subject: str | None = "alice") -> Identity:
    return Identity(subject, Rights.parse(rights), CredentialKind.API_KEY)


def make_guard(
    people: Mapping[str, Identity],
    *,
    owners: Owned | None = None,
    revoked: frozenset[str] = frozenset(),
    hide_runs: bool = True,
    strange: bool = False,
) -> CredentialGuard:
    known = Known(people)

    def check_origin(scope: Scope) -> None:
        if strange:
            raise Forbidden("of a stranger")

    return CredentialGuard(
        {
            CredentialKind.API_KEY: known,
            CredentialKind.SESSION: known,
            CredentialKind.TICKET: known,
        },
        owners or Owned(),
        lambda identity: identity.subject not in revoked,
        check_origin,
        session_cookie="session",
        hide_runs=hide_runs,
    )


def scope_of(query: str = "", **headers: str) -> dict[str, Any]:
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return {"type": "http", "method": "GET", "headers": raw, "query_string": query.encode()}


KEY = scope_of(x_api_key="k")
RUN = RunId("42")


async def test_who_may_gets_a_permit() -> None:
    permit = await make_guard({"k": person("watch:42")}).permit(KEY, Action.WATCH, RUN)
    assert (permit.subject, permit.run_id, permit.owned) == ("alice", RUN, False)


@pytest.mark.parametrize(
    "scope",
    [
        scope_of(),
        scope_of(x_api_key="other"),
        scope_of(x_api_key=""),
        scope_of("ticket="),
        scope_of("ticket=other", x_api_key="k"),
        scope_of("ticket=k&ticket=k"),
        scope_of(x_api_key="k" * 10_000),
        scope_of(cookie="session=other"),
        scope_of(cookie="k"),
    ],
)
async def test_who_proves_nothing_is_told_to(scope: dict[str, Any]) -> None:
    guard = make_guard({"k": person("watch:*")})
    with pytest.raises(NotAuthenticated):
        await guard.permit(scope, Action.WATCH, RUN)


async def test_a_kind_that_the_route_does_not_take_is_not_looked_at() -> None:
    guard = make_guard({"k": person("watch:*")})
    both = scope_of("ticket=wrong", x_api_key="k")
    await guard.permit(both, Action.WATCH, RUN, kinds=[CredentialKind.API_KEY])
    with pytest.raises(NotAuthenticated, match="cookie"):
        await guard.permit(KEY, Action.WATCH, RUN, kinds=[CredentialKind.SESSION])


async def test_a_run_that_is_not_theirs_is_none_to_them() -> None:
    guard = make_guard({"k": person("watch:1 command:*")})
    with pytest.raises(RunNotFound):
        await guard.permit(KEY, Action.WATCH, RUN)
    with pytest.raises(RunNotFound):
        await guard.permit(KEY, Action.WATCH, None)
    with pytest.raises(Forbidden):
        await guard.permit(KEY, Action.ADMIN, None)
    told = make_guard({"k": person("watch:1")}, hide_runs=False)
    with pytest.raises(Forbidden):
        await told.permit(KEY, Action.WATCH, RUN)


async def test_ones_own_runs() -> None:
    owners = Owned(mine="alice", theirs="bob")
    guard = make_guard({"k": person("watch:@own command:@own")}, owners=owners)
    assert (await guard.permit(KEY, Action.WATCH, RunId("mine"))).owned
    for other in ("theirs", "nobodys"):
        with pytest.raises(RunNotFound):
            await guard.permit(KEY, Action.WATCH, RunId(other))
    # A run that is yet to be is going to be theirs.
    assert (await guard.permit(KEY, Action.COMMAND, None)).owned
    owners.gone = True
    with pytest.raises(Unavailable):
        await guard.permit(KEY, Action.WATCH, RunId("mine"))


async def test_where_the_owner_alone_may_no_other_right_is_enough() -> None:
    owners = Owned(mine="alice", theirs="bob")
    guard = make_guard({"k": person("watch:*"), "n": person("publish:*")}, owners=owners)
    assert (await guard.permit(KEY, Action.WATCH, RunId("mine"), owner_only=True)).owned
    with pytest.raises(RunNotFound):
        await guard.permit(KEY, Action.WATCH, RunId("theirs"), owner_only=True)
    with pytest.raises(RunNotFound):
        await guard.permit(scope_of(x_api_key="n"), Action.WATCH, RunId("mine"), owner_only=True)


async def test_who_may_have_some_ids_has_to_name_one() -> None:
    guard = make_guard({"k": person("command:team-* watch:team-*")})
    permit = await guard.permit(KEY, Action.COMMAND, None)
    assert permit.to_name
    assert not (await permit.also(Action.COMMAND, RunId("team-1"))).to_name
    with pytest.raises(RunNotFound):
        await permit.also(Action.COMMAND, RunId("other"))
    # To watch what somebody is at now, it must be known to be theirs.
    with pytest.raises(RunNotFound):
        await guard.permit(KEY, Action.WATCH, None)


async def test_nobody_owns_nothing() -> None:
    guard = make_guard({"k": person("watch:@own command:@own", subject=None)})
    with pytest.raises(RunNotFound):
        await guard.permit(KEY, Action.WATCH, RUN)
    with pytest.raises(Forbidden):
        await guard.permit(KEY, Action.COMMAND, None)


async def test_a_permit_ends_when_what_it_rests_on_does() -> None:
    revoked: set[str | None] = set()
    known = Known({"k": person("watch:*")})
    guard = CredentialGuard(
        {CredentialKind.API_KEY: known},
        Owned(),
        lambda identity: identity.subject not in revoked,
        lambda scope: None,
        session_cookie=None,
        hide_runs=True,
    )
    permit = await guard.permit(KEY, Action.WATCH, RUN)
    permit.check()
    revoked.add("alice")
    with pytest.raises(NotAuthenticated):
        permit.check()
    with pytest.raises(NotAuthenticated):
        await permit.also(Action.WATCH, RUN)
    with pytest.raises(NotAuthenticated):
        await guard.permit(KEY, Action.WATCH, RUN)


async def test_a_permit_for_one_thing_is_none_for_another() -> None:
    permit = await make_guard({"k": person("watch:42 publish:43")}).permit(KEY, Action.WATCH, RUN)
    assert (await permit.also(Action.PUBLISH, RunId("43"))).run_id == "43"
    for action, run_id in ((Action.PUBLISH, RUN), (Action.WATCH, RunId("43"))):
        with pytest.raises(RunNotFound):
            await permit.also(action, run_id)


async def test_a_cookie_that_a_strangers_page_may_have_sent_proves_nothing() -> None:
    guard = make_guard({"k": person("watch:*")}, strange=True)
    with pytest.raises(Forbidden):
        await guard.permit(scope_of(cookie="session=k"), Action.WATCH, RUN)
    # No page can have a browser send that by itself.
    await guard.permit(KEY, Action.WATCH, RUN)


# ---- the gate


class Behind:
    """An endpoint that takes note."""

    def __init__(self) -> None:
        self.permits: list[Permit] = []
        self.refused: list[Problem] = []

    async def __call__(self, permit: Permit, scope: Scope, receive: Receive, send: Send) -> None:
        self.permits.append(permit)

    async def refuse(self, problem: Problem, scope: Scope, receive: Receive, send: Send) -> None:
        self.refused.append(problem)


async def _receive() -> Any:
    raise AssertionError("nothing is read here")


async def _send(message: Any) -> None:
    raise AssertionError("nothing is sent here")


@pytest.mark.parametrize(
    ("run_id", "refused"), [("42", None), ("43", RunNotFound), ("4 2", Problem)]
)
async def test_the_endpoint_is_called_with_a_permit_or_not_at_all(
    run_id: str, refused: type[Problem] | None
) -> None:
    behind = Behind()
    guard = make_guard({"k": person("watch:42")})
    route = guarded(guard, "/{run_id}", ["GET"], behind, Asks(Action.WATCH), run_of_path)
    scope = {**KEY, "path_params": {"run_id": run_id}}
    await route.app(scope, _receive, _send)
    if refused is None:
        assert [permit.run_id for permit in behind.permits] == [run_id]
        assert behind.refused == []
    else:
        assert behind.permits == []
        assert isinstance(behind.refused[0], refused)


async def test_where_the_run_can_not_be_found_out_it_is_refused() -> None:
    async def run_of(scope: Scope) -> RunId | None:
        raise LogUnavailable

    behind = Behind()
    route = guarded(
        make_guard({"k": person("watch:*")}), "/x", ["GET"], behind, Asks(Action.WATCH), run_of
    )
    await route.app(dict(KEY), _receive, _send)
    assert behind.permits == []
    assert isinstance(behind.refused[0], Unavailable)


async def test_what_is_public_asks_for_nothing() -> None:
    behind = Behind()
    route = guarded(make_guard({}), "/x", ["GET"], behind, Public("a test"), no_run)
    await route.app(scope_of(), _receive, _send)
    assert len(behind.permits) == 1
