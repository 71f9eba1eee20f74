"""How many deliveries does a second of the server's CPU give when events come all at once?

A few hundred events are published in one go to a run that all viewers watch, and again once the
last of them has arrived with all. Unlike at a steady rate, a server can write many events at
once; the measure shows which do.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from itertools import repeat
from typing import Final

from benchmarks.scenarios.producer import Producer
from benchmarks.scenarios.scenario import Measured, Quantity, Scenario
from benchmarks.scenarios.stage import ARRIVAL_SECONDS, OPENING_SECONDS, Stage, losses

__all__ = ["SCENARIO"]

_RUN: Final = "burst"


@dataclass(frozen=True, slots=True)
class Parameters:
    """See the module."""

    viewers: int
    events: int
    bursts: int
    data_bytes: int


async def measure(stage: Stage, parameters: Parameters) -> AsyncIterator[Measured]:
    """Measures it; see the module."""
    viewers = stage.viewers
    producer = Producer(stage.running, parameters.data_bytes)
    await producer.begin([_RUN])
    await viewers.open(
        "all", stage.running.requests, [_RUN] * parameters.viewers, within=OPENING_SECONDS
    )
    await producer.warm(viewers, "all", [_RUN])
    await viewers.reset("all")
    async with stage.window() as window:
        for _ in range(parameters.bursts):
            await producer.publish(repeat(_RUN, parameters.events))
            await viewers.until("all", producer.last(_RUN), ARRIVAL_SECONDS)
    report = await viewers.report("all")
    deliveries = parameters.viewers * parameters.events * parameters.bursts
    yield (
        "",
        {
            "deliveries_per_cpu_second": deliveries / window.server_cpu_seconds,
            "server_us_per_delivery": 1e6 * window.server_cpu_seconds / deliveries,
            "seconds_per_burst": window.seconds / parameters.bursts,
            "p99_ms": report.latency.percentile(99) / 1e3,
            **losses(report, deliveries),
            **await window.conditions(),
        },
    )


SCENARIO: Final = Scenario(
    name="burst",
    title="Burst: many events at once",
    question=(
        "Deliveries for one second of the server's CPU, where events are published all at once "
        "to one run that all viewers watch."
    ),
    measure=measure,
    full=Parameters(viewers=1000, events=500, bursts=3, data_bytes=200),
    quick=Parameters(viewers=100, events=500, bursts=1, data_bytes=200),
    quantities=(
        Quantity(
            "deliveries_per_cpu_second",
            "deliveries per CPU second",
            "",
            0,
            against_floor=True,
            more_is_better=True,
        ),
        Quantity("server_us_per_delivery", "CPU per delivery", "µs", 2),
        Quantity("seconds_per_burst", "a burst takes", "s", 2),
    ),
)
