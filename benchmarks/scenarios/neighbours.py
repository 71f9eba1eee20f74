"""Does a long replay to one viewer delay the others?

Some viewers of a run get events at a steady rate. Their latency is compared to that of the same
viewers while another comes for the whole history of another run, again and again.
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from itertools import count, repeat
from typing import Final

from benchmarks.scenarios.producer import Producer
from benchmarks.scenarios.scenario import Measured, Quantity, Scenario
from benchmarks.scenarios.stage import ARRIVAL_SECONDS, OPENING_SECONDS, Stage, losses
from benchmarks.systems.system import Ability

__all__ = ["SCENARIO"]

_LIVE: Final = "live"
_LONG: Final = "long"


@dataclass(frozen=True, slots=True)
class Parameters:
    """See the module."""

    viewers: int
    events_per_second: int
    history: int
    """Events of the other run."""
    data_bytes: int
    seconds: float


async def measure(stage: Stage, parameters: Parameters) -> AsyncIterator[Measured]:
    """Measures it; see the module."""
    viewers = stage.viewers
    producer = Producer(stage.running, parameters.data_bytes)
    await producer.publish(repeat(_LONG, parameters.history))
    await producer.begin([_LIVE])
    await viewers.open(
        _LIVE, stage.running.requests, [_LIVE] * parameters.viewers, within=OPENING_SECONDS
    )
    await producer.warm(viewers, _LIVE, [_LIVE])
    yield "alone", await _measure_live(stage, producer, parameters)
    replays: list[int] = []
    replaying = asyncio.create_task(
        _replay_again_and_again(stage, producer, replays), name="replays"
    )
    try:
        values = await _measure_live(stage, producer, parameters)
    finally:
        replaying.cancel()
        await asyncio.wait([replaying])
    if not replaying.cancelled():
        replaying.result()
    yield "beside replays", {**values, "replays": len(replays)}


async def _replay_again_and_again(stage: Stage, producer: Producer, replays: list[int]) -> None:
    for number in count():
        group = f"{_LONG}-{number}"
        await stage.viewers.open(group, stage.running.requests, [_LONG], within=OPENING_SECONDS)
        await stage.viewers.until(group, producer.last(_LONG), ARRIVAL_SECONDS)
        await stage.viewers.drop(group)
        replays.append(number)


async def _measure_live(
    stage: Stage, producer: Producer, parameters: Parameters
) -> dict[str, float]:
    viewers = stage.viewers
    await viewers.reset(_LIVE)
    async with stage.window() as window:
        rate = parameters.events_per_second
        events = await producer.pace(repeat(_LIVE), rate, parameters.seconds)
        await viewers.until(_LIVE, producer.last(_LIVE), ARRIVAL_SECONDS)
    report = await viewers.report(_LIVE)
    return {
        "p99_ms": report.latency.percentile(99) / 1e3,
        "p50_ms": report.latency.percentile(50) / 1e3,
        "max_ms": report.latency.max / 1e3,
        "late_ms": 1e3 * producer.late_seconds,
        **losses(report, events * parameters.viewers),
        **await window.conditions(),
    }


SCENARIO: Final = Scenario(
    name="neighbours",
    title="A long replay beside live viewers",
    question=(
        "Latency of the viewers of one run, alone and while another viewer is sent the long "
        "history of another run, again and again."
    ),
    measure=measure,
    case_title="another run",
    full=Parameters(viewers=100, events_per_second=50, history=100_000, data_bytes=200, seconds=4),
    quick=Parameters(viewers=20, events_per_second=50, history=20_000, data_bytes=200, seconds=2),
    quantities=(
        Quantity("p99_ms", "p99 of the live ones", "ms"),
        Quantity("p50_ms", "p50 of the live ones", "ms"),
        Quantity("replays", "replays meanwhile", "", 0, more_is_better=True),
    ),
    needs=frozenset({Ability.REPLAY}),
)
