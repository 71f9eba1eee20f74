"""The console in Chromium, over a real edge with API keys and real viewers."""

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any, Final
from uuid import uuid4

import httpx
import jwt
import pytest
import pytest_asyncio
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, expect
from redis.asyncio import Redis

from tests.support.console import CHROMIUM, Console, opened_console, running_chromium
from tests.support.cuttable import Cuttable
from tests.support.edges import Edge
from tests.support.keys_file import KeysFile
from tests.support.producer import append, key_of
from tests.support.viewer import Viewer, together, watch
from tests.support.waiting import eventually

# On a machine that does much else a browser takes its time.
expect.set_options(timeout=15_000)

_SECRET: Final = "of the application that sets the cookie"
_MARKUP: Final = "<img src=x onerror=hacked()>"
_OTHERS: Final = f"{_MARKUP}@example.com"
"""A subject that somebody has chosen."""

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed"),
    # One browser for all: to start it takes longer than most of what is tested.
    pytest.mark.asyncio(loop_scope="module"),
]


@pytest.fixture(scope="module")
def guarded(redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    """An edge that asks who is there."""
    directory = tmp_path_factory.mktemp("console")
    keys, secret = KeysFile(directory / "keys.toml"), directory / "secret"
    keys.add("admin", "admin", "watch:*")
    keys.add("viewer", "watch:*", subject="anna@example.com")
    keys.add("other", "watch:*", subject=_OTHERS)
    secret.write_text(_SECRET)
    edge = Edge(
        redis_url,
        api_keys_file=keys.path,
        jwt_algorithms="HS256",
        jwt_key_file=secret,
        jwt_audience="runcast",
        jwt_rights_claim="rights",
        session_cookie="session",
        linger_seconds=0.2,
        revocations_key=f"revoked-{uuid4().hex}",
    )
    yield edge
    edge.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with running_chromium() as browser:
        yield browser


@pytest_asyncio.fixture(loop_scope="module")
async def client(redis_url: str) -> AsyncIterator[Redis]:
    async with Redis.from_url(redis_url, decode_responses=True) as client:
        yield client


@pytest_asyncio.fixture(loop_scope="module")
async def console(browser: Browser, guarded: Edge) -> AsyncIterator[Console]:
    """The console, signed in; nothing that it did was out of order."""
    async with opened_console(browser, guarded.url) as console:
        await console.sign_in(KeysFile.key("admin"))
        yield console
        assert console.problems == []


@asynccontextmanager
async def producing(client: Redis, run_id: str, seconds: float = 0.02) -> AsyncIterator[None]:
    """Events of a run, one after the other."""

    async def produce() -> None:
        while True:
            await append(client, run_id, '{"text":"word"}')
            await asyncio.sleep(seconds)

    task = asyncio.create_task(produce(), name="producer")
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def viewer_of(edge: Edge, run_id: str, key: str = "viewer", **options: Any) -> Viewer:
    return watch(edge.events_url(run_id), headers=KeysFile.headers(key), **options)


async def violations(console: Console) -> list[Any]:
    """What is wrong with it for those who use it without a mouse, or without seeing it."""
    results = await Axe().run(console.page)
    return [
        (each["id"], [node["target"] for node in each["nodes"]])
        for each in results.response["violations"]
    ]


async def test_who_may_signs_in_and_others_are_told_why_not(
    browser: Browser, guarded: Edge
) -> None:
    key = KeysFile.key("admin")
    async with opened_console(browser, guarded.url) as console:
        await expect(console["key"]).to_be_focused()
        for wrong, why in (
            ("no-such-key", "does not take this key"),
            (KeysFile.key("viewer"), "You lack the right: admin"),
            ("käse", "neither a key nor a token"),
        ):
            await console["key"].fill(wrong)
            await console["key"].press("Enter")
            await expect(console["key-problem"]).to_contain_text(why)
            await expect(console["key"]).to_have_attribute("aria-invalid", "true")
            await expect(console["board"]).to_be_hidden()
        await console.sign_in(key)
        assert key not in console.page.url
        await expect(console["key"]).to_have_value("")

        # Without the tick a reload forgets it, with the tick it does not; signing out does.
        await console.page.reload()
        await expect(console["key"]).to_be_focused()
        await console["keep"].check()
        await console.sign_in(key)
        await console.page.reload()
        await expect(console["board"]).to_be_visible()
        assert key not in console.page.url
        await console.button("Sign out").click()
        await expect(console["key"]).to_be_focused()
        await console.page.reload()
        await expect(console["key"]).to_be_focused()
        assert console.problems == []
    assert key not in guarded.raw_log()


async def test_a_cookie_that_suffices_and_a_token(browser: Browser, guarded: Edge) -> None:
    now = int(time.time())
    claims = {"sub": "a", "aud": "runcast", "iat": now, "exp": now + 60, "rights": ["admin"]}
    token = jwt.encode(claims, _SECRET, "HS256")
    async with opened_console(browser, guarded.url, session=token) as console:
        await expect(console["board"]).to_be_visible()
        await expect(console["sign-out"]).to_be_hidden()
        await console.page.context.clear_cookies()
        # Its right has ended, so nothing stays in sight.
        await expect(console["gate"]).to_be_visible()
        await expect(console["board"]).to_be_hidden()
        await console.sign_in(token)
        assert console.problems == []


async def test_figures_runs_and_viewers_under_load(
    console: Console, guarded: Edge, client: Redis, run_id: str
) -> None:
    quiet_run = f"{run_id}-quiet"
    await append(client, quiet_run)
    viewers = [viewer_of(guarded, run_id) for _ in range(4)] + [viewer_of(guarded, quiet_run)]
    async with producing(client, run_id), together(viewers):
        await expect(console.figure("Viewers")).to_have_text("5")
        await expect(console.figure("Runs")).to_have_text("2")
        await expect(console.figure("Events")).to_have_text(re.compile(r"^[1-9]\d*(\.\d)?$"))
        await expect(console.figure("Deliveries")).to_have_text(re.compile(r"^[1-9]\d"))
        await expect(console.figure("Delivery p99")).to_have_text(re.compile(r"^\d"))
        await expect(console.page.locator(".tile .line").nth(4)).to_have_attribute(
            "d", re.compile("M.*L")
        )
        await expect(console["readiness"]).to_have_text("Ready")
        await expect(console["processes"].locator("tr")).to_have_count(1)

        run = console["runs"].locator("tr").first
        await expect(run).to_contain_text(run_id)
        await expect(run.locator("td").nth(2)).to_have_text("4")
        await expect(run.locator("td").nth(4)).to_have_text(re.compile(r"^[1-9]\d"))
        await expect(console["runs"].locator("tr")).to_have_count(2)
        await expect(console["viewers"].locator("tr")).to_have_count(5)
        await expect(console["viewers"].locator("tr").first).to_contain_text("anna@example.com")

        await console["filter-run"].fill(quiet_run)
        await expect(console["viewers"].locator("tr")).to_have_count(1)
        await console["filter-state"].select_option("lagging")
        await expect(console["no-viewers"]).to_be_visible()
        await console["filter-state"].select_option("")
        await console["filter-run"].fill("")
        await expect(console["viewers"].locator("tr")).to_have_count(5)

        await console.button("Pause").click()
        await expect(console["fresh"]).to_contain_text("Paused")
    await expect(console.figure("Viewers")).to_have_text("5")
    await console.button("Go on").click()
    await expect(console.figure("Viewers")).to_have_text("0")
    await expect(console["no-runs"]).to_be_visible()


async def test_rows_stay_under_the_pointer(console: Console) -> None:
    """So that nobody disconnects another than they mean."""
    shown = console["runs"].locator("tr th")
    await console.button("Pause").click()

    async def show(*names: str) -> None:
        await console.page.evaluate(
            """names => showRuns({ runs: names.map((name) => ({
              run_id: name, profile: "native", viewers: 1, behind: 0, end: "1-0", final: null,
              lag_seconds: null, events: 1, bytes: 1,
            })) })""",
            names,
        )

    await show("one", "two", "three")
    await expect(shown).to_have_text(["one", "two", "three"])
    await shown.nth(1).hover()
    await show("three", "two", "four", "one")
    await expect(shown).to_have_text(["one", "two", "three", "four"])
    await console["readiness"].hover()
    await show("three", "two", "four", "one")
    await expect(shown).to_have_text(["three", "two", "four", "one"])
    await shown.nth(1).get_by_role("button").focus()
    await show("one", "two", "four")
    await expect(shown).to_have_text(["two", "four", "one"])
    await expect(shown.nth(0).get_by_role("button")).to_be_focused()


async def test_slow_viewers_are_marked(
    console: Console, guarded: Edge, client: Redis, run_id: str
) -> None:
    async with viewer_of(guarded, run_id), viewer_of(guarded, run_id, "other", reading=False):
        await eventually(lambda: _subscribers(guarded, 2))
        for _ in range(40):
            await append(client, run_id, "x" * 100_000)
        slow = console["viewers"].locator("tr.slow")
        await expect(slow).to_have_count(1)
        await expect(slow).to_contain_text("slow, ")
        await expect(slow).to_contain_text(_OTHERS)
        await expect(console["viewers-note"]).to_contain_text("1 slow")


async def test_a_run_is_watched_over_a_line_that_is_cut(
    browser: Browser, guarded: Edge, client: Redis, run_id: str
) -> None:
    async def add(numbers: range) -> None:
        for number in numbers:
            await append(client, run_id, json.dumps({"n": number}))

    await add(range(20))
    async with (
        Cuttable(guarded.port) as line,
        viewer_of(guarded, run_id),
        opened_console(browser, line.url) as console,
    ):
        await console.sign_in(KeysFile.key("admin"))
        await console.row("runs", run_id).get_by_role("button").click()
        await expect(console["watch-title"]).to_be_focused()
        await expect(console["watch-phase"]).to_have_text("live")
        await expect(console["watch-count"]).to_have_text("20 events")
        await add(range(20, 30))
        await expect(console["watch-count"]).to_have_text("30 events")
        newest = console["events"].locator("li").last
        await expect(newest.locator(".type")).to_have_text("chunk")
        await expect(newest.locator(".data")).to_have_text('{"n": 29}')
        await newest.locator("summary").press("Enter")
        await expect(newest.locator("pre")).to_contain_text('"n": 29')

        # Away for long enough that what is shown is out of date, and said to be.
        line.cut()
        await expect(console["watch-phase"]).to_contain_text("connection lost")
        await add(range(30, 40))
        await expect(console["stale"]).to_be_visible()
        await expect(console["fresh"]).to_contain_text("No answer")
        line.mend()
        await expect(console["stale"]).to_be_hidden()
        await expect(console["watch-count"]).to_have_text("40 events")
        shown = await console["events"].locator(".data").all_inner_texts()
        assert [json.loads(text)["n"] for text in shown] == list(range(40))
        assert line.resumed_from(run_id)[-1] is not None

        # Of many events the newest are kept; and a gap is said where it is.
        line.cut()
        await add(range(40, 700))
        line.mend()
        await expect(console["watch-count"]).to_have_text("700 events, the newest 500 are shown")
        await expect(newest.locator(".data")).to_have_text('{"n": 699}')
        assert await console["events"].locator("li").count() == 500
        await client.delete(key_of(run_id))
        await add(range(1))
        await expect(console["watch-gaps"]).to_have_text("1 gap")
        await expect(console["events"].locator("li").nth(-2)).to_contain_text("begins anew")
        await expect(newest.locator(".data")).to_have_text('{"n": 0}')

        await append(client, run_id, "{}", "done")
        await expect(console["watch-phase"]).to_contain_text("ended")
        await console.page.keyboard.press("Escape")
        await expect(console["watch"]).to_be_hidden()
        assert console.problems == []


async def test_a_viewer_is_disconnected_and_comes_back(
    console: Console, guarded: Edge, client: Redis, run_id: str
) -> None:
    first = await append(client, run_id)
    async with viewer_of(guarded, run_id) as viewer:
        await viewer.until(1)
        row = console.row("viewers", run_id)
        name = await row.locator("th").inner_text()
        disconnect = console.button(f"Disconnect viewer {name}")
        dialog = console["disconnect-dialog"]

        await disconnect.click()
        await expect(dialog).to_contain_text(f"Viewer {name} (anna@example.com)")
        await expect(dialog.get_by_role("button", name="Cancel")).to_be_focused()
        await console.page.keyboard.press("Escape")
        await expect(dialog).to_be_hidden()
        await expect(disconnect).to_be_focused()
        assert not viewer.ended.is_set()

        await disconnect.click()
        await dialog.get_by_role("button", name="Disconnect").click()
        await viewer.until_ended()
        await expect(dialog).to_be_hidden()
        await expect(console["status"]).to_have_text(f"Viewer {name} is disconnected.")
        await expect(row).to_have_count(0)
    second = await append(client, run_id)
    async with viewer_of(guarded, run_id, last_event_id=first) as back:
        await back.until(1)
        assert back.ids == [second]
        await expect(row).to_have_count(1)
        assert await row.locator("th").inner_text() != name


async def test_drain_asks_first(
    browser: Browser, redis_url: str, client: Redis, run_id: str
) -> None:
    """On an edge without authentication, where nobody need sign in."""
    edge = Edge(redis_url)
    try:
        async with (
            watch(edge.events_url(run_id)) as viewer,
            opened_console(browser, edge.url) as console,
            httpx.AsyncClient(base_url=edge.url) as http,
        ):
            await expect(console["board"]).to_be_visible()
            await expect(console["state"]).to_contain_text("none set up")
            dialog = console["drain-dialog"]
            await console.button("Drain…").click()
            await expect(dialog).to_contain_text("It has 1 viewer now")
            await dialog.get_by_role("button", name="Cancel").click()
            await expect(dialog).to_be_hidden()
            assert (await http.get("/readyz")).status_code == 200
            assert not viewer.ended.is_set()

            await console.button("Drain…").click()
            await console["drain-seconds"].fill("0.5")
            await dialog.get_by_role("button", name="Drain").click()
            await expect(console["drain-problem"]).to_contain_text("whole number")
            assert (await http.get("/readyz")).status_code == 200
            await console["drain-seconds"].fill("1")
            await dialog.get_by_role("button", name="Drain").click()
            await expect(console["readiness"]).to_have_text("Draining")
            await expect(console["draining"]).to_be_visible()
            await expect(console.button("Drain…")).to_be_hidden()
            assert (await http.get("/readyz")).status_code == 503
            await viewer.until_ended()
            assert console.problems == []
    finally:
        edge.close()


async def test_what_others_have_written_stays_text(
    console: Console, guarded: Edge, client: Redis, run_id: str
) -> None:
    await console.page.evaluate("() => { window.hacked = () => { window.wasHacked = true; }; }")
    await append(client, run_id, json.dumps({"text": _MARKUP}), _MARKUP)
    await append(client, run_id, f"</pre>{_MARKUP}", "javascript:hacked()")
    async with viewer_of(guarded, run_id, "other"):
        await expect(console.row("viewers", run_id)).to_contain_text(_OTHERS)
        await console.row("runs", run_id).get_by_role("button").click()
        await expect(console["events"].locator("li")).to_have_count(2)
        await expect(console["events"].locator(".type").first).to_have_text(_MARKUP)
        for summary in await console["events"].locator("summary").all():
            await summary.click()
        await expect(console["events"].locator("pre").last).to_contain_text(_MARKUP)
        its_row = console.row("viewers", _OTHERS)
        await its_row.get_by_role("button", name="Disconnect viewer").click()
        await expect(console["disconnect-who"]).to_contain_text(_OTHERS)
    assert await console.page.locator("img, script:not(:last-of-type)").count() == 0
    assert await console.page.evaluate("window.wasHacked") is None


async def test_all_of_it_with_the_keyboard(
    browser: Browser, guarded: Edge, client: Redis, run_id: str
) -> None:
    await append(client, run_id)
    async with viewer_of(guarded, run_id), opened_console(browser, guarded.url) as console:
        keyboard = console.page.keyboard
        await expect(console["key"]).to_be_focused()
        await keyboard.type(KeysFile.key("admin"))
        await keyboard.press("Enter")
        await expect(console["runs"].locator("tr")).to_have_count(1)

        async def tab_to(name: str) -> None:
            for _ in range(40):
                await keyboard.press("Tab")
                focused = console.page.locator(":focus")
                # Each place is one that can be seen.
                assert await focused.evaluate(
                    "node => parseFloat(getComputedStyle(node).outlineWidth) >= 2"
                ), await focused.evaluate("node => node.outerHTML.slice(0, 200)")
                label = await focused.evaluate("node => node.ariaLabel || node.textContent")
                if label == name:
                    return
            raise AssertionError(f"no way to {name}")

        await tab_to("Lag")
        await keyboard.press("Enter")
        heads = console.page.locator(".runs th[aria-sort=descending]")
        await expect(heads).to_have_text(["Lag"])
        await tab_to(f"Watch run {run_id}")
        await keyboard.press("Enter")
        await expect(console["watch-title"]).to_be_focused()
        await expect(console["watch-count"]).to_have_text("1 event")
        await tab_to("Its viewers")
        await keyboard.press("Space")
        await expect(console["viewers-title"]).to_be_focused()
        await expect(console["filter-run"]).to_have_value(run_id)
        await keyboard.press("Escape")
        await expect(console["watch"]).to_be_hidden()
        await expect(console.button(f"Watch run {run_id}").first).to_be_focused()
        await keyboard.press("Shift+Tab")
        await keyboard.press("Home")
        await console.page.locator(".skip").focus()
        await keyboard.press("Enter")
        await tab_to("Table of viewers")
        await keyboard.press("Tab")
        assert console.problems == []


async def test_it_can_be_used_by_those_who_see_little_or_nothing(
    browser: Browser, guarded: Edge, client: Redis, run_id: str
) -> None:
    """By axe's rules, contrast among them; and at 320 px, which is 1,280 px at 400 %."""
    await append(client, run_id)
    async with (
        viewer_of(guarded, run_id, "other"),
        opened_console(browser, guarded.url, reduced_motion="reduce") as console,
    ):
        await console["key"].fill("no-such-key")
        await console["key"].press("Enter")
        await expect(console["key-problem"]).not_to_be_empty()
        assert await violations(console) == []
        await console.sign_in(KeysFile.key("admin"))
        await console.row("runs", run_id).get_by_role("button").click()
        await expect(console["watch-phase"]).to_have_text("live")
        assert await violations(console) == []
        # One of several processes hangs.
        await console.button("Pause").click()
        await console.page.evaluate("() => showProcesses({ processes: [], silent: [2] })")
        await expect(console["processes"]).to_contain_text("2 does not answer")
        await console.page.evaluate(
            "() => document.querySelector('#viewers tr').classList.add('slow')"
        )
        await console.page.emulate_media(color_scheme="dark")
        assert await violations(console) == []
        await console.page.set_viewport_size({"width": 320, "height": 640})
        width = await console.page.evaluate("document.documentElement.scrollWidth")
        assert width == 320
        await console.button("Drain…").click()
        assert await violations(console) == []
        assert console.problems == []


async def _subscribers(edge: Edge, count: int) -> bool:
    async with httpx.AsyncClient(headers=KeysFile.headers("admin")) as http:
        overview = (await http.get(f"{edge.url}/admin/overview")).json()
    return bool(overview["totals"]["subscribers"] == count)
