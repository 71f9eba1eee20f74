"""What the demo serves beside the runs: a page under a strict policy, and its facts."""

import base64
import hashlib
import re
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Route

from broker.demo.page import demo_pages
from broker.inline_page import content_security_policy
from broker.redis.streams import KeyTemplate
from broker.wire.event import EventFormat


async def get(path: str, template: str = "run:{run_id}", **fields: Any) -> httpx.Response:
    pages = demo_pages(
        redis_url="redis://127.0.0.1:6379/0",
        embedded=True,
        keys=KeyTemplate(template),
        events=EventFormat(**fields),
    )
    transport = httpx.ASGITransport(
        Starlette(routes=[Route(path, page) for path, page in pages.items()])
    )
    async with httpx.AsyncClient(transport=transport, base_url="http://demo") as client:
        return await client.get(path)


async def test_only_the_pages_own_script_and_style_may_run() -> None:
    answer = await get("/")
    policy = dict(
        part.split(" ", 1) for part in answer.headers["content-security-policy"].split("; ")
    )
    assert policy["default-src"] == "'none'"
    assert policy["connect-src"] == "'self'"
    assert "unsafe" not in answer.headers["content-security-policy"]
    for element, directive in (("script", "script-src"), ("style", "style-src")):
        contents = re.findall(rf"<{element}>(.*?)</{element}>", answer.text, re.DOTALL)
        assert len(contents) == 1
        digest = base64.b64encode(hashlib.sha256(contents[0].encode()).digest()).decode()
        assert policy[directive] == f"'sha256-{digest}'"


def test_another_script_has_another_hash() -> None:
    one, other = (f"<style></style><script>{text}</script>" for text in ("a()", "b()"))
    assert content_security_policy(one) != content_security_policy(other)


@pytest.mark.parametrize("path", ["/", "/demo.json"])
async def test_nothing_is_stored_and_no_type_is_guessed(path: str) -> None:
    headers = (await get(path)).headers
    assert headers["cache-control"] == "no-store"
    assert headers["x-content-type-options"] == "nosniff"


async def test_the_page_is_whole_without_another_host() -> None:
    page = (await get("/")).text
    assert set(re.findall(r"https?://[\w.]+", page)) == {"http://www.w3.org"}


@pytest.mark.parametrize(
    ("template", "key"),
    [("run:{run_id}", "run:{run_id}"), ("{{runs}}:{run_id}:log", "{runs}:{run_id}:log")],
)
async def test_the_page_is_told_how_to_add_events(template: str, key: str) -> None:
    answer = await get("/demo.json", template, type_field="kind", data_field="body")
    facts = answer.json()
    assert facts["key"] == key
    assert (facts["type_field"], facts["data_field"]) == ("kind", "body")
    assert facts["index_run"] == "demo-runs"
