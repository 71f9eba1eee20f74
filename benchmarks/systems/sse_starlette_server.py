"""The endpoint that everybody writes: sse-starlette, and an XREAD of its own for each viewer.

Run by uvicorn from `sse_starlette`; the Redis is in the environment.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

from redis.asyncio import Redis
from sse_starlette import EventSourceResponse
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

_BLOCK_MILLISECONDS: Final = 5000
_ANSWER_SECONDS: Final = 60
"""Longer than a read blocks, even where the server is late: or viewers would be cut off."""
_PAGE_EVENTS: Final = 1000
_CONNECTIONS: Final = 20_000
"""A blocked read holds its connection, so each viewer takes one."""


@asynccontextmanager
async def _lifespan(app: Starlette) -> AsyncIterator[None]:
    url = os.environ["BENCHMARK_REDIS_URL"]
    async with Redis.from_url(
        url,
        decode_responses=True,
        max_connections=_CONNECTIONS,
        protocol=2,
        socket_timeout=_ANSWER_SECONDS,
    ) as client:
        app.state.redis = client
        yield


async def _events(request: Request) -> Response:
    client: Redis = request.app.state.redis
    key = f"run:{request.path_params['run']}"
    cursor = request.headers.get("last-event-id", "0-0")

    async def stream() -> AsyncIterator[dict[str, Any]]:
        last = cursor
        while True:
            answer: Any = await client.xread(
                {key: last}, count=_PAGE_EVENTS, block=_BLOCK_MILLISECONDS
            )
            for _, entries in answer:
                for last, fields in entries:
                    yield {"id": last, "event": fields["type"], "data": fields["data"]}

    return EventSourceResponse(stream())


app = Starlette(routes=[Route("/runs/{run}", _events)], lifespan=_lifespan)
"""The application."""
