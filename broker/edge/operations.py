"""`/healthz`, `/readyz`, `/metrics`, `/openapi.json`: for orchestrators, load balancers, Prometheus
and generators of clients."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable
from typing import Final, Protocol

import orjson
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from starlette.requests import Request
from starlette.responses import Response

from broker.edge.auth.gate import (
    Asks,
    EdgeRoute,
    Plain,
    guarded,
    no_run,
    public_route,
)
from broker.edge.auth.guard import Guard
from broker.edge.auth.identity import CredentialKind
from broker.edge.auth.rights import Action
from broker.edge.openapi import openapi_route
from broker.edge.publishing.limits import PublishingLimits
from broker.engine.hub import Hub
from broker.engine.log import LogUnavailable
from broker.wire.request import RequestLimits

__all__ = ["Exposition", "Own", "operations_routes"]

_PING_SECONDS: Final = 1.0


class Exposition(Protocol):
    """Where `/metrics` has its numbers from."""

    async def collect(self) -> Iterable[Metric]:
        """The metrics now."""


class Own:
    """Only those of this process."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    async def collect(self) -> Iterable[Metric]:
        """The metrics now."""
        return self._registry.collect()


def operations_routes(
    hub: Hub,
    ping: Callable[[], Awaitable[None]],
    exposition: Exposition,
    limits: RequestLimits,
    publishing: PublishingLimits | None,
    guard: Guard,
    kinds: Collection[CredentialKind],
    *,
    metrics_public: bool,
    admin: bool,
) -> list[EdgeRoute]:
    """The routes.

    Args:
        hub: whose health it is.
        ping: asks Redis; raises `LogUnavailable`.
        exposition: the metrics to show.
        limits: what the OpenAPI document says may be asked for.
        publishing: what it says may be sent; `None` where nothing is taken.
        guard: who may do what.
        kinds: what it says may prove who asks.
        metrics_public: whether everyone may read the metrics.
        admin: whether the OpenAPI document has an `/admin`.
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
        collected = _Collected(await exposition.collect())
        return Response(encode(collected), headers={"content-type": content_type})

    return [
        public_route("/healthz", healthz, "orchestrators ask without credentials"),
        public_route("/readyz", readyz, "load balancers ask without credentials"),
        public_route("/metrics", metrics, "metrics_public is set")
        if metrics_public
        else guarded(guard, "/metrics", ["GET"], Plain(metrics), Asks(Action.METRICS), no_run),
        openapi_route(limits, publishing, kinds, metrics_public=metrics_public, admin=admin),
    ]


class _Collected(Collector):
    """Metrics that were collected already, as encoders take them."""

    def __init__(self, metrics: Iterable[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        return self._metrics


def _answer(status: int, state: str, detail: str) -> Response:
    return Response(
        orjson.dumps({"status": state, "detail": detail}),
        status,
        headers={"cache-control": "no-store"},
        media_type="application/json",
    )
