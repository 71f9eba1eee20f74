"""The subscribers that a feed pushes to, in groups of those who get the same bytes.

Pushing is what an edge does most: an event of a run with a thousand viewers is a thousand writes.
So what is the same for all of a group is kept once here, and not once in each subscriber: how much
was pushed, when, and where the group stands (a live subscriber's position is the feed's end).
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from broker.engine.delivery import Batch
from broker.engine.stats import Stats
from broker.wire.ids import StreamId

if TYPE_CHECKING:
    from broker.engine.subscriber import Subscriber

__all__ = ["Live", "LiveGroup"]

Types = frozenset[str] | None


class LiveGroup:
    """Live subscribers of one feed who want the same types."""

    __slots__ = ("bytes", "frames", "last", "members", "pushed_at", "types")

    def __init__(self, types: Types) -> None:
        self.types = types
        self.members: set[Subscriber] = set()
        self.frames = 0
        """Frames pushed so far, to whoever was a member then."""
        self.bytes = 0
        self.pushed_at = 0.0
        """When something was pushed last, in seconds of the clock."""
        self.last: StreamId | None = None
        """The id of the last frame that was pushed."""

    def push(self, batch: Batch, unsent_limit: int, now: float, stats: Stats) -> None:
        """Writes the batch to every member; who has too much unsent then, lags."""
        joined = batch.joined(self.types)
        if not joined.frames:
            return
        self.frames += joined.frames
        self.bytes += joined.size
        self.last = joined.last
        self.pushed_at = now
        stats.frames_delivered += joined.frames * len(self.members)
        stats.bytes_delivered += joined.size * len(self.members)
        slow = [member for member in self.members if member.sink.send(joined) > unsent_limit]
        for member in slow:
            member.lag()


class Live:
    """All live subscribers of one feed."""

    __slots__ = ("_groups",)

    def __init__(self) -> None:
        self._groups: dict[Types, LiveGroup] = {}

    def __len__(self) -> int:
        return sum(len(group.members) for group in self._groups.values())

    def __iter__(self) -> Iterator["Subscriber"]:
        for group in self._groups.values():
            yield from group.members

    @property
    def groups(self) -> list[LiveGroup]:
        """The groups, each of which has members."""
        return list(self._groups.values())

    def join(self, subscriber: "Subscriber", types: Types) -> LiveGroup:
        """Puts the subscriber into its group."""
        group = self._groups.get(types)
        if group is None:
            group = self._groups[types] = LiveGroup(types)
        group.members.add(subscriber)
        return group

    def leave(self, subscriber: "Subscriber", group: LiveGroup) -> None:
        """Takes it out; an empty group is let go, since any viewer may ask for new types."""
        group.members.discard(subscriber)
        if not group.members and self._groups.get(group.types) is group:
            del self._groups[group.types]
