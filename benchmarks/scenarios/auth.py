"""What does it cost to know who each viewer is?

Viewers come, each with a credential that the system has not seen before: the server's CPU time for
one, from its connection to its stream. They come as they do elsewhere, some dozens at a time.
Then events come at a steady rate: nothing of it is lost, and an event costs no more.
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from itertools import repeat
from typing import Final

from benchmarks.scenarios.producer import Producer
from benchmarks.scenarios.scenario import Measured, Quantity, Scenario
from benchmarks.scenarios.stage import ARRIVAL_SECONDS, OPENING_SECONDS, Stage, losses

__all__ = ["SCENARIO"]

_RUN: Final = "auth"
_AT_ONCE: Final = 64
_WARM_VIEWERS: Final = 200


@dataclass(frozen=True, slots=True)
class Parameters:
    """See the module."""

    newcomers: int
    viewers: int
    events_per_second: int
    data_bytes: int
    seconds: float


async def measure(stage: Stage, parameters: Parameters) -> AsyncIterator[Measured]:
    """Measures it; see the module."""
    viewers = stage.viewers
    running = stage.running
    producer = Producer(running, parameters.data_bytes)
    await producer.begin([_RUN])
    known = running.requests_of(0, _RUN)
    await viewers.open("warm", known, [_RUN] * _WARM_VIEWERS, within=OPENING_SECONDS)
    await producer.warm(viewers, "warm", [_RUN])
    # Made before the clock runs.
    newcomers = [running.requests_of(number, _RUN) for number in range(1, parameters.newcomers + 1)]
    slots = asyncio.Semaphore(_AT_ONCE)

    async def come(number: int) -> None:
        async with slots:
            await viewers.open(str(number), newcomers[number], [_RUN], within=OPENING_SECONDS)

    async with stage.window() as window:
        await asyncio.gather(*map(come, range(parameters.newcomers)))
    values = {"accept_us": 1e6 * window.server_cpu_seconds / parameters.newcomers}
    for number in range(parameters.newcomers):
        await viewers.drop(str(number))
    await viewers.drop("warm")
    await viewers.open("all", known, [_RUN] * parameters.viewers, within=OPENING_SECONDS)
    await producer.warm(viewers, "all", [_RUN])
    await viewers.reset("all")
    async with stage.window() as window:
        rate = parameters.events_per_second
        events = await producer.pace(repeat(_RUN), rate, parameters.seconds)
        await viewers.until("all", producer.last(_RUN), ARRIVAL_SECONDS)
    report = await viewers.report("all")
    deliveries = events * parameters.viewers
    yield (
        "",
        {
            **values,
            "server_us_per_delivery": 1e6 * window.server_cpu_seconds / deliveries,
            "p50_ms": report.latency.percentile(50) / 1e3,
            "p99_ms": report.latency.percentile(99) / 1e3,
            "late_ms": 1e3 * producer.late_seconds,
            **losses(report, deliveries),
            **await window.conditions(),
        },
    )


SCENARIO: Final = Scenario(
    name="auth",
    title="Knowing who each viewer is",
    question=(
        "CPU time of the server for one viewer who comes with a credential that it has not seen "
        "before, and then for one event handed to one viewer, whose right may end at any time."
    ),
    measure=measure,
    full=Parameters(newcomers=2000, viewers=1000, events_per_second=50, data_bytes=200, seconds=5),
    quick=Parameters(newcomers=200, viewers=100, events_per_second=50, data_bytes=200, seconds=2),
    quantities=(
        Quantity("accept_us", "CPU per newcomer", "µs", 0),
        Quantity("server_us_per_delivery", "CPU per delivery", "µs", 2),
        Quantity("p99_ms", "p99", "ms"),
        Quantity("lost", "lost", "", 0),
        Quantity("doubled", "doubled", "", 0),
    ),
    only=frozenset({"runcast", "runcast-api-key", "runcast-jwt", "runcast-ticket"}),
)
