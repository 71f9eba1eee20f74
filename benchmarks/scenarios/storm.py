"""What happens when everybody comes back at once?

All viewers are dropped in one moment, as when a proxy restarts; events go on meanwhile; then all
reconnect with their cursors, as quickly as the system takes them. Timed from the first connect
until all have all that they missed. Reads on Redis are counted: replays that are shared keep
them few.
"""

import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Final

from benchmarks.scenarios.producer import Producer
from benchmarks.scenarios.scenario import Measured, Quantity, Scenario
from benchmarks.scenarios.stage import (
    ARRIVAL_SECONDS,
    OPENING_SECONDS,
    Stage,
    all_had_all_at,
    losses,
)
from benchmarks.systems.system import Ability, Store

__all__ = ["SCENARIO"]

_READS: Final = frozenset(
    {
        *("xread", "xreadgroup", "xrange", "xrevrange"),
        *("lrange", "zrange", "zrangebyscore", "get", "mget", "hget", "hmget", "hgetall"),
    }
)
"""Commands by which one or another system reads a run's events."""
_AT_ONCE: Final = 1024
"""Connections in progress: enough to keep the system busy, fewer than its backlog."""


@dataclass(frozen=True, slots=True)
class Parameters:
    """See the module."""

    viewers: int
    runs: int
    missed_events: int
    """Of each run."""
    data_bytes: int


async def measure(stage: Stage, parameters: Parameters) -> AsyncIterator[Measured]:
    """Measures it; see the module."""
    viewers = stage.viewers
    producer = Producer(stage.running, parameters.data_bytes)
    runs = [f"storm-{number}" for number in range(parameters.runs)]
    watched = [runs[number % parameters.runs] for number in range(parameters.viewers)]
    await producer.begin(runs)
    await viewers.open("all", stage.running.requests, watched, within=OPENING_SECONDS)
    await producer.warm(viewers, "all", runs)
    await viewers.reset("all")
    await viewers.drop("all")
    for _ in range(parameters.missed_events):
        await producer.publish(runs)
    reads_before = _reads(await stage.redis.calls())
    async with stage.window() as window:
        began = time.monotonic()
        await viewers.reopen("all", at_once=_AT_ONCE, within=OPENING_SECONDS)
        connected = time.monotonic()
        await viewers.until("all", producer.last(runs[0]), ARRIVAL_SECONDS)
    reads = _reads(await stage.redis.calls()) - reads_before
    report = await viewers.report("all")
    expected = parameters.viewers * parameters.missed_events
    at_redis = {"redis_reads": float(reads)} if stage.store is Store.REDIS else {}
    yield (
        "",
        {
            "recovered_s": all_had_all_at(report) - began,
            "connected_s": connected - began,
            "server_cpu_s": window.server_cpu_seconds,
            "redis_cpu_s": window.redis_cpu_seconds,
            **at_redis,
            **losses(report, expected),
            **await window.conditions(),
        },
    )


def _reads(calls: Mapping[str, int]) -> int:
    return sum(count for name, count in calls.items() if name in _READS)


SCENARIO: Final = Scenario(
    name="storm",
    title="Storm: all come back at once",
    question=(
        "Time from the first reconnect until all viewers, dropped at once, have what they missed; "
        "and the reads on Redis that it takes."
    ),
    measure=measure,
    full=Parameters(viewers=8000, runs=80, missed_events=100, data_bytes=200),
    quick=Parameters(viewers=500, runs=10, missed_events=100, data_bytes=200),
    quantities=(
        Quantity("recovered_s", "all have all", "s", 2),
        Quantity("connected_s", "all are connected", "s", 2),
        Quantity("server_cpu_s", "server CPU", "s", 2),
        Quantity("redis_reads", "reads on Redis", "", 0),
        Quantity("lost", "lost", "", 0),
        Quantity("doubled", "doubled", "", 0),
    ),
    needs=frozenset({Ability.RESUME}),
)
