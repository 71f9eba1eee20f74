"""The subscribers that a feed pushes to, in groups of those who get the same bytes.

Pushing is what an edge does most: an event of a run with a thousand viewers is a thousand writes.
So what is the same for all of a group is kept once here, and not once in each subscriber: how much
was pushed, when, and where the group stands (a live subscriber's position is the feed's end).
"""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from broker.engine.delivery import Batch, Fan, Sink
from broker.engine.stats import Stats
from broker.wire.dialect import Dialect
from broker.wire.ids import StreamId

if TYPE_CHECKING:
    from broker.engine.subscriber import Subscriber

__all__ = ["Live", "LiveGroup"]

Types = frozenset[str] | None
Key = tuple[Types, Dialect, Callable[[], Fan]]


class LiveGroup:
    """Live subscribers of one feed who want the same, in one dialect, on sinks of one kind."""

    __slots__ = ("_fan", "bytes", "frames", "key", "last", "members", "pushed_at")

    def __init__(self, key: Key) -> None:
        self.key = key
        self.members: dict[Sink, Subscriber] = {}
        self.frames = 0
        """Frames pushed so far, to whoever was a member then."""
        self.bytes = 0
        self.pushed_at = 0.0
        """When something was pushed last, in seconds of the clock."""
        self.last: StreamId | None = None
        """The id of the last frame that was pushed."""
        self._fan = key[2]()

    def push(self, batch: Batch, unsent_limit: int, now: float, stats: Stats) -> None:
        """Writes the batch to every member; who has too much unsent then, lags."""
        joined = batch.joined(*self.key[:2])
        if not joined.frames:
            return
        self.frames += joined.frames
        self.bytes += joined.size
        self.last = joined.last
        self.pushed_at = now
        stats.frames_delivered += joined.frames * len(self.members)
        stats.bytes_delivered += joined.size * len(self.members)
        for sink in self._fan.send(joined):
            if sink.unsent_bytes > unsent_limit:
                self.members[sink].lag()

    def join(self, subscriber: "Subscriber") -> None:
        """Takes in a member."""
        self.members[subscriber.sink] = subscriber
        self._fan.add(subscriber.sink)

    def leave(self, subscriber: "Subscriber") -> None:
        """Lets go of it."""
        del self.members[subscriber.sink]
        self._fan.discard(subscriber.sink)


class Live:
    """All live subscribers of one feed."""

    __slots__ = ("_groups",)

    def __init__(self) -> None:
        self._groups: dict[Key, LiveGroup] = {}

    def __len__(self) -> int:
        return sum(len(group.members) for group in self._groups.values())

    def __iter__(self) -> Iterator["Subscriber"]:
        for group in self._groups.values():
            yield from group.members.values()

    @property
    def groups(self) -> list[LiveGroup]:
        """The groups, each of which has members."""
        return list(self._groups.values())

    def join(self, subscriber: "Subscriber", types: Types, dialect: Dialect) -> LiveGroup:
        """Puts the subscriber into its group."""
        key = (types, dialect, subscriber.sink.fan)
        group = self._groups.get(key)
        if group is None:
            group = self._groups[key] = LiveGroup(key)
        group.join(subscriber)
        return group

    def leave(self, subscriber: "Subscriber", group: LiveGroup) -> None:
        """Takes it out; an empty group is let go, since any viewer may ask for new types."""
        group.leave(subscriber)
        if not group.members and self._groups.get(group.key) is group:
            del self._groups[group.key]
