"""An edge's engine in this process: the parts and the order of `broker.app`, with tiny bounds."""

import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from broker.engine.hub import Hub
from broker.engine.limits import Limits
from broker.engine.stats import Stats
from broker.redis.catalogue import Catalogue, Reading
from broker.redis.opening import make_deployment
from broker.redis.routed_tail import RoutedTail
from broker.redis.streams import KeyTemplate, RedisLog
from broker.redis.tail import Strategy, TailSettings
from broker.wire.event import EventFormat

__all__ = ["KEYS", "LIMITS", "TERMINAL", "Clock", "open_hub"]

TERMINAL = "done"
"""The type of the event that ends a run."""
KEYS = KeyTemplate("model:{run_id}")
LIMITS = Limits(
    window_bytes=1000,
    windows_bytes=1500,
    recent_bytes=2000,
    recent_seconds=5,
    page_events=3,
    page_bytes=400,
    first_page_events=2,
    unsent_bytes=150,
    replay_concurrency=2,
    heartbeat_seconds=0.32,
    # Whoever is slow here stays so for as long as the rules like.
    stall_timeout_seconds=1e6,
    missing_run_timeout_seconds=1e6,
    linger_seconds=5,
    retry_backoff_seconds=0.002,
    retry_backoff_max_seconds=0.02,
)
"""So that a dozen events fill pages, windows and sockets. A small frame is 50 bytes, and 250 in a
window."""
_REDIS_SECONDS = 5.0


class Clock:
    """The machine's time, which a rule may move on."""

    def __init__(self) -> None:
        self._ahead = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self._ahead

    def move(self, seconds: float) -> None:
        self._ahead += seconds


@asynccontextmanager
async def open_hub(url: str, strategy: Strategy, clock: Clock) -> AsyncIterator[Hub]:
    """A hub over that server."""
    deployment = make_deployment(url, connections=2, timeout_seconds=_REDIS_SECONDS)
    log = RedisLog(
        deployment,
        Catalogue(Reading(KEYS, EventFormat(terminal_types=frozenset({TERMINAL})))),
    )
    settings = TailSettings(
        strategy=strategy,
        block_seconds=0.2,
        sweep_seconds=0.04,
        backoff_seconds=0.002,
        backoff_max_seconds=0.02,
    )
    tail = RoutedTail(deployment, settings, KEYS, random.Random(1))
    hub = Hub(
        log,
        tail,
        LIMITS,
        Stats(),
        clock=clock,
        wall_ms=lambda: time.time() * 1000,
        random_source=random.Random(1),
    )
    async with deployment, tail, hub:
        yield hub
