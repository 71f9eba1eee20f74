"""The demo's page and the facts that it shows, with headers that keep strangers' data harmless."""

from collections.abc import Awaitable, Callable
from importlib import resources
from typing import Final

import orjson
from starlette.requests import Request
from starlette.responses import Response

from broker import __version__
from broker.demo.agent import INDEX_RUN
from broker.inline_page import content_security_policy
from broker.redis.streams import KeyTemplate
from broker.wire.event import EventFormat
from broker.wire.ids import RunId

__all__ = ["demo_pages"]

_COMMON_HEADERS: Final = {
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
}


Page = Callable[[Request], Awaitable[Response]]


def demo_pages(
    *, redis_url: str, embedded: bool, keys: KeyTemplate, events: EventFormat
) -> dict[str, Page]:
    """The page at `/`, and its facts at `/demo.json`.

    Args:
        redis_url: where visitors may add events of their own. It is shown to them, so it must
            have no password.
        embedded: whether that is the embedded server, which is reached without one.
        keys: how keys are made.
        events: the names of an entry's fields.
    """
    page = resources.files("broker.demo").joinpath("index.html").read_text("utf-8")
    page_headers = {
        **_COMMON_HEADERS,
        "content-security-policy": content_security_policy(page),
        "referrer-policy": "no-referrer",
    }
    facts = orjson.dumps(
        {
            "version": __version__,
            "index_run": INDEX_RUN,
            "redis_url": redis_url,
            "embedded": embedded,
            # The page puts the run's id in; the template's own escapes are resolved here.
            "key": keys.key(RunId("{run_id}")),
            "type_field": events.type_field,
            "data_field": events.data_field,
        }
    )

    async def show_page(request: Request) -> Response:
        return Response(page, headers=page_headers, media_type="text/html")

    async def show_facts(request: Request) -> Response:
        return Response(facts, headers=_COMMON_HEADERS, media_type="application/json")

    return {"/": show_page, "/demo.json": show_facts}
