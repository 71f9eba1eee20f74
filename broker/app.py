"""The app factory: puts one edge together from its settings."""

import random
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass

from prometheus_client import CollectorRegistry
from starlette.applications import Starlette
from starlette.routing import BaseRoute, Route

from broker.edge.events import EventsEndpoint, EventsPolicy, log_end
from broker.edge.operations import Exposition, Own, operations_routes
from broker.edge.problems import EXCEPTION_HANDLERS
from broker.engine.hub import Hub
from broker.engine.log import LogUnavailable
from broker.engine.stats import Stats
from broker.metrics import make_registry
from broker.redis.deployment import Deployment
from broker.redis.opening import make_deployment
from broker.redis.routed_tail import RoutedTail
from broker.redis.streams import RedisLog
from broker.settings import Settings

__all__ = ["Edge", "make_edge"]


@dataclass(frozen=True, slots=True)
class Edge:
    """One edge: the ASGI app, and the parts that a server needs to end it well."""

    app: Starlette
    hub: Hub


def make_edge(
    settings: Settings,
    redis_url: str,
    routes: Sequence[BaseRoute] = (),
    background: AbstractAsyncContextManager[object] | None = None,
    exposition: Callable[[CollectorRegistry], Exposition] = Own,
) -> Edge:
    """An edge over the Redis at `redis_url`. Nothing is opened before the app's lifespan begins.

    Args:
        settings: all bounds, names and intervals.
        redis_url: the settings' own, or that of the embedded server.
        routes: what else is served, such as the demo's page.
        background: what else runs while the edge does, such as the demo's agent.
        exposition: makes what `/metrics` shows from what this edge has counted.
    """
    deployment = make_deployment(
        redis_url,
        connections=settings.redis_connections,
        timeout_seconds=settings.redis_timeout_seconds,
    )
    log = RedisLog(deployment, settings.keys, settings.events)
    tail = RoutedTail(deployment, settings.tail_settings, settings.keys, random.Random())
    hub = Hub(
        log,
        tail,
        settings.limits,
        Stats(),
        clock=time.monotonic,
        wall_ms=lambda: time.time() * 1000,
        random_source=random.Random(),
        on_left=log_end,
    )
    deployment.on_failover = lambda server: hub.failed_over(
        lambda run_id: deployment.server_of(settings.keys.key(run_id)) is server
    )
    policy = EventsPolicy(
        reject_missing=settings.missing_run == "reject",
        end_expired=settings.expired_run == "end",
        limits=settings.request_limits,
        detach=settings.detach,
    )
    app = Starlette(
        routes=[
            Route("/v1/runs/{run_id}/events", EventsEndpoint(hub, policy), methods=["GET"]),
            *operations_routes(
                hub,
                log.ping,
                exposition(make_registry(hub, tail, log)),
                settings.request_limits,
            ),
            *routes,
        ],
        exception_handlers=dict(EXCEPTION_HANDLERS),
        lifespan=lambda app: _lifespan(deployment, log, hub, tail, background),
    )
    # A redirect would lead to wherever the request's Host header says.
    app.router.redirect_slashes = False
    return Edge(app, hub)


@asynccontextmanager
async def _lifespan(
    deployment: Deployment,
    log: RedisLog,
    hub: Hub,
    tail: RoutedTail,
    background: AbstractAsyncContextManager[object] | None,
) -> AsyncIterator[None]:
    """Opened in this order; closed in the reverse one: background, streams, tail, Redis."""
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(deployment)
        with suppress(LogUnavailable):
            # Not a reason not to start, since it may come; but the log says so now.
            await log.ping()
        await stack.enter_async_context(tail)
        await stack.enter_async_context(hub)
        if background is not None:
            await stack.enter_async_context(background)
        yield
