"""Forward auth: a real endpoint of the operator's, asked by a real edge, and by its own asker."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final

import httpx
import pytest
from redis.asyncio import Redis
from structlog.testing import capture_logs

from broker.edge.auth import forward as forward_module
from broker.edge.auth.forward import ForwardAuth
from broker.edge.auth.identity import CredentialKind, Identity
from broker.edge.auth.presented import Presented
from broker.edge.auth.rights import Action
from broker.wire.ids import RunId
from broker.wire.problem import Forbidden, NotAuthenticated, Problem, Unavailable
from tests.support.auth_endpoint import AuthEndpoint, Question, Says
from tests.support.edges import Edge
from tests.support.producer import append
from tests.support.servers import available_kinds, free_port
from tests.support.viewer import Viewer, together, watch
from tests.support.waiting import eventually

_RUN: Final = RunId("run-1")
_OTHER_RUN: Final = RunId("run-2")
_COOKIE: Final = "theme=dark; session=c00kie-secret"
_SESSION: Final = Presented(CredentialKind.SESSION, _COOKIE)
_HEARTBEAT_SECONDS: Final = 2.0
_ASKED_ANEW_SECONDS: Final = _HEARTBEAT_SECONDS / 2
"""With so short a heartbeat."""


@pytest.fixture(scope="session")
def redis_kind() -> str:
    """Who may does not depend on the server."""
    return available_kinds()[0]


@pytest.fixture
def endpoint() -> Iterator[AuthEndpoint]:
    with AuthEndpoint() as running:
        yield running


@asynccontextmanager
async def asking(endpoint: AuthEndpoint, **changes: Any) -> AsyncIterator[ForwardAuth]:
    given: dict[str, Any] = {"timeout_seconds": 5, "cache_seconds": 60, "share_seconds": 0}
    async with ForwardAuth(endpoint.url, **given | changes) as auth:
        yield auth


async def again(identity: Identity) -> Identity:
    assert identity.again is not None
    return await identity.again()


# ---- what is asked


@pytest.mark.parametrize(
    ("presented", "cookie", "name", "text"),
    [
        (_SESSION, None, "cookie", _COOKIE),
        (Presented(CredentialKind.SESSION, "a, b"), "session", "cookie", "session=a, b"),
        (Presented(CredentialKind.SESSION, "z\xeb"), None, "cookie", "z\xeb"),
        (Presented(CredentialKind.BEARER, "t0ken"), None, "authorization", "Bearer t0ken"),
        (Presented(CredentialKind.API_KEY, "k3y"), None, "x-api-key", "k3y"),
    ],
)
async def test_it_is_shown_the_credential_and_nothing_else(
    endpoint: AuthEndpoint, presented: Presented, cookie: str | None, name: str, text: str
) -> None:
    async with asking(endpoint, session_cookie=cookie) as auth:
        await auth.verify(presented, Action.WATCH, _RUN)
        await auth.verify(presented, Action.COMMAND, None)
    assert {(each.method, each.target) for each in endpoint.questions} == {
        ("GET", "/allowed?from=runcast")
    }
    about_run, about_none = (each.headers for each in endpoint.questions)
    assert about_run.pop("user-agent").startswith("runcast/")
    assert about_run.pop("host") == httpx.URL(endpoint.url).netloc.decode()
    assert about_run == {name: text, "runcast-action": "watch", "runcast-run": _RUN}
    assert about_none["runcast-action"] == "command"
    assert "runcast-run" not in about_none


@pytest.mark.parametrize(
    ("text", "cookie"),
    [("a\x01b", None), ("a\r\nRuncast-Run: x", None), ("a\nb", "session"), ("a;b", "session")],
)
async def test_what_no_header_can_have_is_not_sent(
    endpoint: AuthEndpoint, text: str, cookie: str | None
) -> None:
    async with asking(endpoint, session_cookie=cookie) as auth:
        with pytest.raises(NotAuthenticated):
            await auth.verify(Presented(CredentialKind.SESSION, text), Action.WATCH, _RUN)
    assert endpoint.questions == []


async def test_no_cookie_that_it_sets_is_sent_for_others(endpoint: AuthEndpoint) -> None:
    endpoint.says = lambda question: Says(200, {"Set-Cookie": "session=anns; Path=/"}, b"ok")
    async with asking(endpoint) as auth:
        await auth.verify(Presented(CredentialKind.API_KEY, "ann"), Action.WATCH, _RUN)
        await auth.verify(Presented(CredentialKind.API_KEY, "bob"), Action.WATCH, _RUN)
    assert not any("cookie" in each.headers for each in endpoint.questions)


# ---- what its answer means


async def test_what_it_says_is_who_they_are(endpoint: AuthEndpoint) -> None:
    endpoint.says = lambda question: Says(
        200,
        {"Runcast-Subject": "ann", "Runcast-Rights": "watch:@own", "Runcast-Expires-In": "90"},
    )
    before = time.time()
    async with asking(endpoint) as auth:
        identity = await auth.verify(_SESSION, Action.WATCH, _RUN)
    assert (identity.subject, str(identity.rights)) == ("ann", "watch:@own")
    assert identity.kind is CredentialKind.SESSION
    assert identity.marks == {"subject:ann"}
    assert identity.issued_at is not None
    assert before <= identity.issued_at <= time.time()
    assert identity.until == identity.issued_at + 90
    assert "c00kie" not in repr(identity)


@pytest.mark.parametrize(
    ("status", "problem"),
    [
        (401, NotAuthenticated),
        (302, NotAuthenticated),
        (403, Forbidden),
        (404, Forbidden),
        (500, Unavailable),
        (429, Unavailable),
    ],
)
async def test_other_answers_let_nobody_in(
    endpoint: AuthEndpoint, status: int, problem: type[Problem]
) -> None:
    endpoint.says = lambda question: Says(status, {"Location": "/login"})
    async with asking(endpoint) as auth:
        with pytest.raises(problem):
            await auth.verify(_SESSION, Action.WATCH, _RUN)
    # A redirect is not followed.
    assert len(endpoint.questions) == 1


async def test_a_long_body_is_left_unread(endpoint: AuthEndpoint) -> None:
    # The rest of it never comes.
    endpoint.says = lambda question: Says(200, {"Content-Length": str(1 << 30)}, b"x" * (1 << 17))
    async with asking(endpoint) as auth:
        await auth.verify(_SESSION, Action.WATCH, _RUN)


# ---- answers are kept


async def test_an_answer_is_for_one_credential_action_and_run(endpoint: AuthEndpoint) -> None:
    wishes = [
        (_SESSION, Action.WATCH, _RUN),
        (_SESSION, Action.WATCH, _OTHER_RUN),
        (_SESSION, Action.PUBLISH, _RUN),
        (_SESSION, Action.COMMAND, None),
        (Presented(CredentialKind.SESSION, _COOKIE + "x"), Action.WATCH, _RUN),
        (Presented(CredentialKind.API_KEY, _COOKIE), Action.WATCH, _RUN),
        (Presented(CredentialKind.BEARER, _COOKIE), Action.WATCH, _RUN),
    ]
    async with asking(endpoint) as auth:
        for count, wish in enumerate(wishes, start=1):
            await auth.verify(*wish)
            assert len(endpoint.questions) == count
        for wish in wishes:
            await auth.verify(*wish)
        assert len(endpoint.questions) == len(wishes)


async def test_a_yes_is_kept_for_as_long_as_is_set(endpoint: AuthEndpoint) -> None:
    async with asking(endpoint, cache_seconds=0.3) as auth:
        await auth.verify(_SESSION, Action.WATCH, _RUN)
        endpoint.says = lambda question: Says(403)
        await auth.verify(_SESSION, Action.WATCH, _RUN)

        async def refused() -> bool:
            try:
                await auth.verify(_SESSION, Action.WATCH, _RUN)
            except Forbidden:
                return True
            return False

        await eventually(refused, within=2)


async def test_a_no_is_kept_for_a_moment(endpoint: AuthEndpoint) -> None:
    endpoint.says = lambda question: Says(403)
    async with asking(endpoint, cache_seconds=300) as auth:
        for _ in range(5):
            with pytest.raises(Forbidden):
                await auth.verify(_SESSION, Action.WATCH, _RUN)
        assert len(endpoint.questions) == 1
        endpoint.says = lambda question: Says()

        async def let_in() -> bool:
            try:
                await auth.verify(_SESSION, Action.WATCH, _RUN)
            except Forbidden:
                return False
            return True

        await eventually(let_in, within=2)


async def test_nor_longer_than_it_is_true(endpoint: AuthEndpoint) -> None:
    endpoint.says = lambda question: Says(204, {"Runcast-Expires-In": "0"})
    async with asking(endpoint) as auth:
        for count in (1, 2):
            identity = await auth.verify(_SESSION, Action.WATCH, _RUN)
            assert identity.until == identity.issued_at
            assert len(endpoint.questions) == count


async def test_nothing_is_kept_where_nothing_is_to_be(endpoint: AuthEndpoint) -> None:
    async with asking(endpoint, cache_seconds=0) as auth:
        for count in (1, 2, 3):
            await auth.verify(_SESSION, Action.WATCH, _RUN)
            assert len(endpoint.questions) == count


async def test_what_was_not_used_for_longest_is_forgotten_first(
    endpoint: AuthEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forward_module, "_KEPT_YES", 2)
    async with asking(endpoint) as auth:

        async def asks(name: str) -> int:
            before = len(endpoint.questions)
            presented = Presented(CredentialKind.API_KEY, name)
            try:
                await auth.verify(presented, Action.WATCH, _RUN)
            except Forbidden:
                assert name.startswith("guess")
            return len(endpoint.questions) - before

        endpoint.says = lambda question: Says(
            403 if question.headers["x-api-key"].startswith("guess") else 204
        )
        assert [await asks(name) for name in ("ann", "bob", "ann", "eve")] == [1, 1, 0, 1]
        # Those who guess push nobody out.
        assert [await asks(f"guess-{number}") for number in range(5)] == [1] * 5
        assert [await asks(name) for name in ("ann", "eve", "bob")] == [0, 0, 1]


async def test_those_who_ask_at_once_share_one_answer(endpoint: AuthEndpoint) -> None:
    endpoint.answers.clear()
    async with asking(endpoint, cache_seconds=0) as auth:
        tabs = [asyncio.create_task(auth.verify(_SESSION, Action.WATCH, _RUN)) for _ in range(20)]
        await eventually(lambda: len(endpoint.questions) == 1)
        # One of them leaves: the others still get theirs.
        tabs[0].cancel()
        endpoint.answers.set()
        await asyncio.gather(*tabs[1:])
        assert len(endpoint.questions) == 1


# ---- without an answer


@pytest.mark.parametrize(
    "headers", [{"Runcast-Rights": "c00kie:x"}, {"Runcast-Expires-In": "soon"}]
)
async def test_an_answer_that_can_not_be_read_is_none(
    endpoint: AuthEndpoint, headers: dict[str, str]
) -> None:
    endpoint.says = lambda question: Says(200, headers)
    async with asking(endpoint) as auth:
        with pytest.raises(Unavailable):
            await auth.verify(_SESSION, Action.WATCH, _RUN)
        endpoint.says = lambda question: Says()
        # Nothing of it was kept.
        await auth.verify(_SESSION, Action.WATCH, _RUN)


async def test_slow_is_down(endpoint: AuthEndpoint) -> None:
    endpoint.answers.clear()
    async with asking(endpoint, timeout_seconds=0.3) as auth:
        with pytest.raises(Unavailable):
            await auth.verify(_SESSION, Action.WATCH, _RUN)
        endpoint.answers.set()
        await auth.verify(_SESSION, Action.WATCH, _RUN)


async def test_down_is_closed_and_is_said_in_the_log_without_secrets(
    endpoint: AuthEndpoint,
) -> None:
    async with asking(endpoint) as auth:
        endpoint.stop()
        with capture_logs() as lines:
            for _ in range(3):
                with pytest.raises(Unavailable) as refused:
                    await auth.verify(_SESSION, Action.WATCH, _RUN)
        assert refused.value.__cause__ is None
        assert refused.value.__suppress_context__
        assert [(line["log_level"], line["why"]) for line in lines] == [("warning", "ConnectError")]
        assert "c00kie" not in f"{refused.value!r} {lines}"
        endpoint.start()
        await auth.verify(_SESSION, Action.WATCH, _RUN)


async def test_a_connection_that_was_closed_meanwhile_is_no_failure(
    endpoint: AuthEndpoint,
) -> None:
    drops = iter([False, True, False, True, True])
    endpoint.says = lambda question: Says(drops=next(drops))
    async with asking(endpoint, cache_seconds=0) as auth:
        await auth.verify(_SESSION, Action.WATCH, _RUN)
        await auth.verify(_SESSION, Action.WATCH, _RUN)
        # Twice is one.
        with pytest.raises(Unavailable):
            await auth.verify(_SESSION, Action.WATCH, _RUN)
    assert len(endpoint.questions) == 5


async def test_so_many_are_asked_at_once_and_no_more(
    endpoint: AuthEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forward_module, "_WAITING", 100)
    endpoint.answers.clear()
    async with asking(endpoint, timeout_seconds=30) as auth:
        asked = [
            asyncio.create_task(
                auth.verify(Presented(CredentialKind.API_KEY, f"key-{number}"), Action.WATCH, _RUN)
            )
            for number in range(120)
        ]
        await eventually(lambda: len(endpoint.questions) == 64)
        await eventually(lambda: sum(task.done() for task in asked) == 20)
        endpoint.answers.set()
        outcomes = await asyncio.gather(*asked, return_exceptions=True)
        assert sum(isinstance(outcome, Unavailable) for outcome in outcomes) == 20
        assert sum(isinstance(outcome, Identity) for outcome in outcomes) == 100


# ---- asked again


async def test_who_was_let_in_is_asked_about_past_what_is_kept(endpoint: AuthEndpoint) -> None:
    async with asking(endpoint) as auth:
        identity = await auth.verify(_SESSION, Action.WATCH, _RUN)
        identity = await again(await again(identity))
        assert len(endpoint.questions) == 3
        endpoint.says = lambda question: Says(401)
        with pytest.raises(NotAuthenticated):
            await again(identity)
        # Nor does what was kept let anyone in any more.
        with pytest.raises(NotAuthenticated):
            await auth.verify(_SESSION, Action.WATCH, _RUN)


async def test_tabs_share_the_answer_for_a_moment(endpoint: AuthEndpoint) -> None:
    async with asking(endpoint, share_seconds=30) as auth:
        identities = [await auth.verify(_SESSION, Action.WATCH, _RUN) for _ in range(10)]
        for identity in identities:
            await again(identity)
        assert len(endpoint.questions) == 1


@pytest.mark.parametrize(
    ("rights", "subject", "problem"),
    [
        ("watch:run-2", "ann", Forbidden),
        ("", "ann", Forbidden),
        ("watch:@own", "ann", Unavailable),
        ("watch:run-*", "bob", None),
    ],
)
async def test_a_yes_that_no_longer_covers_the_run_is_none(
    endpoint: AuthEndpoint, rights: str, subject: str, problem: type[Problem] | None
) -> None:
    endpoint.says = lambda question: Says(
        200, {"Runcast-Rights": "watch:*", "Runcast-Subject": "ann"}
    )
    async with asking(endpoint) as auth:
        identity = await auth.verify(_SESSION, Action.WATCH, _RUN)
        endpoint.says = lambda question: Says(
            200, {"Runcast-Rights": rights, "Runcast-Subject": subject}
        )
        if problem is None:
            assert (await again(identity)).subject == subject
        else:
            with pytest.raises(problem):
                await again(identity)


async def test_ones_own_runs_are_not_anothers(endpoint: AuthEndpoint) -> None:
    endpoint.says = lambda question: Says(
        200, {"Runcast-Rights": "watch:@own", "Runcast-Subject": "ann"}
    )
    async with asking(endpoint) as auth:
        identity = await again(await auth.verify(_SESSION, Action.WATCH, _RUN))
        endpoint.says = lambda question: Says(
            200, {"Runcast-Rights": "watch:@own", "Runcast-Subject": "bob"}
        )
        with pytest.raises(Unavailable):
            await again(identity)


# ---- on a real edge


class Office:
    """Whom the endpoint knows: people by their sessions, and which runs each may watch."""

    def __init__(self, endpoint: AuthEndpoint) -> None:
        self.may_watch: dict[str, set[str]] = {}
        self.endpoint = endpoint
        endpoint.says = self._says

    def _says(self, question: Question) -> Says:
        person = question.headers.get("cookie", "").removeprefix("session=")
        if person not in self.may_watch:
            return Says(401)
        if question.run not in self.may_watch[person]:
            return Says(403)
        return Says(204, {"Runcast-Subject": person})

    def times_asked_about(self, person: str) -> int:
        return sum(
            each.headers.get("cookie") == f"session={person}" for each in self.endpoint.questions
        )


@pytest.fixture(scope="module")
def office() -> Iterator[Office]:
    with AuthEndpoint() as endpoint:
        yield Office(endpoint)


@pytest.fixture(scope="module")
def guarded_edge(redis_url: str, office: Office) -> Iterator[Edge]:
    edge = Edge(
        redis_url,
        forward_auth_url=office.endpoint.url,
        forward_auth_timeout_seconds=0.5,
        forward_auth_cache_seconds=1,
        heartbeat_seconds=_HEARTBEAT_SECONDS,
        tail="notify",
        missing_run="reject",
    )
    yield edge
    assert edge.traces() == ""
    edge.close()


@pytest.fixture
def person(office: Office, run_id: str) -> str:
    """Somebody whom only this test has, and who may watch its run."""
    name = f"person-{run_id}"
    office.may_watch[name] = {run_id}
    return name


def session(person: str) -> dict[str, str]:
    return {"cookie": f"session={person}"}


async def test_the_edge_lets_in_whom_the_endpoint_knows(
    guarded_edge: Edge, client: Redis, run_id: str, person: str
) -> None:
    first = await append(client, run_id)
    url = guarded_edge.events_url(run_id)
    async with watch(url, headers=session(person)) as viewer:
        assert (await viewer.until(1))[0].id == first
        second = await append(client, run_id)
        assert [event.id for event in await viewer.until(2)] == [first, second]
    async with httpx.AsyncClient() as http:
        assert (await http.get(url)).status_code == 401
        assert (await http.get(url, headers=session("nobody"))).status_code == 401
        # What is forbidden looks like what is not there.
        office_run = f"{run_id}-others"
        await append(client, office_run)
        forbidden = await http.get(guarded_edge.events_url(office_run), headers=session(person))
        missing = await http.get(guarded_edge.events_url("missing"), headers=session(person))
        assert (forbidden.status_code, forbidden.content) == (404, missing.content)


async def test_no_strangers_page_uses_the_session(
    guarded_edge: Edge, client: Redis, run_id: str, person: str
) -> None:
    await append(client, run_id)
    url = guarded_edge.events_url(run_id, "limit=1")
    json = {"accept": "application/json"}
    async with httpx.AsyncClient(headers=session(person) | json) as http:
        assert (await http.get(url)).status_code == 200
        assert (await http.get(url, headers={"sec-fetch-site": "same-origin"})).status_code == 200
        for stranger in ({"origin": "https://evil.example"}, {"sec-fetch-site": "cross-site"}):
            refused = await http.get(url, headers=stranger)
            assert refused.status_code == 403
            assert "evil" not in refused.text


async def test_a_stream_ends_within_a_heartbeat_of_a_no(
    guarded_edge: Edge, client: Redis, run_id: str, person: str, office: Office
) -> None:
    await append(client, run_id)
    async with watch(guarded_edge.events_url(run_id), headers=session(person)) as viewer:
        await viewer.until_caught_up()
        # Past the first times that it is asked anew.
        await eventually(lambda: office.times_asked_about(person) >= 3)
        assert not viewer.ended.is_set()
        del office.may_watch[person]
        await viewer.until_ended(within=_HEARTBEAT_SECONDS)
        assert viewer.whole
    async with watch(guarded_edge.events_url(run_id), headers=session(person)) as viewer:
        assert viewer.status == 401


async def test_a_hundred_tabs_cost_as_much_as_one(
    guarded_edge: Edge, client: Redis, run_id: str, person: str, office: Office
) -> None:
    await append(client, run_id)
    url = guarded_edge.events_url(run_id)
    async with AsyncExitStack() as opened:
        tabs: list[Viewer] = []
        for _ in range(5):
            # One after the other, as people open them.
            more = together(watch(url, headers=session(person)) for _ in range(20))
            tabs += await opened.enter_async_context(more)
            await asyncio.sleep(_ASKED_ANEW_SECONDS / 5)
        before, started = office.times_asked_about(person), time.monotonic()
        # That somebody does not ask is seen in time alone.
        await asyncio.sleep(2.5 * _ASKED_ANEW_SECONDS)
        asked = office.times_asked_about(person) - before
        assert 2 <= asked <= (time.monotonic() - started) / _ASKED_ANEW_SECONDS + 1
        assert not any(tab.ended.is_set() for tab in tabs)


async def test_down_sends_browsers_away_gently_and_lets_nobody_in(
    guarded_edge: Edge, client: Redis, run_id: str, person: str, office: Office
) -> None:
    await append(client, run_id)
    url = guarded_edge.events_url(run_id)
    async with watch(url, headers=session(person)) as present:
        await present.until_caught_up()
        office.endpoint.stop()
        try:
            # It is not known any more whether they still may.
            await present.until_ended(within=_HEARTBEAT_SECONDS + 1)

            async def nobody_gets_in() -> bool:
                async with watch(url, headers=session(person)) as viewer:
                    await viewer.until_ended()
                    return viewer.status == 200 and not viewer.events

            # Once what was kept is too old.
            await eventually(nobody_gets_in, within=3)
            async with httpx.AsyncClient(headers=session(person)) as http:
                page = await http.get(url, headers={"accept": "application/json"})
            assert page.status_code == 503
            assert int(page.headers["retry-after"]) >= 1
        finally:
            office.endpoint.start()
    async with watch(url, headers=session(person)) as viewer:
        await viewer.until(1)


async def test_a_stream_ends_when_the_endpoint_said_it_would(
    guarded_edge: Edge, client: Redis, run_id: str, office: Office
) -> None:
    await append(client, run_id)
    person = f"guest-{run_id}"
    office.may_watch[person] = {run_id}
    inner: Callable[[Question], Says] = office.endpoint.says
    office.endpoint.says = lambda question: (
        Says(204, {"Runcast-Expires-In": "1"})
        if person in question.headers.get("cookie", "")
        else inner(question)
    )
    try:
        async with watch(guarded_edge.events_url(run_id), headers=session(person)) as viewer:
            await viewer.until(1)
            started = time.monotonic()
            await viewer.until_ended(within=2)
            assert time.monotonic() - started < 1.5
    finally:
        office.endpoint.says = inner


async def test_an_edge_begins_without_its_endpoint(redis_url: str, run_id: str) -> None:
    edge = Edge(redis_url, forward_auth_url=f"http://127.0.0.1:{free_port()}/", tail="notify")
    try:
        async with httpx.AsyncClient(headers=session("ann")) as http:
            page = await http.get(edge.events_url(run_id), headers={"accept": "application/json"})
        assert page.status_code == 503
        assert edge.traces() == ""
    finally:
        edge.close()
