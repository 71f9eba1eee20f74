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
from broker.console.page import CONSOLE, console_page
from broker.edge.abandoned import AbandonedRuns
from broker.edge.admin.desk import Desk
from broker.edge.admin.nearby import NearbyGuard, is_loopback
from broker.edge.admin.processes import Alone, Processes
from broker.edge.admin.roster import Roster
from broker.edge.admin.routes import admin_routes
from broker.edge.admission import Admission
from broker.edge.agui_joins import AguiJoins
from broker.edge.auth.gate import EdgeRoute, public_route, require_decisions
from broker.edge.auth.guard import Guard
from broker.edge.auth.identity import Identity
from broker.edge.auth.ticket_endpoint import ticket_route
from broker.edge.browsers import Browsers
from broker.edge.by_method import by_path
from broker.edge.client_address import AddressGroups, behind_proxies
from broker.edge.compression import Compression
from broker.edge.events import EventsParts, EventsPolicy, log_beginning, log_end
from broker.edge.limits import ConnectionLimits
from broker.edge.lost_runs import LeasesOfAll, LostRuns
from broker.edge.mounting import Making, profile_routes
from broker.edge.operations import Exposition, Own, operations_routes
from broker.edge.problems import EXCEPTION_HANDLERS
from broker.edge.publishing.routes import Publishing
from broker.edge.publishing.stats import PublishingStats
from broker.edge.refusals import Refusals
from broker.edge.run_statuses import RunStatusKeeper
from broker.edge.streaming import Streamer
from broker.edge_settings import names
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
    connection_limits: ConnectionLimits
    refusals: Refusals
    """Where the server is to count what it refuses."""


def make_edge(
    settings: Settings,
    redis_url: str,
    pages: Mapping[str, Page] = MappingProxyType({}),
    background: AbstractAsyncContextManager[object] | None = None,
    exposition: Callable[[CollectorRegistry], Exposition] = Own,
    processes: Callable[[Desk], Processes] = Alone,
    worker: int = 1,
    *,
    listens: bool = True,
) -> Edge:
    """An edge over the Redis at `redis_url`. Nothing is opened before the app's lifespan begins.

    Args:
        settings: all bounds, names and intervals.
        redis_url: the settings' own, or that of the embedded server.
        pages: what else is served, to everyone, such as the demo's page; by path.
        background: what else runs while the edge does, such as the demo's agent.
        exposition: makes what `/metrics` shows from what this edge has counted.
        processes: makes who is asked by operators, from who answers for this process.
        worker: which of these it is.
        listens: whether it is the settings' address that is listened on.

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
    traces = None
    if settings.traces:
        # Not before: what it imports is an extra.
        from broker.telemetry.traces import Traces

        traces = Traces(catalogue.run_of)
    log = RedisLog(deployment, catalogue, traced=traces is not None)
    tail = RoutedTail(deployment, settings.tail_settings, catalogue, random.Random())
    on_left: list[Callable[[Subscriber], None]] = []

    def left(subscriber: Subscriber, seconds: float) -> None:
        log_end(subscriber, seconds, worker)
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
        tracing=traces,
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

    def began(subscriber: Subscriber, identity: Identity) -> None:
        log_beginning(subscriber, worker)
        if standing is not None:
            standing.began(subscriber, identity)

    refusals = Refusals()
    proxies = names(settings.trusted_proxies)
    admission = Admission(settings.stream_limits, AddressGroups(proxies), refusals)
    on_left.append(admission.left)
    streamer = Streamer(
        hub,
        Compression(),
        admission,
        detach=settings.detach,
        max_age_seconds=settings.max_age_seconds,
        on_began=began,
    )
    pointers = RedisPointers(deployment)
    agui_joins = AguiJoins(hub)
    parts = EventsParts(hub, streamer, catalogue, pointers, statuses, agui_joins, admission)
    every = [profile.status_seconds for profile in profiles if profile.status_seconds is not None]
    attendants: list[AbstractAsyncContextManager[object]] = [*access.attendants, agui_joins]
    if traces is not None:
        attendants.insert(0, traces)
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
            tracing=None if traces is None else traces.publishing,
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
    usual = next((each.name for each in profiles if not catalogue.prefix(each.name)), "native")
    desk = Desk(worker, hub, Roster(worker, hub, catalogue, usual, time.monotonic))
    all_processes = processes(desk)
    attendants += [desk, all_processes]
    shown = exposition(make_registry(hub, tail, log, writing, refusals))
    kinds = settings.credential_kinds
    admin_guard: Guard | None = None
    if kinds:
        admin_guard = access.guard
    elif listens and is_loopback(settings.host):
        admin_guard = NearbyGuard(access.origins.check)
    admin: list[EdgeRoute] = []
    if admin_guard is not None:
        admin = admin_routes(
            all_processes,
            shown,
            log.ping,
            admin_guard,
            drain_seconds=settings.drain_seconds,
            authentication=bool(kinds),
        )
    tickets = []
    if access.tickets is not None:
        limits, leaving = settings.publishing_limits, lambda: hub.draining
        tickets = [ticket_route(access.tickets, limits, writing, access.guard, leaving)]
    routes = [
        *by_path(
            [
                *profile_routes(profiles, parts, policy, making, access.guard),
                *(publishing.routes() if publishing is not None else ()),
                *tickets,
            ]
        ),
        *operations_routes(
            hub,
            log.ping,
            shown,
            settings.request_limits,
            settings.publishing_limits if settings.publish else None,
            access.guard,
            kinds,
            metrics_public=settings.metrics_public,
            admin=bool(admin),
        ),
        *admin,
        public_route(CONSOLE, console_page(), "the page has no data of its own"),
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
    return Edge(
        Browsers(behind_proxies(app, proxies), access.origins),
        hub,
        routes,
        settings.connection_limits,
        refusals,
    )


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
