"""Does a quantity climb? Pure."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

__all__ = ["Quantity", "Trend", "trend"]

_WARM_UP: Final = 0.2
"""The share of the samples that is left out: caches and allocators fill up."""
_TOLERANCE: Final = 0.1
_DEVIATIONS: Final = 3.0


@dataclass(frozen=True, slots=True)
class Quantity:
    """Something that is sampled."""

    title: str
    unit: str
    slack: float
    """How much it may differ in any case."""


@dataclass(frozen=True, slots=True)
class Trend:
    """A quantity over the time of a soak."""

    quantity: Quantity
    first: float
    """The median of the first third after the warm-up."""
    last: float
    """The median of the last third."""
    limit: float
    """What the last may be."""

    @property
    def climbs(self) -> bool:
        return self.last > self.limit


def trend(quantity: Quantity, samples: Sequence[float]) -> Trend:
    """Compares medians, so that a peak does not count; and asks for more than the quantity's own
    unrest (its median absolute deviation), so that noise does not.

    Args:
        quantity: what was sampled.
        samples: at equal distances, from the start on.
    """
    steady = samples[int(len(samples) * _WARM_UP) :]
    third = len(steady) // 3
    if not third:
        raise ValueError("too few samples for a trend")
    first, last = steady[:third], steady[-third:]
    middle = statistics.median(first)
    unrest = statistics.median(abs(sample - middle) for sample in first)
    margin = max(quantity.slack, _TOLERANCE * middle, _DEVIATIONS * unrest)
    return Trend(quantity, middle, statistics.median(last), middle + margin)
