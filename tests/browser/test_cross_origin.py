"""Chromium with pages of other origins than the edge's: those on the list, and a stranger's."""

import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any, Final

import httpx
import pytest
from playwright.async_api import BrowserContext, async_playwright
from redis.asyncio import Redis

from tests.support.auth_endpoint import AuthEndpoint, Question, Says
from tests.support.cuttable import Cuttable
from tests.support.edges import Edge
from tests.support.producer import append
from tests.support.waiting import eventually

_CHROMIUM: Final = shutil.which("chromium")
_ARGUMENTS: Final = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)
_TOKEN: Final = "t0ken"
_SESSION: Final = "c00kie"

_WATCH: Final = """
([url, withCredentials]) => {
  const source = new EventSource(url, {withCredentials});
  source.addEventListener("chunk", (event) => saw(event.lastEventId));
  source.onerror = () => { if (source.readyState === 2) saw("refused"); };
}
"""
_FETCH: Final = """
async ([url, options]) => {
  try {
    const answer = await fetch(url, options);
    const asksFor = answer.headers.get("www-authenticate");
    return [answer.type, answer.status, asksFor, await answer.text()];
  } catch (error) {
    return [error.name, 0, null, ""];
  }
}
"""

pytestmark = pytest.mark.skipif(_CHROMIUM is None, reason="chromium is not installed")


class _Site(BaseHTTPRequestHandler):
    """An empty page, whatever is asked for."""

    def do_GET(self) -> None:
        body = b"<!doctype html><title>site</title>"
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing."""


@contextmanager
def _site() -> Iterator[int]:
    """The port of a site of its own."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Site) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


def _says(question: Question) -> Says:
    if question.headers.get("authorization") == f"Bearer {_TOKEN}":
        return Says(204)
    if f"session={_SESSION}" in question.headers.get("cookie", ""):
        return Says(204)
    return Says(401)


@pytest.fixture(scope="module")
def endpoint() -> Iterator[AuthEndpoint]:
    with AuthEndpoint() as running:
        running.says = _says
        yield running


@pytest.fixture(scope="module")
def listed() -> Iterator[int]:
    with _site() as port:
        yield port


@pytest.fixture(scope="module")
def stranger() -> Iterator[int]:
    with _site() as port:
        yield port


@pytest.fixture(scope="module")
def guarded_edge(redis_url: str, endpoint: AuthEndpoint, listed: int) -> Iterator[Edge]:
    edge = Edge(
        redis_url,
        forward_auth_url=endpoint.url,
        forward_auth_cache_seconds=0,
        ticket_secret="s" * 32,
        cors_origins=f"http://127.0.0.1:{listed},http://localhost:{listed}",
        cors_credentials=True,
        tail="notify",
    )
    yield edge
    assert edge.traces() == ""
    edge.close()


@pytest.fixture
async def context() -> AsyncIterator[BrowserContext]:
    """A Chromium of the test's own, logged in at 127.0.0.1."""
    async with async_playwright() as playwright:
        chromium = await playwright.chromium.launch(
            executable_path=_CHROMIUM, args=list(_ARGUMENTS)
        )
        context = await chromium.new_context()
        await context.add_cookies(
            [{"name": "session", "value": _SESSION, "domain": "127.0.0.1", "path": "/"}]
        )
        yield context
        await chromium.close()


class _Page:
    """A page of a site, and what its EventSource saw."""

    def __init__(self, context: BrowserContext) -> None:
        self.saw: list[str] = []
        self._context = context

    async def visit(self, origin: str) -> None:
        self._page = await self._context.new_page()
        await self._page.expose_function("saw", lambda seen: self.saw.append(seen))
        await self._page.goto(f"{origin}/")

    async def watch(self, url: str, *, with_credentials: bool = False) -> None:
        await self._page.evaluate(_WATCH, [url, with_credentials])

    async def fetch(self, url: str, **options: Any) -> list[Any]:
        """The answer's type, status, `WWW-Authenticate` and body, as the page sees them."""
        answer: list[Any] = await self._page.evaluate(_FETCH, [url, options])
        return answer


async def _visiting(context: BrowserContext, host: str, port: int) -> _Page:
    page = _Page(context)
    await page.visit(f"http://{host}:{port}")
    return page


async def test_an_event_source_with_a_ticket_resumes_without_a_preflight(
    guarded_edge: Edge, context: BrowserContext, listed: int, client: Redis, run_id: str
) -> None:
    first = await append(client, run_id)
    async with httpx.AsyncClient(headers={"authorization": f"Bearer {_TOKEN}"}) as http:
        answer = await http.post(f"{guarded_edge.url}/v1/runs/{run_id}/tickets")
        assert answer.status_code == 201
        ticket = answer.json()["ticket"]
    async with Cuttable(guarded_edge.port) as line:
        page = await _visiting(context, "localhost", listed)
        await page.watch(f"{line.events_url(run_id)}?ticket={ticket}")
        await eventually(lambda: page.saw == [first])
        line.cut()
        second = await append(client, run_id)
        line.mend()
        await eventually(lambda: page.saw == [first, second])
        assert line.resumed_from(run_id) == [None, first]
        assert len(line.requests) == 2
        assert not any("access-control-request-method" in each.headers for each in line.requests)


async def test_a_preflight_for_a_token_is_asked_for_once(
    guarded_edge: Edge, context: BrowserContext, listed: int, client: Redis, run_id: str
) -> None:
    first = await append(client, run_id)
    async with Cuttable(guarded_edge.port) as line:
        page = await _visiting(context, "localhost", listed)
        headers = {"accept": "application/json", "authorization": f"Bearer {_TOKEN}"}
        for _ in range(3):
            seen, status, _, body = await page.fetch(line.events_url(run_id), headers=headers)
            assert (seen, status) == ("cors", 200)
            assert first in body
        preflights = ["access-control-request-method" in each.headers for each in line.requests]
        assert preflights == [True, False, False, False]
        # Pages may read why not.
        headers["authorization"] = "Bearer wrong"
        seen, status, asked_for, _ = await page.fetch(line.events_url(run_id), headers=headers)
        assert (seen, status, asked_for) == ("cors", 401, 'Bearer realm="runcast"')


async def test_the_sessions_cookie_goes_with_pages_on_the_list(
    guarded_edge: Edge, context: BrowserContext, listed: int, client: Redis, run_id: str
) -> None:
    first = await append(client, run_id)
    page = await _visiting(context, "127.0.0.1", listed)
    await page.watch(guarded_edge.events_url(run_id), with_credentials=True)
    await eventually(lambda: page.saw == [first])
    seen, status, _, _ = await page.fetch(guarded_edge.events_url(run_id), credentials="omit")
    assert (seen, status) == ("cors", 401)


async def test_a_strangers_page_gets_nothing(
    guarded_edge: Edge,
    context: BrowserContext,
    stranger: int,
    endpoint: AuthEndpoint,
    client: Redis,
    run_id: str,
) -> None:
    await append(client, run_id)
    url = guarded_edge.events_url(run_id)
    # Another port of the same host: the same site, so the browser does send the cookie.
    page = await _visiting(context, "127.0.0.1", stranger)
    asked = len(endpoint.questions)
    await page.watch(url, with_credentials=True)
    await eventually(lambda: page.saw == ["refused"])
    assert await page.fetch(url, credentials="include") == ["TypeError", 0, None, ""]
    opaque = await page.fetch(url, credentials="include", mode="no-cors")
    # Not even that: what is not readable may not be embedded.
    assert opaque == ["TypeError", 0, None, ""]
    # A token in a header needs a preflight, which a stranger does not get.
    headers = {"authorization": f"Bearer {_TOKEN}"}
    assert await page.fetch(url, headers=headers) == ["TypeError", 0, None, ""]
    # Nobody was even asked about the session.
    assert len(endpoint.questions) == asked
