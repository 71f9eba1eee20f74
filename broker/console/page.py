"""The console's page, with headers that keep strangers' data harmless.

The page is the same for everyone and has no data. All that it shows it asks for afterwards, with
what its user proves to have the right `admin` with.
"""

from collections.abc import Awaitable, Callable
from importlib import resources
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from broker.inline_page import content_security_policy

__all__ = ["CONSOLE", "console_page"]

CONSOLE: Final = "/console"
"""Where it is."""


def console_page() -> Callable[[Request], Awaitable[Response]]:
    """What answers with the page."""
    page = resources.files("broker.console").joinpath("index.html").read_text("utf-8")
    headers = {
        "cache-control": "no-store",
        "content-security-policy": content_security_policy(page),
        # A page that opened this one, or that it opens, gets no hold of it.
        "cross-origin-opener-policy": "same-origin",
        "referrer-policy": "no-referrer",
        "x-content-type-options": "nosniff",
    }

    async def show(request: Request) -> Response:
        return Response(page, headers=headers, media_type="text/html")

    return show
