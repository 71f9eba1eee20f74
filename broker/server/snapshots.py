"""What one process has counted, and the sum over several. Pure: no files, no sockets."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final, TypeAlias

import orjson
from prometheus_client.metrics_core import Metric

__all__ = ["Snapshot"]

Series: TypeAlias = tuple[str, tuple[tuple[str, str], ...]]
"""A sample's name and labels."""

_NEVER_FALLS: Final = frozenset({"counter", "histogram"})
"""Kinds of metric of which Prometheus takes a lower value for a restart."""
_SAME_EVERYWHERE: Final = frozenset({"python_info", "runcast_build", "runcast_draining"})
"""Ones and zeros that say what is so, not how much there is."""
_OLDEST: Final = "process_start_time_seconds"


@dataclass(slots=True)
class _Family:
    name: str
    kind: str
    help_text: str
    values: dict[Series, float] = field(default_factory=dict)


class Snapshot:
    """The metrics of a process at one time, or the sum of several."""

    def __init__(self, families: Iterable[_Family] = ()) -> None:
        self._families = {family.name: family for family in families}

    @classmethod
    def of(cls, metrics: Iterable[Metric]) -> "Snapshot":
        """What a registry shows now."""
        return cls(
            _Family(
                metric.name,
                metric.type,
                metric.documentation,
                {
                    (sample.name, tuple(sample.labels.items())): sample.value
                    for sample in metric.samples
                },
            )
            for metric in metrics
        )

    @classmethod
    def total(cls, parts: Iterable["Snapshot"]) -> "Snapshot":
        """All together: summed, but for the start time, which is the oldest, and for what is the
        same everywhere."""
        total = cls()
        for part in parts:
            for family in part._families.values():
                into = total._families.setdefault(
                    family.name, _Family(family.name, family.kind, family.help_text)
                )
                combine = _combination(family.name)
                for series, value in family.values.items():
                    so_far = into.values.get(series)
                    into.values[series] = value if so_far is None else combine(so_far, value)
        return total

    def counted(self) -> "Snapshot":
        """What stays true of a process that has ended: its counters, but none of its gauges."""
        return Snapshot(family for family in self._families.values() if family.kind in _NEVER_FALLS)

    def metrics(self) -> Iterator[Metric]:
        """As the exposition formats take it."""
        for family in self._families.values():
            metric = Metric(family.name, family.help_text, family.kind)
            for (name, labels), value in family.values.items():
                metric.add_sample(name, dict(labels), value)
            yield metric

    def dump(self) -> bytes:
        """As JSON."""
        return orjson.dumps(
            [
                (family.name, family.kind, family.help_text, list(family.values.items()))
                for family in self._families.values()
            ]
        )

    @classmethod
    def load(cls, document: bytes) -> "Snapshot":
        """From JSON."""
        return cls(
            _Family(
                name,
                kind,
                help_text,
                {
                    (sample, tuple((label, text) for label, text in labels)): value
                    for (sample, labels), value in values
                },
            )
            for name, kind, help_text, values in orjson.loads(document)
        )


def _combination(name: str) -> Callable[[float, float], float]:
    if name == _OLDEST:
        return min
    if name in _SAME_EVERYWHERE:
        return max
    return _sum


def _sum(one: float, other: float) -> float:
    return one + other
