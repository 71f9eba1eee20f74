"""One question each. `SCENARIOS` is all of them, in the order of the report."""

from typing import Any, Final

from benchmarks.scenarios import (
    auth,
    burst,
    fan_out,
    idle_memory,
    latency,
    many_runs,
    neighbours,
    replay,
    siege,
    slow_viewers,
    storm,
    tokens,
)
from benchmarks.scenarios.scenario import Scenario

__all__ = ["SCENARIOS"]

SCENARIOS: Final[tuple[Scenario[Any], ...]] = (
    fan_out.SCENARIO,
    burst.SCENARIO,
    latency.SCENARIO,
    tokens.SCENARIO,
    many_runs.SCENARIO,
    idle_memory.SCENARIO,
    storm.SCENARIO,
    slow_viewers.SCENARIO,
    replay.SCENARIO,
    neighbours.SCENARIO,
    siege.SCENARIO,
    auth.SCENARIO,
)
