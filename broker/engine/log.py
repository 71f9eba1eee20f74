"""The log that the engine reads: a run's stream, seen through the few reads that it needs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from broker.wire.event import Event
from broker.wire.ids import RunId, StreamId

__all__ = ["Failover", "Log", "LogUnavailable", "NotAStream", "StreamInfo"]


@dataclass(frozen=True, slots=True, order=True)
class Failover:
    """When a server was replaced by another: as near as can be told, in milliseconds since 1970."""

    earliest_ms: int
    """No entry that only the new server has is older."""
    latest_ms: int
    """No entry that it has from the old one is younger."""

    def between(self, before: StreamId, after: StreamId) -> bool:
        """Whether it may have been between two neighbouring entries."""
        return self.follows(before) and after.ms >= self.earliest_ms

    def follows(self, entry: StreamId) -> bool:
        """Whether it may have been after this entry. Only ids that Redis made from its clock
        tell; of others (`0-1`, `0-2`, …), it is not assumed."""
        return 0 < entry.ms < self.latest_ms


class LogUnavailable(Exception):
    """The log can't be read now. Worth trying again."""


class NotAStream(Exception):
    """The run's key holds something else. Not worth trying again."""


@dataclass(frozen=True, slots=True)
class StreamInfo:
    """A stream's bookkeeping at one moment (Redis: XINFO STREAM)."""

    length: int
    last_generated: StreamId
    """The highest id ever given; survives trimming and deletion."""
    first_event: Event | None
    last_event: Event | None
    max_deleted: StreamId | None
    """The highest id removed by XDEL (not by trimming); `None` where the server can't tell
    (Redis before 7.0)."""
    added: int | None
    """How many entries were ever added; `None` as above."""

    @property
    def whole(self) -> bool | None:
        """Whether nothing was ever removed; `None` where the server can't tell."""
        return None if self.added is None else self.added == self.length

    @property
    def final(self) -> StreamId | None:
        """The terminal event's id, if it is the stream's last entry."""
        last = self.last_event
        return last.id if last is not None and last.final else None

    @property
    def final_type(self) -> str:
        """The terminal event's type, if it is the stream's last entry."""
        last = self.last_event
        return last.type if last is not None and last.final else ""


class Log(Protocol):
    """Reads of runs' streams. Every method may raise `LogUnavailable` or `NotAStream`."""

    async def read(self, run_id: RunId, after: StreamId, count: int) -> Sequence[Event]:
        """Up to `count` events after `after`, oldest first; empty if there are none (XREAD)."""

    async def read_many(
        self, after: Mapping[RunId, StreamId], count: int
    ) -> Mapping[RunId, Sequence[Event]]:
        """Up to `count` events of each run after its position, in one command; runs that have
        none are left out (XREAD with many keys)."""

    async def newest(self, run_id: RunId, count: int, before: StreamId | None) -> list[StreamId]:
        """Up to `count` ids, newest first, of entries below `before` (XREVRANGE)."""

    def failovers(self, run_id: RunId) -> Sequence[Failover]:
        """When the run's server was replaced by another that may lack its newest entries, as far
        as this process has seen."""

    async def info(self, run_id: RunId) -> StreamInfo | None:
        """The stream's bookkeeping; `None` if there is no stream (XINFO STREAM)."""
