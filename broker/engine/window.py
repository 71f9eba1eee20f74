"""The window: a feed's newest frames, in order, bounded by bytes.

An append-only ring. It covers the positions from `head` (the id before its first frame) to `end`
(the id of its last); anything below `head` has to be read from Redis.
"""

from bisect import bisect_right
from collections import deque
from collections.abc import Sequence
from itertools import islice

from broker.wire.frame import Frame
from broker.wire.ids import StreamId

__all__ = ["Window"]

_FRAME_OVERHEAD = 200
"""Bytes that a frame costs in memory besides its wire form, roughly: objects, id, ring slots."""


class Window:
    """Frames after `head`, up to and with `end`."""

    __slots__ = ("_bytes", "_frames", "_ids", "_limit", "end", "head")

    def __init__(self, position: StreamId, limit_bytes: int) -> None:
        self.head = position
        self.end = position
        self._limit = limit_bytes
        self._frames: deque[Frame] = deque()
        self._ids: set[StreamId] = set()
        self._bytes = 0

    @property
    def first(self) -> StreamId | None:
        """The id of the oldest frame."""
        return self._frames[0].id if self._frames else None

    def append(self, frames: Sequence[Frame]) -> None:
        """Takes `frames`, which follow `end`, and lets go of the oldest above the limit.

        The newest frame is always kept: a reconnect to it must not need Redis.
        """
        for frame in frames:
            self._frames.append(frame)
            self._ids.add(frame.id)
            self._bytes += len(frame.wire) + _FRAME_OVERHEAD
        self.end = self._frames[-1].id if self._frames else self.end
        while self._bytes > self._limit and len(self._frames) > 1:
            oldest = self._frames.popleft()
            self._ids.discard(oldest.id)
            self._bytes -= len(oldest.wire) + _FRAME_OVERHEAD
            self.head = oldest.id

    def restart(self, position: StreamId) -> None:
        """Forgets everything; what comes next follows `position`."""
        self._frames.clear()
        self._ids.clear()
        self._bytes = 0
        self.head = self.end = position

    def covers(self, position: StreamId) -> bool:
        """Whether what follows `position` can be served from here, and provably without a hole.

        Only a position that the window knows is proven; one between two ids is not.
        """
        return position == self.head or position in self._ids

    def read(self, after: StreamId, max_bytes: int) -> list[Frame] | None:
        """Frames after `after`; `None` if the window does not cover it."""
        return self.tail(after, max_bytes) if self.covers(after) else None

    def tail(self, after: StreamId, max_bytes: int) -> list[Frame]:
        """Frames after `after`, at least one if there are any, about `max_bytes` at most.

        For positions at or above `head` that are proven elsewhere.
        """
        found: list[Frame] = []
        size = 0
        start = bisect_right(self._frames, after, key=lambda frame: frame.id)
        for frame in islice(self._frames, start, None):
            size += len(frame.wire)
            if found and size > max_bytes:
                break
            found.append(frame)
        return found
