"""Chromium's own EventSource, over a line that can be cut."""

import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Final
from urllib.parse import urlsplit

import pytest
from playwright.async_api import Page, async_playwright
from redis.asyncio import Redis

from tests.clients.journey import travel
from tests.support.cuttable import Cuttable
from tests.support.edges import Edge
from tests.support.producer import append, key_of
from tests.support.waiting import eventually

_CHROMIUM: Final = shutil.which("chromium")
_ARGUMENTS: Final = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)
_TYPES: Final = ("message", "chunk", "done", "runcast.gap", "runcast.caught-up")

_OPEN: Final = """
([name, url, types]) => {
  const source = new EventSource(url);
  for (const type of types) {
    source.addEventListener(type, (event) => {
      saw({name, type: event.type, data: event.data, id: event.lastEventId});
    });
  }
  source.onerror = () => saw({name, type: "error", closed: source.readyState === 2});
}
"""

pytestmark = pytest.mark.skipif(_CHROMIUM is None, reason="chromium is not installed")


class _EventSource:
    """One EventSource of the page, and what it dispatched."""

    def __init__(self) -> None:
        self.seen: list[dict[str, Any]] = []

    def of_type(self, *types: str) -> list[dict[str, Any]]:
        """What it dispatched of these types."""
        return [each for each in self.seen if each["type"] in types]

    @property
    def ids(self) -> list[str]:
        """The ids of the run's events."""
        return [each["id"] for each in self.of_type("message", "chunk", "done")]

    @property
    def gaps(self) -> int:
        """How often it was told of a gap."""
        return len(self.of_type("runcast.gap"))

    @property
    def stopped(self) -> bool:
        """Whether it is CLOSED, which is for good."""
        return any(each["closed"] for each in self.of_type("error"))


class _Browser:
    """A page of the edge's origin, where EventSources can be opened."""

    def __init__(self, page: Page) -> None:
        self._page = page
        self._sources: list[_EventSource] = []

    async def visit(self, url: str) -> None:
        """Goes to a page of the origin that serves `url`, unless it is there."""
        parts = urlsplit(url)
        origin = f"{parts.scheme}://{parts.netloc}"
        if not self._page.url.startswith(f"{origin}/"):
            await self._page.goto(f"{origin}/healthz")

    async def open(self, url: str) -> _EventSource:
        """A new EventSource, of the same origin as the page."""
        await self.visit(url)
        source = _EventSource()
        self._sources.append(source)
        await self._page.evaluate(_OPEN, [len(self._sources) - 1, url, list(_TYPES)])
        return source

    @asynccontextmanager
    async def watch(self, url: str) -> AsyncIterator[_EventSource]:
        """The same, for the journey."""
        yield await self.open(url)

    def saw(self, seen: dict[str, Any]) -> None:
        """Called by the page."""
        self._sources[seen.pop("name")].seen.append(seen)


@pytest.fixture
async def browser() -> AsyncIterator[_Browser]:
    """A Chromium of the test's own."""
    async with async_playwright() as playwright:
        chromium = await playwright.chromium.launch(
            executable_path=_CHROMIUM, args=list(_ARGUMENTS)
        )
        page = await chromium.new_page(bypass_csp=True)
        browser = _Browser(page)
        await page.expose_function("saw", browser.saw)
        yield browser
        await chromium.close()


async def test_misses_nothing_and_doubles_nothing_on_a_bad_line(
    browser: _Browser, edge: Edge, client: Redis, run_id: str
) -> None:
    watch: Callable[[str], AbstractAsyncContextManager[_EventSource]] = browser.watch
    await travel(watch, edge, client, run_id)


async def test_named_unnamed_and_multi_line_events_arrive_as_they_were_written(
    browser: _Browser, edge: Edge, client: Redis, run_id: str
) -> None:
    text = "first\n\n  third: ☃\n"
    unnamed = await append(client, run_id, text, None)
    named = await append(client, run_id, '{"text":"hi"}')
    source = await browser.open(edge.events_url(run_id))
    await eventually(lambda: len(source.ids) == 2)
    assert source.of_type("message", "chunk") == [
        {"type": "message", "data": text, "id": unnamed},
        {"type": "chunk", "data": '{"text":"hi"}', "id": named},
    ]


async def test_is_closed_after_the_terminal_event_and_does_not_come_back(
    browser: _Browser, edge: Edge, client: Redis, run_id: str
) -> None:
    last = await append(client, run_id, "{}", "done")
    witness_run = f"{run_id}-witness"
    await append(client, witness_run, "a")
    async with Cuttable(edge.port) as line:
        source = await browser.open(line.events_url(run_id))
        await eventually(lambda: source.stopped)
        assert source.ids == [last]
        assert [error["closed"] for error in source.of_type("error")] == [False, True]
        assert line.resumed_from(run_id) == [None, last]

        # In the time that another one takes to come back twice, this one does not once.
        witness = await browser.open(line.events_url(witness_run))
        await eventually(lambda: len(witness.of_type("runcast.caught-up")) == 1)
        line.cut()
        line.mend()
        await eventually(lambda: len(witness.of_type("runcast.caught-up")) == 2)
        line.cut()
        line.mend()
        await eventually(lambda: len(witness.of_type("runcast.caught-up")) == 3)
        assert line.resumed_from(run_id) == [None, last]
        assert len(source.of_type("error")) == 2


async def test_control_events_leave_the_last_event_id_alone(
    browser: _Browser, edge: Edge, client: Redis, run_id: str
) -> None:
    first = await append(client, run_id, "a")
    async with Cuttable(edge.port) as line:
        source = await browser.open(line.events_url(run_id))
        await eventually(lambda: len(source.of_type("runcast.caught-up")) == 1)

        # What follows the cursor is lost, and nothing new comes: only control events are sent.
        line.cut()
        await client.xadd(key_of(run_id), {"data": "lost"}, maxlen=0, approximate=False)
        line.mend()
        await eventually(lambda: source.gaps == 1)
        await eventually(lambda: len(source.of_type("runcast.caught-up")) == 2)
        line.cut()
        line.mend()
        await eventually(lambda: source.gaps == 2)

        control = source.of_type("runcast.gap", "runcast.caught-up")
        assert {each["id"] for each in control} == {first}
        assert line.resumed_from(run_id) == [None, first, first]


async def test_a_gap_before_the_first_event_leaves_the_cursor_where_it_was(
    browser: _Browser, edge: Edge, client: Redis, run_id: str
) -> None:
    cursor = await append(client, run_id, "a")
    await append(client, run_id, "b")
    kept = await append(client, run_id, "c")
    await client.xtrim(key_of(run_id), maxlen=1, approximate=False)
    source = await browser.open(edge.events_url(run_id, f"last_event_id={cursor}"))
    await eventually(lambda: len(source.of_type("runcast.caught-up")) == 1)
    assert [(each["type"], each["id"]) for each in source.seen] == [
        ("runcast.gap", cursor),
        ("chunk", kept),
        ("runcast.caught-up", kept),
    ]
