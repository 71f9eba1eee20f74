"""Do those who attack a server harm the viewers that are there?

Some viewers of a run get events at a steady rate: in quiet; while 2,000 connections send a byte of
a header a second each, and are opened anew when they are closed; and while another program opens
connections as quickly as it can, of which half say nothing, and the rest nothing useful. The three
take turns, several times. The attackers have two addresses of their own, and the lowest priority
(nice 19), since they share their cores with the viewers: it is the server that is attacked.
"""

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import repeat
from pathlib import Path
from typing import Final

from benchmarks.load.viewers import Histogram
from benchmarks.scenarios.producer import Producer
from benchmarks.scenarios.scenario import Measured, Quantity, Scenario
from benchmarks.scenarios.stage import ARRIVAL_SECONDS, OPENING_SECONDS, Stage, losses

__all__ = ["SCENARIO"]

_RUN: Final = "siege"
_QUIET: Final = "quiet"
_PHASES: Final = (_QUIET, "slowloris", "flood")
_BEGINS_SECONDS: Final = 2.0
"""Until an attack is in full swing, or over."""
_ATTACKER_SECONDS: Final = 60
"""For its beginning and its end: it has the lowest priority."""
_CHECKOUT: Final = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class Parameters:
    """See the module."""

    viewers: int
    events_per_second: int
    data_bytes: int
    seconds: float
    """Of each phase, each time."""
    times: int


@dataclass(slots=True)
class _Phase:
    """What was seen in it so far."""

    latency: Histogram = field(default_factory=Histogram)
    seconds: float = 0.0
    server_cpu_seconds: float = 0.0
    attacks: float = 0.0
    attack_seconds: float = 0.0
    lost: float = 0
    doubled: float = 0
    late_seconds: float = 0.0
    conditions: dict[str, float] = field(default_factory=dict)

    def values(self) -> dict[str, float]:
        """For the result."""
        return {
            "p99_ms": self.latency.percentile(99) / 1e3,
            "p50_ms": self.latency.percentile(50) / 1e3,
            "max_ms": self.latency.max / 1e3,
            "server_busy_percent": 100 * self.server_cpu_seconds / self.seconds,
            "connections_per_second": (
                self.attacks / self.attack_seconds if self.attack_seconds else 0.0
            ),
            "late_ms": 1e3 * self.late_seconds,
            "lost": self.lost,
            "doubled": self.doubled,
            **self.conditions,
        }


async def measure(stage: Stage, parameters: Parameters) -> AsyncIterator[Measured]:
    """Measures it; see the module."""
    viewers = stage.viewers
    producer = Producer(stage.running, parameters.data_bytes)
    await producer.begin([_RUN])
    await viewers.open(
        "all", stage.running.requests, [_RUN] * parameters.viewers, within=OPENING_SECONDS
    )
    await producer.warm(viewers, "all", [_RUN])
    phases = {name: _Phase() for name in _PHASES}
    for _ in range(parameters.times):
        for name, phase in phases.items():
            if name == _QUIET:
                await _measure_phase(stage, producer, parameters, phase)
            else:
                async with _attack(stage, name, phase):
                    await _measure_phase(stage, producer, parameters, phase)
    for name, phase in phases.items():
        yield name, phase.values()


async def _measure_phase(
    stage: Stage, producer: Producer, parameters: Parameters, phase: _Phase
) -> None:
    viewers = stage.viewers
    await asyncio.sleep(_BEGINS_SECONDS)
    await viewers.reset("all")
    producer.late_seconds = 0.0
    async with stage.window() as window:
        events = await producer.pace(repeat(_RUN), parameters.events_per_second, parameters.seconds)
        await viewers.until("all", producer.last(_RUN), ARRIVAL_SECONDS)
    report = await viewers.report("all")
    missing = losses(report, events * parameters.viewers)
    phase.latency = phase.latency.merged(report.latency)
    phase.seconds += window.seconds
    phase.server_cpu_seconds += window.server_cpu_seconds
    phase.late_seconds = max(phase.late_seconds, producer.late_seconds)
    phase.lost += missing["lost"]
    phase.doubled += missing["doubled"]
    phase.conditions = await window.conditions()


@asynccontextmanager
async def _attack(stage: Stage, kind: str, phase: _Phase) -> AsyncIterator[None]:
    """Has a program attack while the context lasts."""
    cores = ",".join(map(str, sorted(stage.other_cores)))
    process = await asyncio.create_subprocess_exec(
        *("nice", "-n", "19", "taskset", "--cpu-list", cores),
        *(sys.executable, "-m", "benchmarks.load.attackers", kind),
        str(stage.running.requests.port),
        cwd=_CHECKOUT,
        stdin=PIPE,
        stdout=PIPE,
        start_new_session=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        async with asyncio.timeout(_ATTACKER_SECONDS):
            # It says when it begins.
            await process.stdout.readline()
        yield
        async with asyncio.timeout(_ATTACKER_SECONDS):
            process.stdin.close()
            said = await process.stdout.read()
            await process.wait()
        done = json.loads(said)
        phase.attacks += done["connections"]
        phase.attack_seconds += done["seconds"]
    finally:
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)
            await process.wait()


SCENARIO: Final = Scenario(
    name="siege",
    title="Viewers under attack",
    question=(
        "Latency of the viewers of one run: in quiet, beside 2,000 connections that send a byte a "
        "second, and beside as many new connections as a program can open."
    ),
    measure=measure,
    case_title="attack",
    full=Parameters(viewers=300, events_per_second=50, data_bytes=200, seconds=6, times=3),
    quick=Parameters(viewers=100, events_per_second=50, data_bytes=200, seconds=2, times=1),
    quantities=(
        Quantity("p99_ms", "p99 of the viewers", "ms"),
        Quantity("p50_ms", "p50 of the viewers", "ms"),
        Quantity("server_busy_percent", "server CPU", "%", 0),
        Quantity("connections_per_second", "attacking connections", "/s", 0),
        Quantity("lost", "lost", "", 0),
    ),
    only=frozenset({"runcast", "runcast-limits"}),
)
