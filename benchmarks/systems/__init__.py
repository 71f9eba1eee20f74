"""All systems that can be measured, each with what installs and starts it."""

from typing import Final

from benchmarks.systems.durable_streams import DurableStreams
from benchmarks.systems.floor import Floor
from benchmarks.systems.nchan import Nchan, NchanRedis
from benchmarks.systems.pushpin import Pushpin
from benchmarks.systems.runcast import Runcast, RuncastBlock
from benchmarks.systems.runcast_guarded import (
    RuncastApiKey,
    RuncastJwt,
    RuncastLimits,
    RuncastTicket,
)
from benchmarks.systems.sse_starlette import SseStarlette
from benchmarks.systems.system import System

__all__ = ["OWN_SYSTEMS", "PEERS"]

OWN_SYSTEMS: Final[tuple[System, ...]] = (
    Runcast(),
    RuncastBlock(),
    RuncastLimits(),
    RuncastApiKey(),
    RuncastJwt(),
    RuncastTicket(),
    Floor(),
)
"""Runcast, and the least that any server has to do: always measured."""

PEERS: Final[tuple[System, ...]] = (
    SseStarlette(),
    Nchan(),
    NchanRedis(),
    Pushpin(),
    DurableStreams(),
)
"""Others, measured beside it."""
