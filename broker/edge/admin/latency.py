"""How long events took lately, from a histogram that only grows. Pure."""

from collections import deque
from collections.abc import Sequence
from itertools import pairwise
from typing import Final

from broker.engine.stats import LATENCY_BUCKETS, Latency

__all__ = ["LOOK_SECONDS", "RecentLatency", "quantile_seconds"]

LOOK_SECONDS: Final = 2.0
"""How often it is to be looked at."""
_LOOKS: Final = 5
"""How many looks "lately" goes back."""


class RecentLatency:
    """What was observed in the last ten seconds or so."""

    def __init__(self, latency: Latency) -> None:
        """
        Args:
            latency: what has been observed since the process began.
        """
        self._latency = latency
        self._seen: deque[list[int]] = deque([list(latency.counts)], maxlen=_LOOKS + 1)

    def look(self) -> None:
        """To be called every `LOOK_SECONDS`."""
        self._seen.append(list(self._latency.counts))

    def counts(self) -> list[int]:
        """How many were in each bucket, and above the last."""
        return [now - then for now, then in zip(self._latency.counts, self._seen[0], strict=True)]


def quantile_seconds(counts: Sequence[int], share: float) -> float | None:
    """What this share of them did not exceed, to within a bucket; `None` if there are none.

    Args:
        counts: by bucket; what is above the last bound is taken for it.
        share: from 0 to 1.
    """
    wanted = share * sum(counts)
    if not wanted:
        return None
    seen = 0
    for (lower, upper), count in zip(pairwise((0.0, *LATENCY_BUCKETS)), counts, strict=False):
        if count and seen + count >= wanted:
            return round(lower + (upper - lower) * (wanted - seen) / count, 6)
        seen += count
    return LATENCY_BUCKETS[-1]
