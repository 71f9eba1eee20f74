"""The pictures in `docs/console.md`: `python -m tests.screenshots`, which takes some four minutes.

A real edge with two workers over a real Redis, producers whose pace comes and goes, and some
hundred viewers, a few of whom take too little. The console is looked at in light and dark.
"""

import argparse
import asyncio
import json
import math
import random
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, Literal

from playwright.async_api import Browser, expect
from redis.asyncio import Redis

from tests.support.console import CHROMIUM, opened_console, running_chromium
from tests.support.edges import Edge
from tests.support.keys_file import KeysFile
from tests.support.producer import append
from tests.support.servers import available_kinds, redis_of_kind
from tests.support.viewer import Viewer, together, watch

_IMAGES: Final = Path(__file__).parent.parent / "docs" / "images"
_WATCHED: Final = "support-4711"
_SUBJECTS: Final = ("anna@example.com", "ben@example.com", "dashboard", "carla@example.org")
_TEXT: Final = (
    "The nightly backup took four hours instead of forty minutes because one node checked every "
    "snapshot at once and the disks had nothing left for anything else"
)
_SIZE: Final = {"width": 1440, "height": 1000}


@dataclass(frozen=True, slots=True)
class _Load:
    """A run, and how much goes on in it."""

    run_id: str
    per_second: float
    viewers: int


_LOADS: Final = (
    _Load(_WATCHED, 9, 64),
    _Load("checkout-7f3a", 14, 41),
    _Load("review-pr-1182", 6, 28),
    _Load("invoices-march", 11, 22),
    _Load("research-solid-state", 4, 17),
    _Load("nightly-report", 2, 12),
    _Load("migration-eu-west", 8, 9),
    _Load("contacts-merge", 3, 7),
    _Load("translate-manual", 5, 3),
)


async def _produce(client: Redis, load: _Load) -> None:
    """Tokens, and now and then a tool; faster and slower by turns."""
    number, phase, words = 0, random.uniform(0, math.tau), _TEXT.split()
    while True:
        pace = load.per_second * (1 + 0.6 * math.sin(time.monotonic() / 19 + phase))
        await asyncio.sleep(random.expovariate(max(pace, 0.5)))
        number += 1
        if number % 17 == 0:
            data = {"call": number, "tool": "search_runbook", "arguments": {"query": "backup"}}
            await append(client, load.run_id, json.dumps(data), "tool_call")
        else:
            data = {"n": number, "text": f"{words[number % len(words)]} "}
            await append(client, load.run_id, json.dumps(data), "token")


async def _come_and_go(edge: Edge) -> None:
    """Some more viewers, who do not stay."""
    while True:
        runs = random.choices(_LOADS, k=random.randint(4, 30))
        async with together(_viewer(edge, load.run_id) for load in runs):
            await asyncio.sleep(random.uniform(8, 25))


async def _fall_behind(client: Redis, edge: Edge) -> None:
    """Some who take nothing. A connection that takes nothing is given up after a minute, so there
    are others before that."""
    while True:
        slow = {load.run_id: _viewer(edge, load.run_id, reading=False) for load in _LOADS[5:8]}
        async with together(slow.values()):
            for run_id in slow:
                for _ in range(60):
                    await append(client, run_id, json.dumps({"text": "x" * 90_000}), "attachment")
            await asyncio.sleep(45)


def _viewer(edge: Edge, run_id: str, *, reading: bool = True) -> Viewer:
    headers = KeysFile.headers(random.choice(_SUBJECTS))
    url = edge.events_url(run_id, "from=latest")
    return watch(url, headers=headers, reading=reading)


async def _look(
    browser: Browser, edge: Edge, scheme: Literal["dark", "light"], seconds: float
) -> None:
    suffix = "" if scheme == "light" else "-dark"
    async with opened_console(
        browser, edge.url, scheme=scheme, viewport=_SIZE, reduced_motion="reduce"
    ) as console:
        await expect(console["key"]).to_be_focused()
        await console.sign_in(KeysFile.key("admin"))
        await asyncio.sleep(seconds)
        # Nothing is pointed at.
        await console.page.mouse.move(2, 2)
        await console.page.screenshot(path=_IMAGES / f"console{suffix}.png", full_page=True)
        await console.row("runs", _WATCHED).get_by_role("button").click()
        await expect(console["watch-phase"]).to_have_text("live")
        await console.page.mouse.move(2, 2)
        await asyncio.sleep(6)
        await console.page.screenshot(path=_IMAGES / f"console-run{suffix}.png")
        assert console.problems == [], console.problems


async def _take(edge: Edge, redis_url: str, seconds: float) -> None:
    readers = [_viewer(edge, load.run_id) for load in _LOADS for _ in range(load.viewers)]
    async with AsyncExitStack() as stack:
        browser = await stack.enter_async_context(running_chromium())
        client = await stack.enter_async_context(Redis.from_url(redis_url))
        await stack.enter_async_context(together(readers))
        work = [_produce(client, load) for load in _LOADS]
        work += [_come_and_go(edge), _fall_behind(client, edge)]
        tasks = [asyncio.create_task(each, name="load") for each in work]
        try:
            await asyncio.gather(
                _look(browser, edge, "light", seconds), _look(browser, edge, "dark", seconds)
            )
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


def main() -> None:
    """Takes them."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument(
        "--seconds", type=float, default=200, help="of load before the pictures (default: 200)"
    )
    seconds = arguments.parse_args().seconds
    if CHROMIUM is None:
        raise SystemExit("chromium is not installed: install it, and run this again")
    with TemporaryDirectory() as directory, redis_of_kind(available_kinds()[0]) as redis_url:
        keys = KeysFile(Path(directory) / "keys.toml")
        keys.add("admin", "admin", "watch:*")
        for subject in _SUBJECTS:
            keys.add(subject, "watch:*", subject=subject)
        edge = Edge(
            redis_url,
            api_keys_file=keys.path,
            workers=2,
            stall_timeout_seconds=60,
            heartbeat_seconds=15,
        )
        try:
            asyncio.run(_take(edge, redis_url, seconds))
        finally:
            edge.close()
    print(f"written to {_IMAGES}")


if __name__ == "__main__":
    main()
