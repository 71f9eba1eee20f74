"""A browser watches a hundred runs over one connection; of HTTP/1.1 it would want a hundred."""

import asyncio
import shutil
from typing import Any, Final

import pytest
from playwright.async_api import async_playwright
from redis.asyncio import Redis

from tests.proxies.proxy import Proxy
from tests.support.producer import append
from tests.support.waiting import eventually

_CHROMIUM: Final = shutil.which("chromium")
_ARGUMENTS: Final = ("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run")
_STREAMS: Final = 100

_OPEN: Final = """
(urls) => {
  for (const [index, url] of urls.entries()) {
    const source = new EventSource(url);
    source.addEventListener("chunk", (event) => saw([index, event.data]));
    source.onerror = () => saw([index, "error"]);
  }
}
"""

pytestmark = [
    pytest.mark.skipif(_CHROMIUM is None, reason="chromium is not installed"),
    pytest.mark.timeout(120),
]


async def test_a_hundred_streams_share_one_connection(
    proxy: Proxy, client: Redis, run_id: str
) -> None:
    runs = [f"{run_id}-{number}" for number in range(_STREAMS)]
    seen: list[list[Any]] = []
    answers: list[dict[str, Any]] = []

    async def append_to_each(data: str) -> None:
        await asyncio.gather(*(append(client, run, data) for run in runs))
        expected = sorted([index, data] for index in range(_STREAMS))
        await eventually(
            lambda: sorted(each for each in seen if each[1] == data) == expected, within=30
        )

    def answered(event: dict[str, Any]) -> None:
        # Chromium asks for an icon as well, when it likes.
        if "/events" in event["response"]["url"]:
            answers.append(event["response"])

    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=_CHROMIUM, args=list(_ARGUMENTS))
        # The authority is the tests' own; other clients here check it. And the page is the edge's,
        # which may load nothing.
        page = await browser.new_page(ignore_https_errors=True, bypass_csp=True)
        await page.expose_function("saw", lambda each: seen.append(each))
        await page.goto(f"{proxy.url}/healthz")
        network = await page.context.new_cdp_session(page)
        network.on("Network.responseReceived", answered)
        await network.send("Network.enable")
        await page.evaluate(_OPEN, [proxy.events_url(run) for run in runs])
        await eventually(lambda: len(answers) == _STREAMS, within=30)
        await append_to_each("one")
        await append_to_each("two")
        await browser.close()
    assert {answer["protocol"] for answer in answers} == {"h2"}
    assert len({answer["connectionId"] for answer in answers}) == 1
    assert len(seen) == 2 * _STREAMS, "and no error"
