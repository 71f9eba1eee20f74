"""`/healthz`, `/readyz`, `/metrics`: for orchestrators, load balancers and Prometheus."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import orjson
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from broker.engine.hub import Hub
from broker.engine.log import LogUnavailable

__all__ = ["operations_routes"]

_PING_SECONDS: Final = 1.0


def operations_routes(
    hub: Hub, ping: Callable[[], Awaitable[None]], registry: CollectorRegistry
) -> list[Route]:
    """The routes.

    Args:
        hub: whose health it is.
        ping: asks Redis; raises `LogUnavailable`.
        registry: the metrics to show.
    """

    async def healthz(request: Request) -> Response:
        if hub.healthy:
            return _answer(200, "ok", "The process works.")
        return _answer(500, "broken", "The engine has stopped: restart this process.")

    async def readyz(request: Request) -> Response:
        if hub.draining:
            return _answer(503, "draining", "This process is leaving.")
        try:
            async with asyncio.timeout(_PING_SECONDS):
                await ping()
        except (LogUnavailable, TimeoutError):
            return _answer(503, "redis-unreachable", "Redis does not answer.")
        return _answer(200, "ready", "Redis answers.")

    async def metrics(request: Request) -> Response:
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        return Response(encode(registry), headers={"content-type": content_type})

    return [
        Route("/healthz", healthz),
        Route("/readyz", readyz),
        Route("/metrics", metrics),
    ]


def _answer(status: int, state: str, detail: str) -> Response:
    return Response(
        orjson.dumps({"status": state, "detail": detail}),
        status,
        headers={"cache-control": "no-store"},
        media_type="application/json",
    )
