"""One round: a fault under load, then the verdict."""

import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from tests.faults.checker import check
from tests.faults.counterexample import counterexample
from tests.faults.history import Frame, GapSaid, History, Outcome
from tests.faults.kinds import Fault
from tests.faults.stage import Size, Stage

__all__ = ["FULL", "QUICK", "Round", "command_of", "play"]

QUICK: Final = Size(runs=2, producers=2, viewers=8, events_per_second=40, seconds=0.6, strikes=1)
FULL: Final = Size(runs=3, producers=3, viewers=20, events_per_second=60, seconds=2.0, strikes=3)

_COUNTEREXAMPLES: Final = 3


@dataclass(frozen=True, slots=True)
class Round:
    """What came of it."""

    fault: str
    seed: int
    runs: int
    events: int
    """Acknowledged by Redis."""
    viewers: int
    connections: int
    """Of all viewers together."""
    frames: int
    """Events that viewers got."""
    gaps: dict[str, int]
    """Said to viewers, by reason."""
    flaws: dict[str, int]
    """By kind."""
    recovery_seconds: list[float]
    """For each viewer: from the end of the fault until it had an event appended after it."""
    shown: float | None
    """How much the metrics moved that the fault moves; `None` if it moves none."""
    seconds: float
    counterexamples: list[str] = field(default_factory=list)
    """The first few flaws, each with what led to it."""
    traces: list[str] = field(default_factory=list)
    """Stack traces that edges wrote; there should be none."""

    @property
    def clean(self) -> bool:
        """Whether nothing was wrong."""
        return not self.flaws and not self.traces


def command_of(fault: str, seed: int, size: Size) -> str:
    """What plays the same round again."""
    quick = " --quick" if size == QUICK else ""
    return f"python -m tests.faults --fault {fault} --seed {seed} --rounds 1{quick}"


async def play(fault: Fault, seed: int, size: Size) -> Round:
    """Plays a round."""
    began = time.monotonic()
    stage = Stage(fault.needs, size, seed)
    async with stage:
        await stage.until_under_way()
        for strike in range(size.strikes):
            if strike:
                await stage.until_flowing()
            await fault.strike(stage)
        recovery = await stage.recovery()
        shown = await stage.metric(fault.shows) if fault.shows else None
        await stage.end()
    return judge(
        fault.name,
        seed,
        size,
        stage.history,
        recovery=recovery,
        shown=shown,
        traces=stage.traces,
        connections=sum(watcher.connections for watcher in stage.watchers),
        seconds=time.monotonic() - began,
    )


def judge(
    fault: str,
    seed: int,
    size: Size,
    history: History,
    *,
    recovery: list[float],
    shown: float | None,
    traces: list[str],
    connections: int,
    seconds: float,
) -> Round:
    """A round's history, counted and checked."""
    flaws = check(history)
    entries = [entry for viewer in history.viewers for entry in viewer.entries]
    return Round(
        fault=fault,
        seed=seed,
        runs=len(history.kept),
        events=sum(append.outcome is Outcome.OK for append in history.appends.values()),
        viewers=len(history.viewers),
        connections=connections,
        frames=sum(isinstance(entry, Frame) for entry in entries),
        gaps=dict(Counter(entry.reason for entry in entries if isinstance(entry, GapSaid))),
        flaws=dict(Counter(flaw.kind.value for flaw in flaws)),
        recovery_seconds=[round(each, 3) for each in recovery],
        shown=shown,
        seconds=round(seconds, 1),
        counterexamples=[
            counterexample(flaw, history, command_of(fault, seed, size))
            for flaw in flaws[:_COUNTEREXAMPLES]
        ],
        traces=traces,
    )
