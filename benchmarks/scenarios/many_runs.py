"""What does an event cost Redis and the server, by how many runs are watched?

One viewer per run; events at a steady rate to runs at random. Redis' time includes the XADD (or
whatever publishing is there). A server that waits on many keys at once pays at Redis for each key
and event; so the cost is measured with few and with many runs.
"""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from benchmarks.load.viewers import Report, Viewers
from benchmarks.scenarios.producer import Producer
from benchmarks.scenarios.scenario import Measured, Quantity, Scenario
from benchmarks.scenarios.stage import ARRIVAL_SECONDS, OPENING_SECONDS, Stage, losses
from benchmarks.systems.system import Store

__all__ = ["SCENARIO"]

_SEED: Final = 20
_WARM_UP_SECONDS: Final = 1.0
_POLL_SECONDS: Final = 0.05


@dataclass(frozen=True, slots=True)
class Parameters:
    """See the module."""

    runs: tuple[int, ...]
    events_per_second: tuple[int, ...]
    data_bytes: int
    seconds: float


async def measure(stage: Stage, parameters: Parameters) -> AsyncIterator[Measured]:
    """Measures it; see the module."""
    for count in parameters.runs:
        producer = Producer(stage.running, parameters.data_bytes)
        group = f"of-{count}"
        runs = [f"many-{count}-{number}" for number in range(count)]
        await producer.begin(runs)
        await stage.viewers.open(group, stage.running.requests, runs, within=OPENING_SECONDS)
        await producer.warm(stage.viewers, group, runs)
        for rate in parameters.events_per_second:
            values = await _measure_at(stage, producer, group, runs, rate, parameters.seconds)
            yield f"{count:,} runs, {rate:,}/s", values
        await stage.viewers.drop(group)


async def _measure_at(
    stage: Stage, producer: Producer, group: str, runs: Sequence[str], rate: int, seconds: float
) -> dict[str, float]:
    viewers = stage.viewers
    chosen = _at_random(runs)
    await viewers.reset(group)
    warm = await producer.pace(chosen, rate, _WARM_UP_SECONDS)
    await _until_arrived(viewers, group, warm)
    await viewers.reset(group)
    async with stage.window() as window:
        events = await producer.pace(chosen, rate, seconds)
        report = await _until_arrived(viewers, group, events)
    return {
        "redis_us_per_event": 1e6 * window.redis_cpu_seconds / events,
        "server_us_per_event": 1e6 * window.server_cpu_seconds / events,
        "p50_ms": report.latency.percentile(50) / 1e3,
        "p99_ms": report.latency.percentile(99) / 1e3,
        "late_ms": 1e3 * producer.late_seconds,
        **losses(report, events),
        **await window.conditions(),
    }


def _at_random(runs: Sequence[str]) -> Iterator[str]:
    """The same for every system."""
    choice = random.Random(_SEED).choice
    while True:
        yield choice(runs)


async def _until_arrived(viewers: Viewers, group: str, events: int) -> Report:
    """Runs differ in how many events they have, so these are counted over all.

    Raises:
        TimeoutError: some have not arrived.
    """
    deadline = time.monotonic() + ARRIVAL_SECONDS
    while True:
        report = await viewers.report(group)
        if report.events - report.doubled >= events:
            return report
        if time.monotonic() > deadline:
            raise TimeoutError(
                f"{report.events} of {events} events have arrived after {ARRIVAL_SECONDS:.0f} s"
            )
        await asyncio.sleep(_POLL_SECONDS)


SCENARIO: Final = Scenario(
    name="many_runs",
    title="Many watched runs on Redis",
    question=(
        "CPU time of Redis and of the server per event, publishing included, with one viewer for "
        "each of few or many runs and events to runs at random."
    ),
    measure=measure,
    full=Parameters(runs=(100, 10_000), events_per_second=(1000, 5000), data_bytes=200, seconds=3),
    quick=Parameters(runs=(100, 1000), events_per_second=(1000,), data_bytes=200, seconds=2),
    quantities=(
        Quantity("redis_us_per_event", "Redis CPU per event", "µs"),
        Quantity("server_us_per_event", "server CPU per event", "µs"),
        Quantity("p99_ms", "p99", "ms"),
    ),
    case_title="runs and rate",
    stores=frozenset({Store.REDIS}),
)
