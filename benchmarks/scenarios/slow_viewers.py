"""Do viewers that stop reading harm the others, and what do they cost?

Some viewers of a run stop to read while events go on. The others' latency is compared to that of
the same run before, when all read; and the memory that the server has gained since is divided by
those who stalled. As much is published as the kernel can't buffer by itself (about 3 MB a
connection here): the rest is the server's to keep, to skip, or to cut off.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from itertools import repeat
from typing import Final

from benchmarks.scenarios.producer import Producer
from benchmarks.scenarios.scenario import Measured, Quantity, Scenario
from benchmarks.scenarios.stage import ARRIVAL_SECONDS, OPENING_SECONDS, Stage, losses

__all__ = ["SCENARIO"]

_RUN: Final = "slow"
_RECEIVE_BUFFER: Final = 32 << 10
"""Of those who stall; small, so that little is under way to them."""


@dataclass(frozen=True, slots=True)
class Parameters:
    """See the module."""

    viewers: int
    stalled: int
    """Of these viewers."""
    events_per_second: int
    data_bytes: int
    seconds_before: float
    seconds_stalled: float


async def measure(stage: Stage, parameters: Parameters) -> AsyncIterator[Measured]:
    """Measures it; see the module."""
    viewers = stage.viewers
    requests = stage.running.requests
    producer = Producer(stage.running, parameters.data_bytes)
    reading = [_RUN] * (parameters.viewers - parameters.stalled)
    stalling = [_RUN] * parameters.stalled
    await producer.begin([_RUN])
    await viewers.open("reading", requests, reading, within=OPENING_SECONDS)
    await viewers.open(
        "stalling", requests, stalling, receive_buffer=_RECEIVE_BUFFER, within=OPENING_SECONDS
    )
    await producer.warm(viewers, "reading", [_RUN])
    await producer.warm(viewers, "stalling", [_RUN])
    await viewers.until("reading", producer.last(_RUN), ARRIVAL_SECONDS)
    yield (
        "all read",
        await _measure_others(stage, producer, parameters, parameters.seconds_before),
    )
    await viewers.until("stalling", producer.last(_RUN), ARRIVAL_SECONDS)
    memory = stage.memory_bytes()
    await viewers.stall("stalling")
    values = await _measure_others(stage, producer, parameters, parameters.seconds_stalled)
    gained = stage.memory_bytes() - memory
    yield (
        "some stalled",
        {**values, "kb_per_stalled": gained / 1e3 / parameters.stalled},
    )


async def _measure_others(
    stage: Stage, producer: Producer, parameters: Parameters, seconds: float
) -> dict[str, float]:
    viewers = stage.viewers
    await viewers.reset("reading")
    async with stage.window() as window:
        events = await producer.pace(repeat(_RUN), parameters.events_per_second, seconds)
        await viewers.until("reading", producer.last(_RUN), ARRIVAL_SECONDS)
    report = await viewers.report("reading")
    expected = events * (parameters.viewers - parameters.stalled)
    return {
        "p99_ms": report.latency.percentile(99) / 1e3,
        "p50_ms": report.latency.percentile(50) / 1e3,
        "max_ms": report.latency.max / 1e3,
        "server_us_per_delivery": 1e6 * window.server_cpu_seconds / expected,
        "late_ms": 1e3 * producer.late_seconds,
        **losses(report, expected),
        **await window.conditions(),
    }


SCENARIO: Final = Scenario(
    name="slow_viewers",
    title="Viewers that stop reading",
    question=(
        "Latency of the viewers that read, before and while a tenth of all has stopped reading; "
        "and the server's memory for each that has."
    ),
    measure=measure,
    full=Parameters(
        viewers=1000,
        stalled=100,
        events_per_second=50,
        data_bytes=4000,
        seconds_before=4,
        seconds_stalled=20,
    ),
    quick=Parameters(
        viewers=100,
        stalled=10,
        events_per_second=100,
        data_bytes=8000,
        seconds_before=2,
        seconds_stalled=6,
    ),
    quantities=(
        Quantity("p99_ms", "p99 of the others", "ms"),
        Quantity("p50_ms", "p50 of the others", "ms"),
        Quantity("server_us_per_delivery", "CPU per delivery", "µs", 2),
        Quantity("kb_per_stalled", "memory per stalled", "kB", 0),
    ),
    case_title="viewers",
)
