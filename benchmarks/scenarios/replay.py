"""How quickly does a long run reach viewers that come late, all at once?

A run is published whole; then viewers come at once and are sent its history. Timed from the first
connect until all have the last event; throughput counts bytes as they come over the wire.
"""

import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from itertools import repeat
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
from benchmarks.systems.system import Ability

__all__ = ["SCENARIO"]

_RUN: Final = "replay"


@dataclass(frozen=True, slots=True)
class Parameters:
    """See the module."""

    viewers: int
    events: int
    data_bytes: int


async def measure(stage: Stage, parameters: Parameters) -> AsyncIterator[Measured]:
    """Measures it; see the module."""
    viewers = stage.viewers
    producer = Producer(stage.running, parameters.data_bytes)
    await producer.publish(repeat(_RUN, parameters.events))
    async with stage.window() as window:
        began = time.monotonic()
        await viewers.open(
            "all",
            stage.running.requests,
            [_RUN] * parameters.viewers,
            at_once=parameters.viewers,
            within=OPENING_SECONDS,
        )
        await viewers.until("all", producer.last(_RUN), ARRIVAL_SECONDS)
    report = await viewers.report("all")
    seconds = all_had_all_at(report) - began
    deliveries = parameters.viewers * parameters.events
    yield (
        "",
        {
            "mb_per_second": report.bytes / 1e6 / seconds,
            "replayed_s": seconds,
            "server_us_per_delivery": 1e6 * window.server_cpu_seconds / deliveries,
            "redis_cpu_s": window.redis_cpu_seconds,
            "bytes_per_delivery": report.bytes / deliveries,
            **losses(report, deliveries),
            **await window.conditions(),
        },
    )


SCENARIO: Final = Scenario(
    name="replay",
    title="Replay of a long run",
    question=(
        "Bytes per second, as they come over the wire, of a long run's history sent to viewers "
        "that come at once."
    ),
    measure=measure,
    full=Parameters(viewers=100, events=10_000, data_bytes=200),
    quick=Parameters(viewers=20, events=5000, data_bytes=200),
    quantities=(
        Quantity("mb_per_second", "throughput", "MB/s", 0, more_is_better=True),
        Quantity("replayed_s", "all have all", "s", 2),
        Quantity("server_us_per_delivery", "CPU per delivery", "µs", 2),
        Quantity("redis_cpu_s", "Redis CPU", "s", 2),
    ),
    needs=frozenset({Ability.REPLAY}),
)
