"""Pages of history that were read lately, kept for whoever wants the same soon after.

A window has a run's newest events, and viewers who read the same page at the same moment share the
read. In between are those who come one after the other and begin at the same place: everyone who
opens a run from its beginning, and everyone in a long replay who is a little behind another. For
them a page is read, framed and joined once.

What is kept was proven to be without a hole when it was read, and stays so: a stream only grows.
If its run begins anew, the feed's epoch is another, and nothing of the old one is found.
"""

from typing import Final

from broker.engine.delivery import Batch
from broker.wire.ids import StreamId

__all__ = ["RecentPages"]

_FRAME_OVERHEAD: Final = 200
"""Bytes that a frame costs besides its wire form, which is there twice: alone and joined."""

Key = tuple[int, StreamId, bool]


class RecentPages:
    """Batches by where they begin; above the bound, the one that nobody wanted for longest goes."""

    def __init__(self, limit_bytes: int) -> None:
        self.used = 0
        self._limit = limit_bytes
        self._batches: dict[Key, tuple[Batch, int]] = {}

    def get(self, epoch: int, after: StreamId, *, lenient: bool) -> Batch | None:
        """What follows `after`, if it is kept.

        Args:
            epoch: the feed's.
            after: the position.
            lenient: whether `0-0` stands for whatever is first.
        """
        key = (epoch, after, lenient)
        found = self._batches.pop(key, None)
        if found is None:
            return None
        self._batches[key] = found
        return found[0]

    def put(self, epoch: int, after: StreamId, batch: Batch, *, lenient: bool) -> None:
        """Keeps what follows `after`, proven."""
        key = (epoch, after, lenient)
        if key in self._batches:
            return
        size = sum(2 * len(frame.wire) + _FRAME_OVERHEAD for frame in batch.frames)
        self._batches[key] = (batch, size)
        self.used += size
        while self.used > self._limit:
            oldest = next(iter(self._batches))
            self.used -= self._batches.pop(oldest)[1]
