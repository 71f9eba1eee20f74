"""The edge's numbers in all, from its metrics: so they are the same as Prometheus', and never fall
when a worker is replaced. Pure."""

from collections.abc import Iterable
from typing import Any, Final

from prometheus_client.metrics_core import Metric

from broker.engine.ending import Ending

__all__ = ["Totals"]

_PREFIX: Final = "runcast_"
_SUMS: Final = {
    "subscribers": "subscribers",
    "live": "live_subscribers",
    "subscriptions": "subscriptions_total",
    "events_read": "events_read_total",
    "frames_delivered": "frames_delivered_total",
    "bytes_delivered": "delivered_bytes_total",
    "gaps": "gaps_total",
    "slow": "slow_subscribers_total",
    "stalled": "stalled_subscribers_total",
}
"""What is said, and the sample that has it; of one with labels, the sum."""
_REFUSED: Final = ("refused_connections_total", "refused_requests_total", "refused_streams_total")


class Totals:
    """Of all processes."""

    def __init__(self, metrics: Iterable[Metric]) -> None:
        self._samples: dict[str, list[tuple[dict[str, str], float]]] = {}
        for metric in metrics:
            if metric.name.startswith(_PREFIX):
                for sample in metric.samples:
                    name = sample.name.removeprefix(_PREFIX)
                    self._samples.setdefault(name, []).append((sample.labels, sample.value))

    @property
    def draining(self) -> bool:
        """Whether a process is leaving."""
        return self._sum("draining") > 0

    @property
    def workers(self) -> int:
        """How many processes there are."""
        return self._sum("workers")

    @property
    def tail(self) -> dict[str, int]:
        """How many processes notice new events in which way."""
        return self._by_label("tail_strategy", "strategy")

    @property
    def endings(self) -> dict[str, int]:
        """How many streams have ended, by reason."""
        counts = self._by_label("disconnects_total", "reason")
        return {ending.value: counts.get(ending.value, 0) for ending in Ending}

    def document(self) -> dict[str, Any]:
        """The sums."""
        sums = {name: self._sum(sample) for name, sample in _SUMS.items()}
        return {
            **sums,
            "behind": max(0, sums["subscribers"] - sums["live"]),
            "refused": sum(map(self._sum, _REFUSED)),
        }

    def _sum(self, name: str) -> int:
        return round(sum(value for _, value in self._samples.get(name, ())))

    def _by_label(self, name: str, label: str) -> dict[str, int]:
        return {labels[label]: round(value) for labels, value in self._samples.get(name, ())}
