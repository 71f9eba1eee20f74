"""What a scenario is: a question, its measure, and what its values mean."""

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import asdict, dataclass
from enum import Enum
from typing import Any, Generic, TypeVar

from benchmarks.scenarios.stage import Stage
from benchmarks.systems.system import Ability, Store, System

__all__ = ["Chart", "Measured", "Quantity", "Scenario", "Values"]

Parameters = TypeVar("Parameters")

Values = Mapping[str, float]
"""Measured values by the key of their `Quantity`."""

Measured = tuple[str, Values]
"""A case and what was measured in it. The only case of a scenario without cases is ``""``."""


@dataclass(frozen=True, slots=True)
class Quantity:
    """What a measured value means."""

    key: str
    """Its name in result files."""
    title: str
    """Its heading in tables."""
    unit: str
    digits: int = 1
    """Decimals shown."""
    against_floor: bool = False
    """Whether the table says how many times the floor's value it is."""
    more_is_better: bool = False


class Chart(Enum):
    """How a scenario is drawn."""

    BARS = "bars"
    """A bar for each system, a panel for each case."""
    LINES = "lines"
    """A line for each system over the cases, which are numbers; both axes logarithmic."""


@dataclass(frozen=True, slots=True)
class Scenario(Generic[Parameters]):
    """One question, asked of each system in the same way."""

    name: str
    """Short, for the command line and for result files."""
    title: str
    question: str
    """What is measured and how, in a sentence or two."""
    measure: Callable[[Stage, Parameters], AsyncIterator[Measured]]
    """Measures it on a fresh system and a fresh Redis; yields each case when it is done, so that
    a system that fails in a later one keeps the earlier ones."""
    full: Parameters
    quick: Parameters
    """A fraction of the viewers and of the time: to see that all works."""
    quantities: tuple[Quantity, ...]
    """Those shown in the table, in its order; the first is drawn. A result file has more."""
    chart: Chart = Chart.BARS
    case_title: str = ""
    """What the cases differ in."""
    needs: frozenset[Ability] = frozenset()
    stores: frozenset[Store] = frozenset(Store)
    only: frozenset[str] = frozenset()
    """Names of the systems that are asked; empty for all that can do what is needed."""

    def suits(self, system: System) -> bool:
        """Whether the system is asked, and can do what is needed."""
        if system.variant if not self.only else system.name not in self.only:
            return False
        return self.needs <= system.abilities and system.store in self.stores

    def parameters(self, *, quick: bool) -> dict[str, Any]:
        """The parameters by name, for the result file."""
        chosen: Any = self.quick if quick else self.full
        return asdict(chosen)

    def run(self, stage: Stage, *, quick: bool) -> AsyncIterator[Measured]:
        """Measures with the full or with the quick parameters."""
        return self.measure(stage, self.quick if quick else self.full)
