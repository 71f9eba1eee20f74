"""The app factory: puts one edge together from its settings."""

import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from types import MappingProxyType

from prometheus_client import CollectorRegistry
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp

from broker.access import make_access
from broker.edge.abandoned import AbandonedRuns
from broker.edge.agui_joins import AguiJoins
from broker.edge.auth.gate import EdgeRoute, public_route, require_decisions
from broker.edge.by_method import by_path
from broker.edge.compression import Compression
from broker.edge.events import EventsParts, EventsPolicy, log_end
from broker.edge.lost_runs import LeasesOfAll, LostRuns
from broker.edge.mounting import Making, profile_routes
from broker.edge.operations import Exposition, Own, operations_routes
from broker.edge.problems import EXCEPTION_HANDLERS
from broker.edge.publishing.routes import Publishing
from broker.edge.publishing.stats import PublishingStats
from broker.edge.run_statuses import RunStatusKeeper
from broker.edge.streaming import Streamer
from broker.engine.hub import Hub
from broker.engine.log import LogUnavailable
from broker.engine.stats import Stats
from broker.engine.subscriber import Subscriber
from broker.metrics import make_registry
from broker.redis.catalogue import Catalogue, Reading
from broker.redis.deployment import Deployment
from broker.redis.opening import make_deployment
from broker.redis.pointers import RedisPointers
from broker.redis.routed_tail import RoutedTail
from broker.redis.statuses import RedisStatuses
from broker.redis.streams import RedisLog
from broker.settings import Settings

__all__ = ["Edge", "Page", "make_edge"]

Page = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Edge:
    """One edge: the ASGI app, and the parts that a server needs to end it well."""

    app: ASGIApp
    hub: Hub
    routes: Sequence[EdgeRoute]
    """All of the app's, with what has been decided about rights for each."""


def make_edge(
    settings: Settings,
    redis_url: str,
    pages: Mapping[str, Page] = MappingProxyType({}),
    background: AbstractAsyncContextManager[object] | None = None,
    exposition: Callable[[CollectorRegistry], Exposition] = Own,
) -> Edge:
    """An edge over the Redis at `redis_url`. Nothing is opened before the app's lifespan begins.

    Args:
        settings: all bounds, names and intervals.
        redis_url: the settings' own, or that of the embedded server.
        pages: what else is served, to everyone, such as the demo's page; by path.
        background: what else runs while the edge does, such as the demo's agent.
        exposition: makes what `/metrics` shows from what this edge has counted.

    Raises:
        SettingsError: a file that the settings name can't be used.
    """
    deployment = make_deployment(
        redis_url,
        connections=settings.redis_connections,
        timeout_seconds=settings.redis_timeout_seconds,
    )
    profiles = settings.profiles
    catalogue = Catalogue(
        Reading(settings.keys, settings.events),
        {profile.name: profile.reading for profile in profiles},
    )
    log = RedisLog(deployment, catalogue)
    tail = RoutedTail(deployment, settings.tail_settings, catalogue, random.Random())
    on_left: list[Callable[[Subscriber], None]] = []

    def left(subscriber: Subscriber, seconds: float) -> None:
        log_end(subscriber, seconds)
        for told in on_left:
            told(subscriber)

    hub = Hub(
        log,
        tail,
        settings.limits,
        Stats(),
        clock=time.monotonic,
        wall_ms=lambda: time.time() * 1000,
        random_source=random.Random(),
        on_left=left,
    )
    deployment.on_failover = lambda server: hub.failed_over(
        lambda run_id: deployment.server_of(catalogue.key(run_id)) is server
    )
    policy = EventsPolicy(
        reject_missing=settings.missing_run == "reject",
        end_expired=settings.expired_run == "end",
        limits=settings.request_limits,
    )
    statuses = RedisStatuses(deployment, catalogue)
    access = make_access(settings, deployment, catalogue)
    standing = access.standing
    if standing is not None:
        on_left.append(standing.left)
    streamer = Streamer(
        hub,
        Compression(),
        detach=settings.detach,
        max_age_seconds=settings.max_age_seconds,
        on_began=_nothing if standing is None else standing.began,
    )
    pointers = RedisPointers(deployment)
    agui_joins = AguiJoins(hub)
    parts = EventsParts(hub, streamer, catalogue, pointers, statuses, agui_joins)
    every = [profile.status_seconds for profile in profiles if profile.status_seconds is not None]
    attendants: list[AbstractAsyncContextManager[object]] = [*access.attendants, agui_joins]
    writing = PublishingStats()
    publishing = None
    if settings.publish:
        publishing = Publishing(
            deployment,
            Reading(settings.keys, settings.events),
            settings.publishing_limits,
            writing,
            requests_key=settings.requests_key,
            queued_timeout_seconds=settings.queued_timeout_seconds,
            guard=access.guard,
            leaving=lambda: hub.draining,
        )
    making = None
    if publishing is not None:
        abandoned = AbandonedRuns(hub, pointers, settings.abandoned_seconds)
        on_left.append(abandoned.left)
        attendants.append(abandoned)
        making = Making(publishing, abandoned)
    if settings.end_lost_runs:
        attendants.append(
            LostRuns(
                hub,
                LeasesOfAll(deployment, catalogue).end_if_lost,
                writing,
                rarely_seconds=settings.lease_look_seconds,
                clock=time.monotonic,
                random_source=random.Random(),
            )
        )
    if every:
        attendants.append(RunStatusKeeper(hub, statuses, min(every) / 2))
    if background is not None:
        attendants.append(background)
    routes = [
        *by_path(
            [
                *profile_routes(profiles, parts, policy, making, access.guard),
                *(publishing.routes() if publishing is not None else ()),
            ]
        ),
        *operations_routes(
            hub,
            log.ping,
            exposition(make_registry(hub, tail, log, writing)),
            settings.request_limits,
            settings.publishing_limits if settings.publish else None,
            access.guard,
            settings.credential_kinds,
            metrics_public=settings.metrics_public,
        ),
        *(public_route(path, page, "it is there to be looked at") for path, page in pages.items()),
    ]
    app = Starlette(
        routes=routes,
        exception_handlers=dict(EXCEPTION_HANDLERS),
        lifespan=lambda app: _lifespan(deployment, log, hub, tail, attendants),
    )
    # A redirect would lead to wherever the request's Host header says.
    app.router.redirect_slashes = False
    require_decisions(app.routes)
    return Edge(app, hub, routes)


def _nothing(*_: object) -> None:
    """Nobody is told."""


@asynccontextmanager
async def _lifespan(
    deployment: Deployment,
    log: RedisLog,
    hub: Hub,
    tail: RoutedTail,
    attendants: Sequence[AbstractAsyncContextManager[object]],
) -> AsyncIterator[None]:
    """Opened in this order; closed in the reverse one: attendants, streams, tail, Redis."""
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(deployment)
        with suppress(LogUnavailable):
            # Not a reason not to start, since it may come; but the log says so now.
            await log.ping()
        await stack.enter_async_context(tail)
        await stack.enter_async_context(hub)
        for attendant in attendants:
            await stack.enter_async_context(attendant)
        yield
