"""CPU time, memory and cores of processes, as the operating system counts them. Linux only."""

import os
import resource
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

__all__ = [
    "CoreTimes",
    "Cores",
    "ProcessEnded",
    "TooFewCores",
    "cpu_between",
    "cpu_by_process",
    "has_ended",
    "memory_bytes",
    "process_tree",
    "raise_open_files",
    "split_cores",
]

_TICKS_PER_SECOND: Final = os.sysconf("SC_CLK_TCK")
_CPU_CLOCK_OF_PROCESS: Final = 2
"""CPUCLOCK_SCHED in the kernel's posix-timers.h: all threads, user and system, in nanoseconds."""


class TooFewCores(Exception):
    """The system under test can't have a core of its own."""


class ProcessEnded(Exception):
    """A process was there at the beginning of a measurement and is gone at its end."""


@dataclass(frozen=True, slots=True)
class Cores:
    """Who runs where."""

    server: frozenset[int]
    """The system under test, and nothing else of ours."""
    others: frozenset[int]
    """Redis, the viewers and the benchmark itself."""


def split_cores() -> Cores:
    """One core for the system under test, the rest of those allowed to us for all others.

    Raises:
        TooFewCores: there is only one.
    """
    first, *rest = sorted(os.sched_getaffinity(0))
    if not rest:
        raise TooFewCores(
            "two cores are needed, one for the system under test and one for its load; "
            "this process may use only one"
        )
    return Cores(server=frozenset({first}), others=frozenset(rest))


def raise_open_files() -> None:
    """Allows this process, and all that it starts, as many open files as may be had."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def process_tree(pid: int) -> list[int]:
    """The process and all its descendants.

    Raises:
        ProcessEnded: it is not there.
    """
    found = [pid]
    try:
        for parent in found:
            for thread in Path(f"/proc/{parent}/task").iterdir():
                found += map(int, (thread / "children").read_text().split())
    except (FileNotFoundError, ProcessLookupError):
        raise ProcessEnded(f"process {parent} has ended") from None
    return found


def has_ended(pid: int) -> bool:
    """Whether the process is not there, or is there only for its parent to hear of its end."""
    try:
        # The state follows the name, which is in parentheses and may have some itself.
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return True
    return state in "XZ"


def cpu_by_process(pids: Iterable[int]) -> dict[int, float]:
    """CPU seconds, user and system, that each process has used since it began.

    From the process' CPU clock, since the ticks in `/proc` are 10 ms: too coarse for the seconds
    that a measurement lasts.

    Raises:
        ProcessEnded: one is not there.
    """
    seconds = {}
    for pid in pids:
        try:
            # What clock_getcpuclockid(3) returns, which Python offers for threads only.
            seconds[pid] = time.clock_gettime(~pid << 3 | _CPU_CLOCK_OF_PROCESS)
        except OSError:
            raise ProcessEnded(f"process {pid} has ended") from None
    return seconds


def cpu_between(before: Mapping[int, float], after: Mapping[int, float]) -> float:
    """CPU seconds used between two readings; of a process that began in between, all of them.

    Raises:
        ProcessEnded: one is in the first reading only, so that its last seconds are not known.
    """
    gone = before.keys() - after.keys()
    if gone:
        raise ProcessEnded(f"process {min(gone)} has ended during the measurement")
    return sum(seconds - before.get(pid, 0.0) for pid, seconds in after.items())


def memory_bytes(pids: Sequence[int]) -> int:
    """Memory of all processes together: the sum of their PSS.

    PSS, not USS: it divides a page among those who share it. So memory that a server's processes
    share (nginx' zones, what a fork has not written to) counts once, and counts at all.

    Raises:
        ProcessEnded: one is not there.
    """
    return sum(_proportional_bytes(pid) for pid in pids)


def _proportional_bytes(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        raise ProcessEnded(f"process {pid} has ended") from None
    for line in lines:
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    raise ProcessEnded(f"process {pid} has ended")


@dataclass(frozen=True, slots=True)
class CoreTimes:
    """What some cores have done since the machine began, in seconds of one core."""

    busy: float
    total: float

    @classmethod
    def read(cls, cores: frozenset[int]) -> "CoreTimes":
        """Those of these cores."""
        busy = total = 0.0
        for line in Path("/proc/stat").read_text().splitlines():
            name, *ticks = line.split()
            if name.startswith("cpu") and name != "cpu" and int(name[3:]) in cores:
                user, nice, system, idle, waiting, interrupts, soft_interrupts = map(int, ticks[:7])
                worked = user + nice + system + interrupts + soft_interrupts
                busy += worked / _TICKS_PER_SECOND
                total += (worked + idle + waiting) / _TICKS_PER_SECOND
        return cls(busy, total)

    def busy_share_since(self, before: "CoreTimes") -> float:
        """How busy they were since `before`: 0 to 1."""
        total = self.total - before.total
        return (self.busy - before.busy) / total if total > 0 else 0.0
