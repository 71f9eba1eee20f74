"""What does it cost the server to hand one event to one viewer?

All viewers watch one run, to which events come at a steady rate. The server's CPU time from the
first event until the last has arrived with all, divided by the deliveries, is the cost of one: its
share of the work per event, and its own write. A rate that the slowest can keep up with would
leave the quick ones idle; so CPU time is what is compared, and not what fits.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from itertools import repeat
from typing import Final

from benchmarks.scenarios.producer import Producer
from benchmarks.scenarios.scenario import Measured, Quantity, Scenario
from benchmarks.scenarios.stage import ARRIVAL_SECONDS, OPENING_SECONDS, Stage, losses

__all__ = ["SCENARIO"]

_RUN: Final = "fan-out"
_WARM_UP_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True)
class Parameters:
    """See the module."""

    viewers: int
    events_per_second: int
    data_bytes: int
    seconds: float


async def measure(stage: Stage, parameters: Parameters) -> AsyncIterator[Measured]:
    """Measures it; see the module."""
    viewers = stage.viewers
    rate = parameters.events_per_second
    producer = Producer(stage.running, parameters.data_bytes)
    await producer.begin([_RUN])
    await viewers.open(
        "all", stage.running.requests, [_RUN] * parameters.viewers, within=OPENING_SECONDS
    )
    await producer.warm(viewers, "all", [_RUN])
    await producer.pace(repeat(_RUN), rate, _WARM_UP_SECONDS)
    await viewers.until("all", producer.last(_RUN), ARRIVAL_SECONDS)
    await viewers.reset("all")
    async with stage.window() as window:
        events = await producer.pace(repeat(_RUN), rate, parameters.seconds)
        await viewers.until("all", producer.last(_RUN), ARRIVAL_SECONDS)
    report = await viewers.report("all")
    deliveries = events * parameters.viewers
    yield (
        "",
        {
            "server_us_per_delivery": 1e6 * window.server_cpu_seconds / deliveries,
            "redis_us_per_event": 1e6 * window.redis_cpu_seconds / events,
            "p50_ms": report.latency.percentile(50) / 1e3,
            "p99_ms": report.latency.percentile(99) / 1e3,
            "bytes_per_delivery": report.bytes / deliveries,
            "late_ms": 1e3 * producer.late_seconds,
            **losses(report, deliveries),
            **await window.conditions(),
        },
    )


SCENARIO: Final = Scenario(
    name="fan_out",
    title="Fan-out: one run, many viewers",
    question=(
        "CPU time of the server for one event handed to one viewer, while all viewers watch one "
        "run at a steady rate."
    ),
    measure=measure,
    full=Parameters(viewers=1000, events_per_second=50, data_bytes=200, seconds=8),
    quick=Parameters(viewers=100, events_per_second=50, data_bytes=200, seconds=2),
    quantities=(
        Quantity("server_us_per_delivery", "CPU per delivery", "µs", 2, against_floor=True),
        Quantity("p50_ms", "p50", "ms"),
        Quantity("p99_ms", "p99", "ms"),
        Quantity("bytes_per_delivery", "on the wire", "bytes", 0),
    ),
)
