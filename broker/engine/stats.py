"""What the engine counts: plain numbers on the hot path, read by the metrics page when asked."""

from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from broker.engine.ending import Ending
from broker.wire.gap import GapReason

__all__ = ["LATENCY_BUCKETS", "Latency", "Stats"]

LATENCY_BUCKETS: Final = (
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
)  # fmt: skip


@dataclass(slots=True)
class Latency:
    """A histogram in seconds, whose observations may count for many viewers at once."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(LATENCY_BUCKETS) + 1))
    total: float = 0.0

    def observe(self, seconds: float, times: int) -> None:
        """Adds `times` observations of `seconds`."""
        self.counts[bisect_left(LATENCY_BUCKETS, seconds)] += times
        self.total += seconds * times


@dataclass(slots=True)
class Stats:
    """Counters since the start of the process."""

    events_read: int = 0
    """Events that the tail has taken into a feed's window."""
    events_repaired: int = 0
    frames_delivered: int = 0
    bytes_delivered: int = 0
    pages_read: int = 0
    pages_shared: int = 0
    """Requests for a page that was being read for someone else already."""
    memory_hits: int = 0
    slow: int = 0
    """Times that a subscriber went from live back to pulling."""
    subscribed: int = 0
    failovers: int = 0
    """Times that another Redis was found to have taken over."""
    gaps: Counter[GapReason] = field(default_factory=Counter)
    endings: Counter[Ending] = field(default_factory=Counter)
    latency: Latency = field(default_factory=Latency)
