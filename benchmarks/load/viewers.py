"""Viewers by the thousand, held by a program of its own (viewers.c) and driven from here.

Times are CLOCK_MONOTONIC, which `time.monotonic` reads too; a viewer's latency is the time from the
``"t"`` in an event to the return of the read that ended the event's block.
"""

import asyncio
import itertools
import json
import math
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Self

from benchmarks.load.build import viewers_program
from benchmarks.systems.system import Requests
from broker.engine.cancelling import cancel

__all__ = ["Cost", "Histogram", "LoadError", "Report", "Viewers"]

_BUCKET_BITS: Final = 6
_LONGEST_LINE_BYTES: Final = 1024 * 1024
_COMMAND_SECONDS: Final = 10.0
"""For commands that wait for nothing; and for an answer after a wait has timed out over there."""
_NANOSECONDS: Final = 1_000_000_000


class LoadError(Exception):
    """The viewers could not do as told; the text says which one, and what it met with."""


@dataclass(frozen=True, slots=True)
class Histogram:
    """How often each duration occurred, to within 1.6 %; asked in microseconds.

    Durations are counted in nanoseconds. Below 128 each has a bucket; above, each power of two has
    64 buckets of equal width. ``{"longest": 812, "counts": [[12, 1], [362, 4]]}`` is its JSON form:
    the longest duration in nanoseconds, and pairs of a bucket's index and its count.
    """

    counts: tuple[tuple[int, int], ...] = ()
    """Pairs of a bucket's index and its count, in order, without the empty ones."""
    longest_nanoseconds: int = 0

    @property
    def count(self) -> int:
        """The number of durations."""
        return sum(count for _, count in self.counts)

    @property
    def max(self) -> float:
        """The longest duration, exactly, in microseconds; 0 where there is none."""
        return self.longest_nanoseconds / 1000

    def percentile(self, percent: float) -> float:
        """The microseconds that this share of the durations does not exceed; NaN of none.

        It is the upper edge of a bucket, so it is at most 1.6 % too long and never too short.
        """
        if not self.counts:
            return math.nan
        # 99.9 % of 1,000 are 999, and not the 999.0000000000001 of floating point.
        wanted = round(percent * self.count / 100, 6)
        seen = 0
        for bucket, count in self.counts:
            seen += count
            if seen >= wanted:
                return min(_last_of(bucket), self.longest_nanoseconds) / 1000
        return self.max

    def merged(self, other: "Histogram") -> "Histogram":
        """The durations of both."""
        counts = Counter(dict(self.counts))
        counts.update(dict(other.counts))
        longest = max(self.longest_nanoseconds, other.longest_nanoseconds)
        return Histogram(tuple(sorted(counts.items())), longest)

    def to_json(self) -> dict[str, Any]:
        """What `from_json` reads."""
        return {"longest": self.longest_nanoseconds, "counts": [list(pair) for pair in self.counts]}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Self:
        """What `to_json` gave, or the program of the viewers."""
        pairs = tuple((bucket, count) for bucket, count in value["counts"])
        return cls(pairs, value["longest"])


def _last_of(bucket: int) -> int:
    """The longest duration that falls into a bucket, in nanoseconds."""
    shift = max(0, (bucket >> _BUCKET_BITS) - 1)
    return ((bucket - (shift << _BUCKET_BITS) + 1) << shift) - 1


@dataclass(frozen=True, slots=True)
class Report:
    """What a group of viewers has seen since it was opened or last reset."""

    viewers: int
    open: int
    """Those that are connected now. Stalled ones are among them until the server resets them: a
    close stays unseen behind what they have not read."""
    events: int
    """Numbered events that have arrived, doubled ones among them."""
    bytes: int
    """All that was read from their connections: heads and framing too."""
    lost: int
    """Numbers that were skipped, before the newest event that each viewer has seen."""
    doubled: int
    """Events that came again, or after a later one."""
    errors: int
    """Connections that the server has ended, or that have broken, after their response's head."""
    latency: Histogram
    """Of the events that are not doubled."""
    first_at: float
    """When the first event arrived, in seconds; NaN before, as for the next two."""
    last_at: float
    """When the newest event arrived, in seconds."""
    reached_at: float
    """When the condition of `Viewers.until` came true, in seconds; where it was true already, when
    the newest event had arrived, which is exact if its ``last`` is the last one published."""

    @classmethod
    def _from_json(cls, value: dict[str, Any]) -> Self:
        times = {
            name: value[name] / _NANOSECONDS or math.nan
            for name in ("first_at", "last_at", "reached_at")
        }
        return cls(**{**value, **times, "latency": Histogram.from_json(value["latency"])})


@dataclass(frozen=True, slots=True)
class Cost:
    """What the load itself has taken since it was started."""

    cpu_seconds: float
    turns: Histogram
    """How long each turn of its loop took. A turn serves all connections that are readable when it
    begins; an event adds the rest of one turn, and its own turn up to its read, to its latency."""


class Viewers:
    """The program that holds the viewers, as long as the context lasts; all of them close with it.

    Viewers come in groups, and each watches one run. A group's waits may go on at the same time as
    other commands; a second `until` ends the first one.

    A viewer counts what a browser would: an event, and its SSE id as the cursor, count at the blank
    line after it. The first number that a viewer sees may be any; from then on each has to be one
    more than the last, over reconnects too.
    """

    def __init__(self, cores: frozenset[int]) -> None:
        self._cores = cores
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[str]] = {}

    async def __aenter__(self) -> Self:
        """Starts the program, and compiles it where that has not been done.

        Raises:
            CantBuild: it can't be compiled here.
        """
        self._process = await asyncio.create_subprocess_exec(
            await viewers_program(),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=_LONGEST_LINE_BYTES,
        )
        self._answers = asyncio.create_task(self._take_answers())
        try:
            os.sched_setaffinity(self._process.pid, self._cores)
        except OSError:
            await self._end()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._end()

    @property
    def pid(self) -> int:
        """The program's process."""
        return self._process.pid

    async def open(
        self,
        group: str,
        requests: Requests,
        runs: Sequence[str],
        *,
        receive_buffer: int | None = None,
        at_once: int = 128,
        within: float = 60,
    ) -> None:
        """Opens a new group with a viewer per entry of `runs`; returns when all have got their
        response's head, with status 200.

        Args:
            receive_buffer: of each socket, in bytes, as asked of the kernel (which doubles it);
                `None` lets the kernel grow it as it likes.
            at_once: the most connections that may lack a head at a time.

        Raises:
            LoadError: one did not get it. Those that did stay open, and `reopen` tries the others.
            TimeoutError: some have not got it after `within` seconds; the same holds.
        """
        if not runs or any(" " in name or not name.isprintable() for name in [group, *runs]):
            raise ValueError("a group needs viewers, and names without spaces")
        first = requests.first
        again = first if requests.again is None else requests.again
        await self._waits(
            f"open {group} {requests.port} {receive_buffer or 0} {at_once}",
            within,
            f" {first.hex()} {again.hex()} {' '.join(runs)}",
        )

    async def stall(self, group: str) -> None:
        """Stops reading, for good: the kernel's buffers fill, and then the server's."""
        await self._does(f"stall {group}")

    async def drop(self, group: str) -> None:
        """Resets all connections at once. Each viewer keeps its cursor and its count."""
        await self._does(f"drop {group}")

    async def reopen(self, group: str, *, at_once: int = 128, within: float = 60) -> None:
        """Connects the viewers that are not connected, each from where it was; returns when all
        have got their response's head.

        One that has seen no SSE id, or whose system does not resume, asks as for the first time.

        Raises:
            LoadError, TimeoutError: as `open` does.
        """
        await self._waits(f"reopen {group} {at_once}", within)

    async def until(self, group: str, last: int, within: float) -> None:
        """Waits until every viewer has seen event number `last`, or a higher one.

        Raises:
            TimeoutError: some have not after `within` seconds; the text says how many.
        """
        await self._waits(f"until {group} {last}", within)

    async def reset(self, group: str) -> None:
        """Begins a group's report anew. What number each viewer expects stays."""
        await self._does(f"reset {group}")

    async def report(self, group: str) -> Report:
        """What the group has seen since it was opened or last reset."""
        return Report._from_json(json.loads(await self._does(f"report {group}")))

    async def own_cost(self) -> Cost:
        """What the program has cost so far, and how long it lets an event wait."""
        cost = json.loads(await self._does("cost"))
        return Cost(cost["cpu"] / _NANOSECONDS, Histogram.from_json(cost["turns"]))

    async def _end(self) -> None:
        """Ends the program, which it does itself when its input ends."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            async with asyncio.timeout(_COMMAND_SECONDS):
                await self._process.wait()
        except TimeoutError:
            raise LoadError("the viewers' program did not end by itself, and was killed") from None
        finally:
            if self._process.returncode is None:
                self._process.kill()
                await self._process.wait()
            await cancel([self._answers])

    async def _does(self, command: str) -> str:
        return await self._ask(command, _COMMAND_SECONDS)

    async def _waits(self, command: str, within: float, more: str = "") -> None:
        await self._ask(f"{command} {round(within * 1000)}{more}", within + _COMMAND_SECONDS)

    async def _ask(self, command: str, seconds: float) -> str:
        """Sends a command and waits for its answer; the program itself says that a wait is over."""
        assert self._process.stdin is not None
        if self._answers.done():
            raise LoadError(self._how_it_ended())
        number = next(self._numbers)
        waiting: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._waiting[number] = waiting
        try:
            async with asyncio.timeout(seconds):
                self._process.stdin.write(f"{number} {command}\n".encode())
                await self._process.stdin.drain()
                answer = await waiting
        except TimeoutError:
            raise LoadError(f"no answer from the viewers' program to: {command[:60]}") from None
        except ConnectionError:
            raise LoadError(self._how_it_ended()) from None
        finally:
            del self._waiting[number]
        outcome, _, text = answer.partition(" ")
        if outcome == "timeout":
            raise TimeoutError(text)
        if outcome != "ok":
            raise LoadError(text)
        return text

    async def _take_answers(self) -> None:
        """Hands each answer to who waits for it, until the program ends."""
        assert self._process.stdout is not None
        try:
            while line := await self._process.stdout.readline():
                number, _, answer = line.decode(errors="replace").rstrip("\n").partition(" ")
                waiting = self._waiting.get(int(number))
                if waiting is not None and not waiting.done():
                    waiting.set_result(answer)
        finally:
            for waiting in self._waiting.values():
                if not waiting.done():
                    waiting.set_exception(LoadError(self._how_it_ended()))

    def _how_it_ended(self) -> str:
        code = self._process.returncode
        return f"the viewers' program has ended, with code {'unknown' if code is None else code}"
