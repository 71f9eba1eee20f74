"""The console in Chromium, as an operator has it open."""

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final, Literal
from urllib.parse import urlsplit

from playwright.async_api import Browser, Locator, Page, Request, async_playwright, expect

__all__ = ["CHROMIUM", "Console", "opened_console", "running_chromium"]

CHROMIUM: Final = shutil.which("chromium")
"""Where it is; `None` if it is not installed."""
_ARGUMENTS: Final = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)


class Console:
    """The page, by the ids of what it shows."""

    def __init__(self, page: Page, url: str) -> None:
        """
        Args:
            page: a page of the browser.
            url: of the edge.
        """
        self.page = page
        self.problems: list[str] = []
        """What the page's console says, and requests to others than the edge."""
        self._url = url
        self._host = urlsplit(url).netloc
        page.on("pageerror", lambda error: self.problems.append(str(error)))
        page.on("console", lambda message: self._note(message.text))
        page.on("request", self._look_at)

    def __getitem__(self, element_id: str) -> Locator:
        return self.page.locator(f"#{element_id}")

    def button(self, name: str) -> Locator:
        """A button by its name, as it is read out."""
        return self.page.get_by_role("button", name=name, exact=True)

    def row(self, table: str, text: str) -> Locator:
        """The rows of a table that have a text."""
        return self.page.locator(f"#{table} tr", has_text=text)

    def figure(self, name: str) -> Locator:
        """The value of a tile."""
        tile = self.page.locator("#figures .tile").filter(
            has=self.page.get_by_text(name, exact=True)
        )
        return tile.locator(".value span")

    async def goto(self) -> None:
        """Goes to the page."""
        await self.page.goto(f"{self._url}/console")

    async def sign_in(self, key: str) -> None:
        """Signs in with a key that suffices."""
        await self["key"].fill(key)
        await self.button("Sign in").click()
        await expect(self["board"]).to_be_visible()

    def _note(self, text: str) -> None:
        # What a browser says of each answer that is a refusal, and can't be kept from saying. That
        # of a line that is cut has no status.
        if not text.startswith("Failed to load resource"):
            self.problems.append(text)

    def _look_at(self, request: Request) -> None:
        parts = urlsplit(request.url)
        if parts.scheme != "data" and parts.netloc != self._host:
            self.problems.append(f"asked elsewhere: {request.url}")


@asynccontextmanager
async def running_chromium() -> AsyncIterator[Browser]:
    """A Chromium."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=list(_ARGUMENTS))
        try:
            yield browser
        finally:
            await browser.close()


@asynccontextmanager
async def opened_console(
    browser: Browser,
    url: str,
    *,
    scheme: Literal["dark", "light"] = "light",
    session: str | None = None,
    **options: Any,
) -> AsyncIterator[Console]:
    """The console of the edge at `url`, in a browser that has nothing from before.

    Args:
        browser: the program.
        url: the edge's.
        scheme: the colours that the user likes.
        session: the cookie of that name, which the browser has from before.
        options: further ones of Playwright's browser context.
    """
    context = await browser.new_context(color_scheme=scheme, **options)
    try:
        if session is not None:
            await context.add_cookies([{"name": "session", "value": session, "url": url}])
        console = Console(await context.new_page(), url)
        await console.goto()
        yield console
    finally:
        await context.close()
