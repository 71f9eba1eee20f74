"""Pages of history that were read lately, kept for whoever wants the same soon after.

A window has a run's newest events, and viewers who read the same page at the same moment share the
read. In between are those who come one after the other and begin at the same place: everyone who
opens a run from its beginning, and everyone in a long replay who is a little behind another. For
them a page is read, framed and joined once.

What is kept was proven to be without a hole when it was read, and stays so: a stream only grows.
If its run begins anew, the feed's epoch is another, and nothing of the old one is found. What was
deleted since it was read is still served, but only for seconds: then it is forgotten.
"""

from collections.abc import Callable
from typing import Final, NamedTuple

from broker.engine.delivery import Batch
from broker.wire.ids import StreamId

__all__ = ["RecentPages"]

_FRAME_OVERHEAD: Final = 200
"""Bytes that a frame costs besides its wire form, which is there twice: alone and joined."""

Key = tuple[int, StreamId, bool]


class _Kept(NamedTuple):
    batch: Batch
    size: int
    read_at: float


class RecentPages:
    """Batches by where they begin, bounded in bytes and in time; the oldest goes first."""

    def __init__(self, limit_bytes: int, seconds: float, clock: Callable[[], float]) -> None:
        """
        Args:
            limit_bytes: of all of them together.
            seconds: how long after it was read one is kept.
            clock: monotonic seconds.
        """
        self.used = 0
        self._limit = limit_bytes
        self._seconds = seconds
        self._clock = clock
        self._kept: dict[Key, _Kept] = {}

    def get(self, epoch: int, after: StreamId, *, lenient: bool) -> Batch | None:
        """What follows `after`, if it is kept.

        Args:
            epoch: the feed's.
            after: the position.
            lenient: whether `0-0` stands for whatever is first.
        """
        self.forget_old()
        kept = self._kept.get((epoch, after, lenient))
        return None if kept is None else kept.batch

    def put(self, epoch: int, after: StreamId, batch: Batch, *, lenient: bool) -> None:
        """Keeps what follows `after`, read and proven just now."""
        key = (epoch, after, lenient)
        if key in self._kept:
            return
        size = sum(2 * len(frame.wire) + _FRAME_OVERHEAD for frame in batch.frames)
        self._kept[key] = _Kept(batch, size, self._clock())
        self.used += size
        while self.used > self._limit:
            self._forget_oldest()
        self.forget_old()

    def forget_old(self) -> None:
        """Lets go of what is too old; to be called now and then."""
        before = self._clock() - self._seconds
        while self._kept and next(iter(self._kept.values())).read_at <= before:
            self._forget_oldest()

    def _forget_oldest(self) -> None:
        self.used -= self._kept.pop(next(iter(self._kept))).size
