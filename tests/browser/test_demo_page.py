"""`runcast demo` as a newcomer meets it: the command, its page, a cut, and the end."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from playwright.async_api import Locator, Page, async_playwright, expect
from redis.asyncio import Redis

_CHROMIUM: Final = shutil.which("chromium")
_ARGUMENTS: Final = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)
_RUN_MILLISECONDS: Final = 60_000
"""More than a run and the pause after it take."""

pytestmark = [
    pytest.mark.skipif(_CHROMIUM is None, reason="chromium is not installed"),
    pytest.mark.timeout(120),
]


class _Demo:
    """A running `runcast demo`."""

    def __init__(self, directory: Path) -> None:
        """Starts it and waits until it says where its page is."""
        self._log = directory / "stderr"
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "broker", "demo", "--port", "0"],
                stdout=subprocess.PIPE,
                stderr=log,
                # Sooner than the three seconds of the default, so that an end is quick.
                env={**os.environ, "RUNCAST_RETRY_SECONDS": "0.5"},
                cwd=directory,
                text=True,
            )
        assert self.process.stdout is not None
        self.greeting: list[str] = []
        for line in self.process.stdout:
            self.greeting.append(line)
            if "Ctrl-C" in line:
                break
        self.url = next(
            (line.split()[1] for line in self.greeting if line.split()[:1] == ["Open"]), ""
        )
        assert self.url, self.complaints

    @property
    def complaints(self) -> str:
        """What it wrote to standard error."""
        return self._log.read_text()

    def close(self) -> None:
        """Ends it if it still runs, with the Valkey that it runs itself."""
        self.process.terminate()
        try:
            self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


class _DemoPage:
    """The page, by the ids of what it shows."""

    def __init__(self, page: Page, demo: _Demo) -> None:
        self.page = page
        self.demo = demo
        self.problems: list[str] = []
        page.on("pageerror", lambda error: self.problems.append(str(error)))
        page.on("console", lambda message: self.problems.append(message.text))

    def __getitem__(self, element_id: str) -> Locator:
        return self.page.locator(f"#{element_id}")

    async def number(self, element_id: str) -> int:
        return int(await self[element_id].inner_text())

    async def run_id(self) -> str:
        return await self["run-id"].inner_text()

    async def reaches(self, phase: str) -> None:
        """Waits until the connection is in this phase."""
        await expect(self.page.locator("body")).to_have_attribute(
            "data-phase", phase, timeout=_RUN_MILLISECONDS
        )

    async def ask(self, query: str) -> dict[str, Any]:
        """The run's events as a page of JSON, past the browser."""
        url = f"{self.demo.url}v1/runs/{await self.run_id()}/events?{query}"
        async with httpx.AsyncClient(headers={"accept": "application/json"}, timeout=30) as client:
            answer: dict[str, Any] = (await client.get(url)).json()
            return answer

    async def assert_whole(self) -> None:
        """The proof holds."""
        assert (await self.number("missing"), await self.number("doubled")) == (0, 0)
        await expect(self["verdict"]).to_have_text("Every event, exactly once")


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[_Demo]:
    demo = _Demo(tmp_path)
    yield demo
    demo.close()


@pytest.fixture
async def shown(demo: _Demo) -> AsyncIterator[_DemoPage]:
    """The page while it shows its first run live."""
    async with async_playwright() as playwright:
        chromium = await playwright.chromium.launch(
            executable_path=_CHROMIUM, args=list(_ARGUMENTS)
        )
        shown = _DemoPage(await chromium.new_page(), demo)
        await shown.page.goto(demo.url)
        await shown.reaches("live")
        yield shown
        await chromium.close()


async def test_a_cut_is_made_good_and_the_run_ends_by_itself(shown: _DemoPage) -> None:
    run_id = await shown.run_id()
    await expect(shown.page.locator(".say .live").first).to_be_visible()
    await shown["main-button"].click()
    await shown.reaches("cut")
    received = await shown.number("received")
    await expect(shown["main-label"]).to_have_text("Reconnect now")
    await expect(shown["countdown"]).not_to_be_empty()

    # Nobody clicks: it comes back when the countdown is over.
    await shown.reaches("live")
    assert await shown.number("reconnects") == 1
    assert await shown.number("replayed") >= 1
    assert await shown.number("received") > received
    await expect(shown.page.locator("#transcript .replayed").first).to_be_visible()
    await expect(shown.page.locator(".mark").last).to_contain_text("replayed in")
    await shown.assert_whole()

    await shown.reaches("ended")
    assert await shown.run_id() == run_id
    await expect(shown["badge"]).to_have_text("Succeeded")
    await expect(shown.page.locator(".finish li.reached")).to_have_count(3)
    await expect(shown["main-button"]).to_have_attribute("aria-disabled", "true")
    await shown.assert_whole()
    received = await shown.number("received")
    assert await shown["last-id"].inner_text() == (await shown.ask("limit=1000"))["next"]

    # It goes on to the next run, and the finished one can be read again.
    await expect(shown["run-id"]).not_to_have_text(run_id, timeout=_RUN_MILLISECONDS)
    await shown.page.locator(f'[data-run="{run_id}"]').press("Enter")
    await shown.reaches("ended")
    assert await shown.run_id() == run_id
    assert await shown.number("received") == received
    await shown.assert_whole()
    await shown["follow"].click()
    await expect(shown["run-id"]).not_to_have_text(run_id)
    await shown.reaches("live")
    assert shown.problems == []
    assert shown.demo.complaints == ""


async def test_reconnecting_by_hand_replays_what_was_missed(shown: _DemoPage) -> None:
    await expect(shown.page.locator(".say .live").first).to_be_visible()
    await shown["main-button"].click()
    await shown.reaches("cut")
    last = await shown["last-id"].inner_text()
    assert (await shown.ask(f"last_event_id={last}&wait=20"))["events"]
    await shown["main-button"].click()
    await shown.reaches("live")
    await expect(shown["replayed"]).not_to_have_text("0")
    await expect(shown["countdown"]).to_be_empty()
    await shown.assert_whole()
    assert shown.problems == []


async def test_the_proof_is_no_decoration(shown: _DemoPage) -> None:
    async with httpx.AsyncClient() as http:
        facts = (await http.get(f"{shown.demo.url}demo.json")).json()
    key = facts["key"].replace("{run_id}", await shown.run_id())

    async with Redis.from_url(facts["redis_url"]) as redis:

        async def add(event_type: str, data: dict[str, Any]) -> None:
            await redis.xadd(key, {"type": event_type, "data": json.dumps(data)})

        await add("note", {"text": "<b>mine</b>"})
        await expect(shown.page.locator(".note")).to_contain_text("<b>mine</b>")
        await shown.assert_whole()
        await add("note", {"n": 1, "text": "a double"})
        await expect(shown["doubled"]).to_have_text("1")
        await add("note", {"n": 900, "text": "a hole"})
        await expect(shown["missing"]).not_to_have_text("0")
    await expect(shown["ledger"]).to_have_class("card pad ledger bad")
    await expect(shown["verdict"]).to_have_text("Not every event exactly once")
    assert shown.problems == []


async def test_the_commands_shown_are_those_of_the_run(shown: _DemoPage) -> None:
    run_id = await shown.run_id()
    url = f"{shown.demo.url}v1/runs/{run_id}/events"
    await expect(shown["commands"]).to_contain_text(f"curl -N {url}")
    await expect(shown["commands"]).to_contain_text("curl -N -H 'Last-Event-ID: ")
    await expect(shown["commands"]).to_contain_text(f"XADD run:{run_id} '*' type note data")
    assert any(line.split()[1:] == ["curl", "-N", url] for line in shown.demo.greeting)


async def test_ctrl_c_ends_it_at_once_although_somebody_watches(shown: _DemoPage) -> None:
    shown.demo.process.send_signal(signal.SIGINT)
    assert shown.demo.process.wait(timeout=3) == 0
    assert shown.demo.complaints == ""
    await shown.reaches("lost")
