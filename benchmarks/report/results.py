"""What was measured, as a JSON file per scenario: each round's values, and all to understand them.

A file stands for itself: it names its quantities, its parameters, the machine and the versions, so
that tables and plots need nothing else.
"""

import json
import statistics
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, Self

from benchmarks.scenarios.scenario import Chart, Quantity

__all__ = ["Result", "Round", "Spread", "SystemResult", "load_results"]

_INDENT: Final = 1
_DIGITS: Final = 6
"""Significant ones that are kept: far more than are meant."""


@dataclass(frozen=True, slots=True)
class Spread:
    """A value over the rounds."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: list[float]) -> Self:
        """That of these values, of which there is at least one."""
        return cls(statistics.median(values), min(values), max(values))


@dataclass(slots=True)
class Round:
    """One run of one system."""

    cases: dict[str, dict[str, float]] = field(default_factory=dict)
    """Values by quantity's key, for each case that was measured."""
    error: str | None = None
    """Why not all was measured, in one line."""


@dataclass(slots=True)
class SystemResult:
    """All rounds of one system; or why there are none."""

    title: str
    store: str
    version: str | None = None
    left_out: str | None = None
    """Why it was not measured, in one line."""
    rounds: list[Round] = field(default_factory=list)

    def spread(self, case: str, key: str) -> Spread | None:
        """A value over those rounds that have it; `None` if none has."""
        values = [
            round_.cases[case][key] for round_ in self.rounds if key in round_.cases.get(case, {})
        ]
        return Spread.of(values) if values else None

    def worst(self, key: str) -> float:
        """The highest of a value over all cases and rounds; 0 where nothing has it."""
        return max(
            (
                values[key]
                for round_ in self.rounds
                for values in round_.cases.values()
                if key in values
            ),
            default=0.0,
        )

    @property
    def errors(self) -> list[str]:
        """What went wrong in rounds."""
        return [round_.error for round_ in self.rounds if round_.error is not None]


@dataclass(slots=True)
class Result:
    """One scenario, measured with some systems."""

    scenario: str
    title: str
    question: str
    began: str
    """Date and time, ISO 8601, UTC."""
    quick: bool
    machine: Mapping[str, Any]
    versions: Mapping[str, str]
    parameters: Mapping[str, Any]
    quantities: tuple[Quantity, ...]
    chart: Chart
    case_title: str
    systems: dict[str, SystemResult] = field(default_factory=dict)

    @property
    def cases(self) -> list[str]:
        """All cases, in the order in which they were measured."""
        seen: dict[str, None] = {}
        for system in self.systems.values():
            for round_ in system.rounds:
                seen.update(dict.fromkeys(round_.cases))
        return list(seen)

    def to_json(self) -> str:
        """The file's text."""
        document = asdict(self)
        document["chart"] = self.chart.value
        for name, system in self.systems.items():
            document["systems"][name]["medians"] = _medians(system)
        return json.dumps(_rounded(document), indent=_INDENT, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Self:
        """What `to_json` wrote. The medians in it are for readers; they are taken anew."""
        document = json.loads(text)
        document["quantities"] = tuple(Quantity(**each) for each in document["quantities"])
        document["chart"] = Chart(document["chart"])
        document["systems"] = {
            name: _system(values) for name, values in document["systems"].items()
        }
        return cls(**document)

    def save(self, directory: Path) -> Path:
        """Writes it into the directory, whole or not at all; says where."""
        path = directory / f"{self.scenario}.json"
        unfinished = path.with_suffix(".unfinished")
        unfinished.write_text(self.to_json(), encoding="utf-8")
        return unfinished.rename(path)


def load_results(directory: Path) -> list[Result]:
    """All results in the directory, by name."""
    return [
        Result.from_json(path.read_text(encoding="utf-8"))
        for path in sorted(directory.glob("*.json"))
    ]


def _system(values: dict[str, Any]) -> SystemResult:
    kept = {key: value for key, value in values.items() if key != "medians"}
    return SystemResult(**{**kept, "rounds": [Round(**each) for each in kept["rounds"]]})


def _medians(system: SystemResult) -> dict[str, dict[str, dict[str, float]]]:
    medians: dict[str, dict[str, dict[str, float]]] = {}
    for round_ in system.rounds:
        for case, values in round_.cases.items():
            for key in values:
                spread = system.spread(case, key)
                assert spread is not None
                medians.setdefault(case, {})[key] = asdict(spread)
    return medians


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.{_DIGITS}g}")
    if isinstance(value, dict):
        return {key: _rounded(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_rounded(each) for each in value]
    return value
