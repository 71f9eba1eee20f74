"""The app factory: puts one edge together from its settings."""

import random
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass

from prometheus_client import CollectorRegistry
from redis.asyncio import Redis
from starlette.applications import Starlette
from starlette.routing import BaseRoute, Route

from broker.edge.events import EventsEndpoint, EventsPolicy, log_end
from broker.edge.operations import Exposition, Own, operations_routes
from broker.edge.problems import EXCEPTION_HANDLERS
from broker.engine.hub import Hub
from broker.engine.log import LogUnavailable
from broker.engine.stats import Stats
from broker.metrics import make_registry
from broker.redis.auto_tail import make_tail
from broker.redis.connections import CONTROL_CONNECTIONS, connect
from broker.redis.link import Links
from broker.redis.streams import RedisLog
from broker.redis.tail import RedisTail
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
    client = connect(
        redis_url,
        timeout_seconds=settings.redis_timeout_seconds,
        connections=CONTROL_CONNECTIONS,
    )
    links = Links(
        client,
        count=settings.redis_connections,
        timeout_seconds=settings.redis_timeout_seconds,
    )
    log = RedisLog(links, settings.keys, settings.events)
    tail = make_tail(settings.tail_settings(redis_url), settings.keys, client, random.Random())
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
    policy = EventsPolicy(
        reject_missing=settings.missing_run == "reject",
        end_expired=settings.expired_run == "end",
        limits=settings.request_limits,
        detach=settings.detach,
    )
    app = Starlette(
        routes=[
            Route("/v1/runs/{run_id}/events", EventsEndpoint(hub, policy), methods=["GET"]),
            *operations_routes(hub, log.ping, exposition(make_registry(hub, tail, log))),
            *routes,
        ],
        exception_handlers=dict(EXCEPTION_HANDLERS),
        lifespan=lambda app: _lifespan(client, links, log, hub, tail, background),
    )
    return Edge(app, hub)


@asynccontextmanager
async def _lifespan(
    client: Redis,
    links: Links,
    log: RedisLog,
    hub: Hub,
    tail: RedisTail,
    background: AbstractAsyncContextManager[object] | None,
) -> AsyncIterator[None]:
    """Opened in this order; closed in the reverse one: background, streams, tail, Redis."""
    async with AsyncExitStack() as stack:
        stack.push_async_callback(client.aclose)
        stack.push_async_callback(links.aclose)
        with suppress(LogUnavailable):
            # Not a reason not to start, since it may come; but the log says so now.
            await log.ping()
        await stack.enter_async_context(tail)
        await stack.enter_async_context(hub)
        if background is not None:
            await stack.enter_async_context(background)
        yield
