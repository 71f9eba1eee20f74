"""What is added to an answer's head, on both of its ways out."""

from collections.abc import Mapping
from typing import Any

import pytest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from broker.edge.auth.origins import Origins
from broker.edge.browsers import Browsers
from broker.edge.connection import DETACH_EXTENSION, detach_of

_APP = "https://app.example.com"
_OTHER = "https://evil.example"
_LISTED = Origins([_APP, "http://localhost:3000"])
_WITH_COOKIES = Origins([_APP], credentials=True)
_ALL = Origins(["*"])
_NONE = Origins([])


class Served:
    """An application that answers with some headers, and how it was asked."""

    def __init__(self, headers: Mapping[str, str], *, detaches: bool = False) -> None:
        self.asked = 0
        self._headers = dict(headers)
        self._detaches = detaches

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.asked += 1
        if self._detaches:
            detach = detach_of(scope)
            assert detach is not None
            assert detach(self._headers) is None
            return
        fields = [(name.encode(), text.encode()) for name, text in self._headers.items()]
        await send({"type": "http.response.start", "status": 200, "headers": fields})
        await send({"type": "http.response.body", "body": b"a", "more_body": True})
        await send({"type": "http.response.body", "body": b"b"})


class Answer:
    """What came out."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body = b""

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            for name, value in message["headers"]:
                assert name.decode() not in self.headers, f"{name} came twice"
                self.headers[name.decode()] = value.decode()
        else:
            self.body += message["body"]

    def detach(self, headers: Mapping[str, str]) -> None:
        self.status = 200
        self.headers = dict(headers)


async def ask(
    app: ASGIApp, origins: Origins, *headers: tuple[str, str], method: str = "GET"
) -> Answer:
    answer = Answer()
    scope: dict[str, Any] = {
        "type": "http",
        "method": method,
        "path": "/",
        "headers": [(name.encode(), text.encode()) for name, text in headers],
        "extensions": {DETACH_EXTENSION: {"detach": answer.detach}},
    }
    await Browsers(app, origins)(scope, _receive, answer.send)
    return answer


async def _receive() -> Message:
    return {"type": "http.request"}


def cors_of(answer: Answer) -> dict[str, str]:
    return {
        name.removeprefix("access-control-"): text
        for name, text in answer.headers.items()
        if name.startswith("access-control-")
    }


@pytest.fixture(params=[False, True], ids=["asgi", "detached"])
def detaches(request: pytest.FixtureRequest) -> bool:
    """Each way out."""
    detached: bool = request.param
    return detached


async def test_every_answer_is_safe_to_open(detaches: bool) -> None:
    answer = await ask(Served({"content-type": "text/plain"}, detaches=detaches), _NONE)
    assert answer.headers == {
        "content-type": "text/plain",
        "x-content-type-options": "nosniff",
        "referrer-policy": "no-referrer",
        "cross-origin-resource-policy": "same-origin",
        "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    }
    assert answer.body == (b"" if detaches else b"ab")


async def test_what_an_answer_says_itself_stays(detaches: bool) -> None:
    said = {"content-security-policy": "default-src 'self'", "referrer-policy": "origin"}
    answer = await ask(Served(said, detaches=detaches), _NONE)
    assert said.items() <= answer.headers.items()


async def test_pages_on_the_list_may_read_it(detaches: bool) -> None:
    answer = await ask(Served({}, detaches=detaches), _LISTED, ("origin", _APP))
    assert cors_of(answer) == {
        "allow-origin": _APP,
        "expose-headers": "Location, Retry-After, Runcast-Gap, Runcast-Run, WWW-Authenticate",
    }
    assert answer.headers["vary"] == "origin"


async def test_and_send_cookies_where_that_is_set(detaches: bool) -> None:
    app = Served({}, detaches=detaches)
    assert cors_of(await ask(app, _WITH_COOKIES, ("origin", _APP)))["allow-credentials"] == "true"
    assert "allow-credentials" not in cors_of(await ask(app, _WITH_COOKIES, ("origin", _OTHER)))


@pytest.mark.parametrize(
    "origin",
    [
        [],
        [("origin", _OTHER)],
        [("origin", "null")],
        [("origin", "http://app.example.com")],
        [("origin", f"{_APP}:443")],
        [("origin", f"{_APP}.evil.example")],
        [("origin", _APP.upper())],
        [("origin", _APP), ("origin", _OTHER)],
        [("origin", f"{_OTHER}, {_APP}")],
    ],
)
async def test_other_pages_may_not(origin: list[tuple[str, str]], detaches: bool) -> None:
    app = Served({}, detaches=detaches)
    for origins in (_LISTED, _WITH_COOKIES, _NONE):
        answer = await ask(app, origins, *origin)
        assert cors_of(answer) == {}
        # A cache must not give it to those who may.
        assert answer.headers.get("vary") == (None if origins is _NONE else "origin")


async def test_what_it_varies_by_already_is_kept(detaches: bool) -> None:
    answer = await ask(
        Served({"vary": "accept, accept-encoding"}, detaches=detaches), _LISTED, ("origin", _APP)
    )
    assert answer.headers["vary"] == "accept, accept-encoding, origin"


async def test_all_pages_are_told_the_same_and_never_send_cookies(detaches: bool) -> None:
    app = Served({}, detaches=detaches)
    for origins in (_ALL, Origins(["*"], credentials=True)):
        answer = await ask(app, origins, ("origin", _OTHER))
        assert cors_of(answer)["allow-origin"] == "*"
        assert "allow-credentials" not in cors_of(answer)
        assert "vary" not in answer.headers


_PREFLIGHT = (
    ("access-control-request-method", "GET"),
    ("access-control-request-headers", "authorization,last-event-id"),
)


async def test_a_preflight_is_answered_for_any_path() -> None:
    app = Served({})
    answer = await ask(app, _WITH_COOKIES, ("origin", _APP), *_PREFLIGHT, method="OPTIONS")
    assert app.asked == 0
    assert (answer.status, answer.body) == (204, b"")
    cors = cors_of(answer)
    assert cors["allow-origin"] == _APP
    assert cors["allow-credentials"] == "true"
    assert cors["allow-methods"] == "GET, HEAD, POST"
    assert cors["max-age"] == "7200"
    assert set(cors["allow-headers"].split(", ")) == {
        *("Accept", "Authorization", "Cache-Control", "Content-Type", "Idempotency-Key"),
        *("Last-Event-ID", "X-API-Key", "Runcast-Lease", "Runcast-Producer", "Runcast-Sequence"),
    }
    assert answer.headers["vary"] == "origin"


async def test_so_it_is_for_all_pages() -> None:
    app = Served({})
    answer = await ask(app, _ALL, ("origin", _OTHER), *_PREFLIGHT, method="OPTIONS")
    assert (app.asked, answer.status) == (0, 204)
    assert cors_of(answer)["allow-origin"] == "*"


@pytest.mark.parametrize(
    ("origins", "headers"),
    [
        (_LISTED, [("origin", _OTHER), *_PREFLIGHT]),
        (_NONE, [("origin", _APP), *_PREFLIGHT]),
        (_LISTED, [("origin", _APP)]),
        (_LISTED, list(_PREFLIGHT)),
        (_ALL, list(_PREFLIGHT)),
    ],
)
async def test_other_options_are_the_applications(
    origins: Origins, headers: list[tuple[str, str]]
) -> None:
    app = Served({})
    answer = await ask(app, origins, *headers, method="OPTIONS")
    assert (app.asked, answer.status) == (1, 200)
    assert "allow-methods" not in cors_of(answer)


async def test_what_is_not_http_is_passed_on() -> None:
    seen = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append((scope["type"], send))

    answer = Answer()
    await Browsers(app, _LISTED)({"type": "lifespan"}, _receive, answer.send)
    assert seen == [("lifespan", answer.send)]
