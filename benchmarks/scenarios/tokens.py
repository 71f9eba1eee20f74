"""Does it keep up with the tokens of many models at once, as agents write them?

Many runs, a few viewers each, small events at a steady rate per run, spread evenly over time.
Nothing can be batched by waiting: each event is due for a handful of viewers at once.
"""

import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from itertools import cycle
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

__all__ = ["SCENARIO"]


@dataclass(frozen=True, slots=True)
class Parameters:
    """See the module."""

    runs: int
    viewers_per_run: int
    tokens_per_second: int
    """To each run."""
    data_bytes: int
    seconds: float


async def measure(stage: Stage, parameters: Parameters) -> AsyncIterator[Measured]:
    """Measures it; see the module."""
    viewers = stage.viewers
    producer = Producer(stage.running, parameters.data_bytes)
    runs = [f"tokens-{number}" for number in range(parameters.runs)]
    await producer.begin(runs)
    await viewers.open(
        "all", stage.running.requests, runs * parameters.viewers_per_run, within=OPENING_SECONDS
    )
    await producer.warm(viewers, "all", runs)
    await viewers.reset("all")
    rate = parameters.runs * parameters.tokens_per_second
    async with stage.window() as window:
        events = await producer.pace(cycle(runs), rate, parameters.seconds)
        published_at = time.monotonic()
        await viewers.until("all", producer.last(runs[-1]), ARRIVAL_SECONDS)
    report = await viewers.report("all")
    deliveries = events * parameters.viewers_per_run
    yield (
        "",
        {
            "server_us_per_delivery": 1e6 * window.server_cpu_seconds / deliveries,
            "redis_us_per_event": 1e6 * window.redis_cpu_seconds / events,
            "p50_ms": report.latency.percentile(50) / 1e3,
            "p99_ms": report.latency.percentile(99) / 1e3,
            "behind_ms": max(0.0, 1e3 * (all_had_all_at(report) - published_at)),
            "late_ms": 1e3 * producer.late_seconds,
            **losses(report, deliveries),
            **await window.conditions(),
        },
    )


SCENARIO: Final = Scenario(
    name="tokens",
    title="Tokens: many runs, few viewers each",
    question=(
        "CPU time of the server per delivery, and latency, with many runs at the rate of a "
        "model's tokens and a few viewers each; and how far behind the last event is."
    ),
    measure=measure,
    full=Parameters(runs=200, viewers_per_run=5, tokens_per_second=40, data_bytes=60, seconds=8),
    quick=Parameters(runs=50, viewers_per_run=2, tokens_per_second=40, data_bytes=60, seconds=2),
    quantities=(
        Quantity("server_us_per_delivery", "CPU per delivery", "µs", 2, against_floor=True),
        Quantity("p50_ms", "p50", "ms"),
        Quantity("p99_ms", "p99", "ms"),
        Quantity("behind_ms", "behind at the end", "ms"),
    ),
)
