"""How much memory does a viewer take who only waits?

The system's memory (PSS) before any viewer and with all of them, after one event has arrived with
each: what is set up late is then there. Redis' memory is told apart, since some systems open a
connection to it per viewer. The kernel's memory for sockets is not in it: it is the same for all.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final

from benchmarks.processes import memory_bytes
from benchmarks.scenarios.producer import Producer
from benchmarks.scenarios.scenario import Measured, Quantity, Scenario
from benchmarks.scenarios.stage import OPENING_SECONDS, Stage

__all__ = ["SCENARIO"]

_RUN: Final = "idle"


@dataclass(frozen=True, slots=True)
class Parameters:
    """See the module."""

    viewers: int
    data_bytes: int


async def measure(stage: Stage, parameters: Parameters) -> AsyncIterator[Measured]:
    """Measures it; see the module."""
    viewers = stage.viewers
    producer = Producer(stage.running, parameters.data_bytes)
    requests = stage.running.requests
    await producer.begin([_RUN])
    # One viewer first: what the first of all makes the system load is not a viewer's.
    await viewers.open("first", requests, [_RUN], within=OPENING_SECONDS)
    await producer.warm(viewers, "first", [_RUN])
    empty = stage.memory_bytes()
    redis_empty = memory_bytes([stage.redis.pid])
    async with stage.window() as window:
        await viewers.open("all", requests, [_RUN] * parameters.viewers, within=OPENING_SECONDS)
    await producer.warm(viewers, "all", [_RUN])
    with_viewers = stage.memory_bytes()
    redis_with_viewers = memory_bytes([stage.redis.pid])
    yield (
        "",
        {
            "kb_per_viewer": (with_viewers - empty) / 1e3 / parameters.viewers,
            "redis_kb_per_viewer": (redis_with_viewers - redis_empty) / 1e3 / parameters.viewers,
            "empty_mb": empty / 1e6,
            "with_viewers_mb": with_viewers / 1e6,
            "connect_us": 1e6 * window.server_cpu_seconds / parameters.viewers,
            **await window.conditions(),
        },
    )


SCENARIO: Final = Scenario(
    name="idle_memory",
    title="Memory of a quiet viewer",
    question="Memory (PSS) that each viewer adds who watches a run without events.",
    measure=measure,
    full=Parameters(viewers=8000, data_bytes=200),
    quick=Parameters(viewers=500, data_bytes=200),
    quantities=(
        Quantity("kb_per_viewer", "per viewer", "kB"),
        Quantity("redis_kb_per_viewer", "at Redis, per viewer", "kB"),
        Quantity("empty_mb", "without viewers", "MB"),
        Quantity("connect_us", "CPU per connect", "µs", 0),
    ),
)
