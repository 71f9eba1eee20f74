"""All that a scenario measures with: the system, its load, its Redis, and windows of time."""

import time
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from benchmarks.load.viewers import Report, Viewers
from benchmarks.processes import CoreTimes, cpu_between, cpu_by_process, memory_bytes
from benchmarks.redis_server import RedisServer
from benchmarks.systems.system import Running, Store

__all__ = ["ARRIVAL_SECONDS", "OPENING_SECONDS", "Stage", "Window", "all_had_all_at", "losses"]

ARRIVAL_SECONDS = 60.0
"""The longest wait for published events to have arrived with all; a system that needs longer has
failed."""
OPENING_SECONDS = 120.0
"""The longest wait for all viewers to have their response's head."""


@dataclass(frozen=True, slots=True)
class Stage:
    """What is there while a scenario measures one system."""

    running: Running
    store: Store
    viewers: Viewers
    redis: RedisServer
    other_cores: frozenset[int]
    """Where all but the system runs."""

    def memory_bytes(self) -> int:
        """The system's memory now."""
        return memory_bytes(self.running.pids)

    def window(self) -> "Window":
        """A measurement of CPU time from now to its end."""
        return Window(self)


@dataclass(slots=True)
class Window:
    """CPU time and busy shares between entering and leaving it."""

    stage: Stage
    seconds: float = field(init=False)
    server_cpu_seconds: float = field(init=False)
    redis_cpu_seconds: float = field(init=False)
    load_busy: float = field(init=False)
    """The load program's share of one core."""
    others_busy: float = field(init=False)
    """Share of all cores but the server's that was in use: near 1, these were measured instead."""
    _began: float = field(init=False)
    _server: dict[int, float] = field(init=False)
    _redis: dict[int, float] = field(init=False)
    _load_cpu: float = field(init=False)
    _cores: CoreTimes = field(init=False)

    async def __aenter__(self) -> Self:
        self._load_cpu = (await self.stage.viewers.own_cost()).cpu_seconds
        self._cores = CoreTimes.read(self.stage.other_cores)
        self._redis = cpu_by_process([self.stage.redis.pid])
        self._server = cpu_by_process(self.stage.running.pids)
        self._began = time.monotonic()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is not None:
            return
        self.seconds = time.monotonic() - self._began
        self.server_cpu_seconds = cpu_between(self._server, cpu_by_process(self.stage.running.pids))
        self.redis_cpu_seconds = cpu_between(self._redis, cpu_by_process([self.stage.redis.pid]))
        self.others_busy = CoreTimes.read(self.stage.other_cores).busy_share_since(self._cores)
        load_cpu = (await self.stage.viewers.own_cost()).cpu_seconds
        self.load_busy = (load_cpu - self._load_cpu) / self.seconds

    async def conditions(self) -> dict[str, float]:
        """How fair the measurement was: what the load itself took, for the result file."""
        turns = (await self.stage.viewers.own_cost()).turns
        return {
            "window_s": self.seconds,
            "load_busy_percent": 100 * self.load_busy,
            "others_busy_percent": 100 * self.others_busy,
            "load_turn_p50_us": turns.percentile(50),
            "load_turn_p99_us": turns.percentile(99),
            "load_turn_max_us": turns.max,
        }


def losses(report: Report, expected: int) -> dict[str, float]:
    """Events that have not arrived, and those that have arrived twice, of all viewers."""
    return {"lost": expected - (report.events - report.doubled), "doubled": report.doubled}


def all_had_all_at(report: Report) -> float:
    """When the last viewer had the event that was waited for with `Viewers.until`."""
    assert report.reached_at is not None, "nothing was waited for"
    return report.reached_at
