"""How long is an event on its way, by how many watch?

From just before it is published until a viewer has read it, at a steady rate to one run. All on
one machine: no network, so this is what the system adds.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from itertools import repeat
from typing import Final

from benchmarks.scenarios.producer import Producer
from benchmarks.scenarios.scenario import Chart, Measured, Quantity, Scenario
from benchmarks.scenarios.stage import ARRIVAL_SECONDS, OPENING_SECONDS, Stage, losses

__all__ = ["SCENARIO"]

_WARM_UP_SECONDS: Final = 0.5


@dataclass(frozen=True, slots=True)
class Parameters:
    """See the module."""

    viewers: tuple[int, ...]
    events_per_second: int
    data_bytes: int
    seconds: float


async def measure(stage: Stage, parameters: Parameters) -> AsyncIterator[Measured]:
    """Measures it; see the module."""
    for count in parameters.viewers:
        yield str(count), await _measure_with(stage, parameters, count)


async def _measure_with(stage: Stage, parameters: Parameters, count: int) -> dict[str, float]:
    viewers = stage.viewers
    rate = parameters.events_per_second
    run = group = f"latency-{count}"
    producer = Producer(stage.running, parameters.data_bytes)
    await producer.begin([run])
    await viewers.open(group, stage.running.requests, [run] * count, within=OPENING_SECONDS)
    await producer.warm(viewers, group, [run])
    await producer.pace(repeat(run), rate, _WARM_UP_SECONDS)
    await viewers.until(group, producer.last(run), ARRIVAL_SECONDS)
    await viewers.reset(group)
    async with stage.window() as window:
        events = await producer.pace(repeat(run), rate, parameters.seconds)
        await viewers.until(group, producer.last(run), ARRIVAL_SECONDS)
    report = await viewers.report(group)
    await viewers.drop(group)
    return {
        "p50_ms": report.latency.percentile(50) / 1e3,
        "p99_ms": report.latency.percentile(99) / 1e3,
        "p999_ms": report.latency.percentile(99.9) / 1e3,
        "max_ms": report.latency.max / 1e3,
        "server_us_per_delivery": 1e6 * window.server_cpu_seconds / (events * count),
        "late_ms": 1e3 * producer.late_seconds,
        **losses(report, events * count),
        **await window.conditions(),
    }


SCENARIO: Final = Scenario(
    name="latency",
    title="Latency, from publishing to the viewer",
    question=(
        "Time from publishing an event to a viewer having read it, by the number of viewers of "
        "one run at a steady rate, all on one machine."
    ),
    measure=measure,
    full=Parameters(viewers=(1, 10, 100, 1000), events_per_second=50, data_bytes=200, seconds=4),
    quick=Parameters(viewers=(1, 10, 100), events_per_second=50, data_bytes=200, seconds=1),
    quantities=(
        Quantity("p99_ms", "p99", "ms", 2),
        Quantity("p50_ms", "p50", "ms", 2),
        Quantity("p999_ms", "p99.9", "ms", 2),
    ),
    chart=Chart.LINES,
    case_title="viewers",
)
