"""The console's page: one file under a strict policy, the same for everyone."""

import base64
import hashlib
import re

import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Route

from broker.console.page import CONSOLE, console_page


async def get() -> httpx.Response:
    transport = httpx.ASGITransport(Starlette(routes=[Route(CONSOLE, console_page())]))
    async with httpx.AsyncClient(transport=transport, base_url="http://edge") as client:
        return await client.get(CONSOLE)


async def test_only_the_pages_own_script_and_style_may_run() -> None:
    answer = await get()
    policy = dict(
        part.split(" ", 1) for part in answer.headers["content-security-policy"].split("; ")
    )
    assert policy["default-src"] == policy["form-action"] == policy["frame-ancestors"] == "'none'"
    assert policy["connect-src"] == "'self'"
    assert policy["require-trusted-types-for"] == "'script'"
    assert policy["trusted-types"] == "'none'"
    assert "unsafe" not in answer.headers["content-security-policy"]
    for element, directive in (("script", "script-src"), ("style", "style-src")):
        contents = re.findall(rf"<{element}>(.*?)</{element}>", answer.text, re.DOTALL)
        assert len(contents) == 1
        digest = base64.b64encode(hashlib.sha256(contents[0].encode()).digest()).decode()
        assert policy[directive] == f"'sha256-{digest}'"


async def test_it_is_kept_nowhere_and_tells_nobody_where_it_was() -> None:
    headers = (await get()).headers
    assert headers["cache-control"] == "no-store"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["content-type"].startswith("text/html")


async def test_the_page_is_whole_without_another_host() -> None:
    page = (await get()).text
    assert set(re.findall(r"https?://[\w.]+", page)) == {"http://www.w3.org"}
    assert re.findall(r"<(?:link|script|img|iframe)\b[^>]*(?:src|href)=\"(?!data:)", page) == []


@pytest.mark.parametrize("way", ["innerHTML", "outerHTML", "insertAdjacentHTML", "eval(", "style="])
async def test_nothing_becomes_markup(way: str) -> None:
    """The policy refuses it as well: then the console would not show what it should."""
    assert way not in (await get()).text


async def test_what_it_refers_to_is_there_once() -> None:
    page = (await get()).text
    ids = re.findall(r"\bid=\"([\w-]+)\"", page)
    assert len(ids) == len(set(ids))
    referred = re.findall(r"byId\(\"([\w-]+)\"\)", page)
    referred += re.findall(r"(?:for|aria-labelledby|aria-describedby)=\"([\w-]+)\"", page)
    assert set(referred) <= set(ids)
