"""Chromium takes a compressed stream event by event."""

import json
import shutil
from typing import Any, Final
from uuid import uuid4

import pytest
from playwright.async_api import async_playwright
from redis.asyncio import Redis

from tests.support.edges import Edge
from tests.support.waiting import eventually

_CHROMIUM: Final = shutil.which("chromium")
_OPEN: Final = """
(url) => {
  const source = new EventSource(url);
  for (const type of ["chunk", "done"]) {
    source.addEventListener(type, (event) => saw([type, JSON.parse(event.data)]));
  }
  source.onerror = () => source.close();
}
"""
pytestmark = pytest.mark.skipif(_CHROMIUM is None, reason="chromium is not installed")


async def test_events_arrive_as_they_happen(redis_url: str, client: Redis) -> None:
    agent, run_id = f"agent-{uuid4().hex}", f"t-{uuid4().hex}"
    await client.set(f"agent:{agent}:current", run_id)

    async def tell(index: int, kind: str = "chunk") -> None:
        data = json.dumps({"content": f"token {index}", "index": index})
        await client.xadd(f"run:{run_id}", {"type": kind, "data": data})

    for index in range(50):
        await tell(index)
    seen: list[Any] = []
    edge = Edge(redis_url, profile="native,run-agent")
    try:
        async with async_playwright() as playwright:
            browser = await playwright.chromium.launch(
                executable_path=_CHROMIUM, args=["--no-sandbox", "--disable-gpu"]
            )
            page = await browser.new_page(bypass_csp=True)
            answers: list[str | None] = []
            page.on("response", lambda got: answers.append(got.headers.get("content-encoding")))
            await page.expose_function("saw", lambda event: seen.append(event))
            await page.goto(f"{edge.url}/healthz")
            await page.evaluate(_OPEN, f"{edge.url}/v1/agents/{agent}/stream")
            await eventually(lambda: len(seen) == 50)
            for index in range(50, 60):
                await tell(index)
                await eventually(lambda index=index: len(seen) == index + 1)  # type: ignore[misc]
            await tell(60, "done")
            await eventually(lambda: len(seen) == 61)
            await browser.close()
    finally:
        edge.close()
    assert answers[-1] == "gzip"
    assert [document["index"] for _, document in seen] == list(range(61))
    assert seen[-1][0] == "done"
