"""Producers for bodies whose events come from nobody in particular.

Their clients never send them again, but we do, when Redis is away in the middle of an append. A
producer leaves a trace in the meta key of each run that it appends to: so there are few of them,
which are used over and over.
"""

import heapq
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import uuid4

__all__ = ["AnonymousProducers"]


class AnonymousProducers:
    """Those of this process; of each, one body at a time."""

    def __init__(self) -> None:
        self._process = uuid4().hex[:16]
        self._free: list[int] = []
        self._made = 0
        self._sequence = 1

    @contextmanager
    def one(self) -> Iterator[str]:
        """A producer that nobody else uses meanwhile."""
        if self._free:
            number = heapq.heappop(self._free)
        else:
            self._made += 1
            number = self._made
        try:
            yield f"edge:{self._process}:{number}"
        finally:
            heapq.heappush(self._free, number)

    def take(self, count: int) -> int:
        """The first of so many sequence numbers, above all that any of them has used: what is late
        to arrive in Redis comes as a duplicate then, not as an event of another body."""
        first = self._sequence
        self._sequence += count
        return first
