"""What was really in a run's stream, and when it went: worked out from the producers' log, from
what was done to the stream, and from what Redis holds at the end.

A stream that is deleted, expires or is lost begins anew as another *generation*. Order is by
generation, then by id; ids of a later generation may be lower, where a clock was set back.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from broker.wire.ids import StreamId
from tests.faults.history import (
    Append,
    Deletion,
    Failover,
    Frame,
    History,
    Label,
    Outcome,
    Trim,
    Wipe,
)

__all__ = ["Loss", "Member", "Place", "StreamTruth"]


class Place(NamedTuple):
    """A place in the run: a generation, and an id in it. Compares in the order of the run."""

    generation: int
    id: StreamId


@dataclass(frozen=True, slots=True)
class Loss:
    """Why an event may be missing, and since when."""

    since: float
    kind: type[Trim | Deletion | Wipe | Failover]


@dataclass(frozen=True, slots=True)
class Member:
    """An event that was, or may have been, in the stream."""

    append: Append
    id: StreamId
    generations: tuple[int, ...]
    """One, unless it was appended just when the stream went."""
    loss: Loss | None

    @property
    def label(self) -> Label:
        return self.append.label

    @property
    def place(self) -> Place:
        """Where it is; of several generations that are possible, in the first."""
        return Place(self.generations[0], self.id)

    @property
    def certain(self) -> bool:
        """Whether its place is known, so that its absence can be judged."""
        return len(self.generations) == 1


class StreamTruth:
    """One run's stream."""

    def __init__(self, run: str, history: History) -> None:
        """
        Args:
            run: the run.
            history: the round; what concerns other runs is ignored.
        """
        own = history.of_run(run)
        self.run = run
        self.wipes = sorted(
            (cause for cause in own.causes if isinstance(cause, Wipe)), key=lambda wipe: wipe.began
        )
        self.failovers = [cause for cause in own.causes if isinstance(cause, Failover)]
        self._cuts = [cause for cause in own.causes if isinstance(cause, Trim | Deletion)]
        self._kept = own.kept[run]
        self.members: dict[Label, Member] = {}
        ids = dict(self._ids(own))
        for label, event_id in ids.items():
            append = own.appends[label]
            generations = self._generations(append)
            self.members[label] = Member(
                append, event_id, generations, self._loss(append, event_id, generations)
            )
        self._order = sorted(
            (member for member in self.members.values() if member.certain),
            key=lambda member: member.place,
        )
        self._places = [member.place for member in self._order]
        self._by_id: dict[StreamId, list[Member]] = {}
        for member in self.members.values():
            self._by_id.setdefault(member.id, []).append(member)
        self.gone = [member for member in self.members.values() if member.loss is not None]
        """Those that may be missing."""
        self.terminal = self._first_terminal()

    @property
    def last_generation(self) -> int:
        """The one that is there at the end."""
        return len(self.wipes)

    def between(self, after: Place, before: Place) -> Sequence[Member]:
        """The events whose place is known and lies between two others."""
        low = bisect_right(self._places, after)
        return self._order[low : bisect_left(self._places, before, low)]

    def at(self, event_id: StreamId) -> Member | None:
        """The one event that has this id, if it is the only one."""
        found = self._by_id.get(event_id, ())
        return found[0] if len(found) == 1 else None

    def lost_by_redis(self) -> list[Member]:
        """What should be there at the end, is not, and nothing was done that explains it."""
        return [
            member
            for member in self.members.values()
            if member.loss is None
            and member.label not in self._kept
            and member.append.outcome is Outcome.OK
            and member.generations == (self.last_generation,)
        ]

    def _ids(self, own: History) -> Iterable[tuple[Label, StreamId]]:
        """The ids of all events that ever were in the stream, as far as anyone saw them."""
        for append in own.appends.values():
            if append.id is not None:
                yield append.label, StreamId.parse(append.id)
        for label, event_id in self._kept.items():
            if label in own.appends:
                yield label, StreamId.parse(event_id)
        for viewer in own.viewers:
            for entry in viewer.entries:
                if isinstance(entry, Frame) and entry.label is not None:
                    append_seen = own.appends.get(entry.label)
                    if append_seen is not None and append_seen.outcome is Outcome.UNKNOWN:
                        yield entry.label, StreamId.parse(entry.id)

    def _generations(self, append: Append) -> tuple[int, ...]:
        # A stream that is wiped takes along all it has: what is in one generation is in no other.
        if append.label in self._kept:
            return (self.last_generation,)
        for number, wipe in enumerate(self.wipes):
            if wipe.held is not None and append.label in wipe.held:
                return (number,)
        # A command whose answer never came may still be carried out, when Redis wakes up.
        returned = append.returned_at if append.outcome is Outcome.OK else None
        first = sum(wipe.ended <= append.invoked_at for wipe in self.wipes)
        last = sum(returned is None or wipe.began <= returned for wipe in self.wipes)
        return tuple(range(first, last + 1))

    def _loss(
        self, append: Append, event_id: StreamId, generations: tuple[int, ...]
    ) -> Loss | None:
        text = str(event_id)
        losses = [
            Loss(cut.began, type(cut))
            for cut in self._cuts
            if text in cut.ids and self._may_concern(cut, append, generations)
        ]
        losses += [
            Loss(self.wipes[generation].began, Wipe)
            for generation in generations
            if generation < self.last_generation
        ]
        if append.label not in self._kept and not losses:
            losses += [
                Loss(failover.began, Failover)
                for failover in self.failovers
                if append.invoked_at <= failover.ended
            ]
        return min(losses, key=lambda loss: loss.since, default=None)

    def _may_concern(
        self, cut: Trim | Deletion, append: Append, generations: tuple[int, ...]
    ) -> bool:
        """Whether the cut was made to this stream, and not to a later one with the same ids."""
        gone_at = max(
            (self.wipes[each].ended for each in generations if each < self.last_generation),
            default=float("inf"),
        )
        return cut.began <= gone_at

    def _first_terminal(self) -> Member | None:
        """The event that ends the run; viewers get nothing that comes after it."""
        finals = [
            member
            for member in self.members.values()
            if member.append.final and member.generations[-1] == self.last_generation
        ]
        return min(finals, key=lambda member: member.id, default=None)
