"""Runs a scenario with each system, round by round, and keeps what comes of it.

Rounds interleave the systems, each in another order, so that what changes on the machine over
time meets all of them. Each run has a fresh system, a fresh Redis and fresh viewers. A system that
fails is a result, not an end.
"""

import asyncio
import tempfile
from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, TypeVar, cast

from benchmarks.load.viewers import Viewers
from benchmarks.processes import Cores, ProcessEnded, has_ended
from benchmarks.redis_server import RedisServer
from benchmarks.report.machine import machine, versions
from benchmarks.report.results import Result, Round, SystemResult
from benchmarks.scenarios.scenario import Scenario
from benchmarks.scenarios.stage import Stage
from benchmarks.systems.system import CantInstall, Place, System

__all__ = ["Runner", "Selection", "prepare"]

_RUN_SECONDS: Final = 600
"""The longest that one run may take, whatever a system does."""
_ERROR_CHARACTERS: Final = 300
Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Selection:
    """The systems to be measured, and those asked for that can't be, with the reason."""

    measured: tuple[System, ...]
    left_out: tuple[tuple[System, str], ...]


class _NotInstalled(Exception):
    """What a system's installation says when it would have to begin."""


def prepare(
    systems: Sequence[System], say: Callable[[str], None], *, may_install: bool
) -> Selection:
    """Installs what is missing, or leaves it out.

    Args:
        systems: those asked for.
        say: told what takes long.
        may_install: whether what is missing is installed; else it is left out.
    """

    def refuse(_what: str) -> None:
        raise _NotInstalled

    measured: list[System] = []
    left_out: list[tuple[System, str]] = []
    for system in systems:
        try:
            # An installation that has something to do says so before it begins.
            system.install(say if may_install else refuse)
        except _NotInstalled:
            left_out.append((system, "not installed"))
        except CantInstall as reason:
            left_out.append((system, _one_line(str(reason))))
        else:
            measured.append(system)
    return Selection(tuple(measured), tuple(left_out))


@dataclass(frozen=True, slots=True)
class Runner:
    """Measures scenarios.

    Attributes:
        on_round: called after each run of a system, with its scenario, the system and the round.
    """

    selection: Selection
    cores: Cores
    rounds: int
    quick: bool
    results: Path
    on_round: Callable[[Scenario[Any], System, Round], None]

    def runs(self, scenario: Scenario[Any]) -> int:
        """How many runs of systems the scenario takes."""
        return self.rounds * sum(scenario.suits(system) for system in self.selection.measured)

    def run(self, scenario: Scenario[Any]) -> Result:
        """Measures it with each system that suits; saves the result after each round."""
        result = Result(
            scenario=scenario.name,
            title=scenario.title,
            question=scenario.question,
            began=datetime.now(UTC).isoformat(timespec="seconds"),
            quick=self.quick,
            machine=machine(self.cores),
            versions=versions(),
            parameters=scenario.parameters(quick=self.quick),
            quantities=scenario.quantities,
            chart=scenario.chart,
            case_title=scenario.case_title,
        )
        systems = [system for system in self.selection.measured if scenario.suits(system)]
        for system in systems:
            result.systems[system.name] = SystemResult(
                title=system.title, store=system.store.value, version=system.version()
            )
        for system, reason in self.selection.left_out:
            if scenario.suits(system):
                result.systems[system.name] = SystemResult(
                    title=system.title, store=system.store.value, left_out=reason
                )
        for number in range(self.rounds):
            for system in _rotated(systems, number):
                round_ = asyncio.run(self._run_once(scenario, system))
                result.systems[system.name].rounds.append(round_)
                self.on_round(scenario, system, round_)
            result.save(self.results)
        return result

    async def _run_once(self, scenario: Scenario[Any], system: System) -> Round:
        round_ = Round()
        try:
            async with asyncio.timeout(_RUN_SECONDS):
                await self._measure(scenario, system, round_)
        except Exception as error:  # whatever breaks a system is its result
            round_.error = _one_line(f"{type(error).__name__}: {error}")
        return round_

    async def _measure(self, scenario: Scenario[Any], system: System, round_: Round) -> None:
        with tempfile.TemporaryDirectory(prefix="runcast-benchmark-") as name:
            directories = [Path(name, part) for part in ("redis", system.name)]
            for directory in directories:
                directory.mkdir()
            async with RedisServer(directories[0], self.cores.others) as redis:
                place = Place(directories[1], self.cores.server, redis.url)
                # The viewers go first: a server then has nobody left to say goodbye to.
                async with system.run(place) as running, Viewers(self.cores.others) as viewers:
                    stage = Stage(running, system.store, viewers, redis, self.cores.others)
                    pids = list(running.pids)
                    try:
                        async with aclosing(
                            cast(Any, scenario.run(stage, quick=self.quick))
                        ) as measured:
                            async for case, values in measured:
                                round_.cases[case] = dict(values)
                    except Exception as error:
                        _raise_if_ended(pids, error)
                        raise


def _raise_if_ended(pids: Sequence[int], error: Exception) -> None:
    """A crash is the better explanation for whatever went wrong after it.

    Raises:
        ProcessEnded: one of these processes is gone.
    """
    for pid in pids:
        if has_ended(pid):
            raise ProcessEnded(f"process {pid} of the system has ended; {error}") from error


def _rotated(items: Sequence[Item], by: int) -> list[Item]:
    """The same in another order each round."""
    start = by % len(items) if items else 0
    return [*items[start:], *items[:start]]


def _one_line(text: str) -> str:
    return " ".join(text.split())[:_ERROR_CHARACTERS]
