"""The four clients, each opened on a run of a system."""

import asyncio
import json
import shutil
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Final

from playwright.async_api import async_playwright

from tests.clients.systems.client import Client, program
from tests.clients.systems.documented import Seen, System
from tests.support.sse import Decoder

__all__ = ["CHROMIUM", "CLIENTS", "NODE_MODULES", "Open"]

NODE_MODULES: Final = Path(__file__).parent.parent / "node" / "node_modules" / "eventsource"
CHROMIUM: Final = shutil.which("chromium")
_ARGUMENTS: Final = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)

_IN_THE_BROWSER: Final = """
([system, url, types]) => {
  if (system === "travelmode") {
    const es = new EventSource(`${url}?since=0`);
    es.onmessage = (e) => {
      saw(e.type, e.data, e.lastEventId);
      const frame = JSON.parse(e.data);
      // frame.type: "connected" | "run_event" | "status" | "run_finished" | "error"
      if (frame.type === "run_finished") { es.close(); stopped(); }
    };
    return;
  }
  const source = new EventSource(url);
  for (const type of types) {
    source.addEventListener(type, (e) => saw(e.type, e.data, e.lastEventId));
  }
  source.addEventListener("error", () => {
    if (source.readyState === EventSource.CLOSED) stopped();
  });
}
"""

Open = Callable[[System, str, str], AbstractAsyncContextManager[Client]]
"""Opens a client: of which system, where the edge is, and on which run."""


class _Seeing:
    """What a client that lives here has seen."""

    def __init__(self) -> None:
        self.seen: list[Seen] = []
        self.stopped = False


@asynccontextmanager
async def _requests(system: System, url: str, run_id: str) -> AsyncIterator[Client]:
    words = (system.name, url + system.path.format(run_id=run_id), json.dumps(system.headers))
    module = "tests.clients.systems.requests_client"
    async with program(sys.executable, "-m", module, *words) as client:
        yield client


@asynccontextmanager
async def _node(system: System, url: str, run_id: str) -> AsyncIterator[Client]:
    words = (system.name, url + system.path.format(run_id=run_id), json.dumps(system.headers))
    directory = NODE_MODULES.parent.parent
    async with program("node", "system.mjs", *words, *system.types, directory=directory) as client:
        yield client


@asynccontextmanager
async def _chromium(system: System, url: str, run_id: str) -> AsyncIterator[Client]:
    seeing = _Seeing()

    def saw(event_type: str, data: str, event_id: str) -> None:
        seeing.seen.append(Seen(event_type, data, event_id))

    def stopped() -> None:
        seeing.stopped = True

    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=list(_ARGUMENTS))
        page = await browser.new_page(bypass_csp=True)
        await page.expose_function("saw", saw)
        await page.expose_function("stopped", stopped)
        # An EventSource can't send headers; a cookie goes by itself.
        await page.goto(f"{url}/healthz")
        path = system.path.format(run_id=run_id)
        await page.evaluate(_IN_THE_BROWSER, [system.name, path, list(system.types)])
        yield seeing
        await browser.close()


@asynccontextmanager
async def _curl(system: System, url: str, run_id: str) -> AsyncIterator[Client]:
    seeing = _Seeing()
    following = asyncio.create_task(_follow(system, url, run_id, seeing), name="curl")
    try:
        yield seeing
    finally:
        following.cancel()
        await asyncio.wait([following])
    if not following.cancelled():
        following.result()


async def _follow(system: System, url: str, run_id: str, seeing: _Seeing) -> None:
    """What somebody does who has nothing but curl: asks again, from the last one seen."""
    headers = [word for pair in system.headers.items() for word in ("-H", ": ".join(pair))]
    while not seeing.stopped:
        address, resume = url + system.path.format(run_id=run_id), []
        events = [seen for seen in seeing.seen if system.is_event(seen)]
        if system.name == "travelmode":
            address += f"?since={system.cursor(events[-1]) if events else 0}"
        elif events:
            resume = ["-H", f"Last-Event-ID: {system.cursor(events[-1])}"]
        curl = await asyncio.create_subprocess_exec(
            *("curl", "-N", "-s", address, *headers, *resume), stdout=asyncio.subprocess.PIPE
        )
        assert curl.stdout is not None
        decoder, last = Decoder(), False
        try:
            while data := await curl.stdout.read(1 << 16):
                for message in decoder.feed(data):
                    seeing.seen.append(Seen(message.type, message.data, message.id))
                    last |= system.is_last(seeing.seen[-1])
        finally:
            if curl.returncode is None:
                curl.kill()
            await curl.communicate()
        seeing.stopped = last
        await asyncio.sleep(0 if last else 0.1)


CLIENTS: Final[dict[str, Open]] = {
    "curl": _curl,
    "requests": _requests,
    "node": _node,
    "chromium": _chromium,
}
