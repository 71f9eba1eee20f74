"""Judges what each viewer saw against what was in the stream. Pure.

A viewer walks along the run. Each event must be the next one; what it skips must have gone from
the stream *and* a gap must have been said for it. The words are those of Jepsen's checkers: lost,
doubled, out of order; and ours, a gap without cause.

What may be skipped without a word:

- by a viewer that asked for the run without a cursor and has seen nothing yet: what is gone by
  then is before its beginning;
- what a producer took back with XDEL;
- by a viewer that has seen nothing yet, a whole stream that went and began again.
"""

from dataclasses import dataclass
from enum import StrEnum
from math import inf

from broker.wire.ids import START, StreamId
from tests.faults.history import (
    FROM_LATEST,
    FROM_START,
    CaughtUp,
    Connected,
    Deletion,
    Ended,
    Failover,
    Frame,
    GapSaid,
    History,
    Label,
    ViewerLog,
    Wipe,
)
from tests.faults.stream_truth import Member, Place, StreamTruth

__all__ = ["Flaw", "FlawKind", "check"]

_NO_CONTENT = 204


class FlawKind(StrEnum):
    """What should not have happened."""

    LOST = "lost"
    DOUBLED = "doubled"
    OUT_OF_ORDER = "out of order"
    FOREIGN = "foreign run"
    NEVER_APPENDED = "never appended"
    GAP_WITHOUT_CAUSE = "gap without cause"
    GAP_FROM_ELSEWHERE = "gap from elsewhere"
    NOT_CALLED_BACK = "not called back"
    """Was shown events that a failover lost afterwards, and not told to drop them."""
    CAUGHT_UP_TWICE = "caught up twice"
    NEVER_CAUGHT_UP = "never caught up"
    LOST_BY_REDIS = "lost by Redis without a fault"
    """No fault of a viewer's: the round itself is not what it was taken for."""


@dataclass(frozen=True, slots=True)
class Flaw:
    """One thing that should not have happened, and to whom."""

    kind: FlawKind
    run: str
    viewer: str
    """Empty, if it is no viewer's."""
    entry: int
    """Where in the viewer's log it shows."""
    labels: tuple[Label, ...]
    """The events concerned."""
    detail: str


def check(history: History) -> list[Flaw]:
    """Everything that is wrong with a round."""
    flaws: list[Flaw] = []
    for run in sorted(history.kept):
        own = history.of_run(run)
        truth = StreamTruth(run, own)
        flaws += [
            Flaw(FlawKind.LOST_BY_REDIS, run, "", 0, (member.label,), str(member.id))
            for member in truth.lost_by_redis()
        ]
        for viewer in own.viewers:
            flaws += _Walk(viewer, truth).flaws()
    return flaws


class _Walk:
    """One viewer's way along the run."""

    def __init__(self, log: ViewerLog, truth: StreamTruth) -> None:
        self._log = log
        self._truth = truth
        self._found: list[Flaw] = []
        self._index = 0
        self._place = Place(0, START)
        self._earliest = 0
        """The generation that the last event may be of, at the earliest."""
        self._seen: set[Label] = set()
        # Whether everything before the next event lies before this viewer's beginning.
        self._fresh = log.beginning == FROM_START
        self._anywhere = log.beginning == FROM_LATEST
        self._void = False
        self._gaps: list[GapSaid] = []
        self._lost_branch: dict[Label, StreamId] = {}
        self._failover_said_at: float | None = None
        self._cursor: str | None = None
        self._caught_up_in: int | None = None
        if log.beginning not in (FROM_START, FROM_LATEST):
            self._place = Place(0, StreamId.parse(log.beginning))

    def flaws(self) -> list[Flaw]:
        over = False
        for index, entry in enumerate(self._log.entries):
            self._index = index
            match entry:
                case Connected():
                    self._cursor = entry.cursor
                    over = over or entry.status == _NO_CONTENT
                case Frame():
                    self._frame(entry)
                case GapSaid():
                    self._gap(entry)
                case CaughtUp():
                    self._caught_up(entry)
                case Ended():
                    pass
        self._end(over=over)
        return self._found

    # ---- events

    def _frame(self, frame: Frame) -> None:
        label = frame.label
        if label is not None and label.run != self._log.run:
            self._flaw(FlawKind.FOREIGN, (label,), f"{frame.id} is {label}")
            return
        member = None if label is None else self._truth.members.get(label)
        if label is None or member is None or str(member.id) != frame.id:
            self._flaw(FlawKind.NEVER_APPENDED, () if label is None else (label,), frame.id)
            return
        if label in self._seen:
            self._flaw(FlawKind.DOUBLED, (label,), f"{frame.id} once more")
            return
        if member.loss is not None and member.loss.kind is Failover:
            self._astray(member)
            return
        place = self._next_place(member)
        if place is None:
            self._flaw(FlawKind.OUT_OF_ORDER, (label,), f"{frame.id} comes after {self._place.id}")
            return
        if self._lost_branch:
            self._flaw(
                FlawKind.NOT_CALLED_BACK,
                tuple(self._lost_branch),
                f"{frame.id} follows what a failover has lost",
            )
            self._lost_branch.clear()
        self._step(place, frame.at)
        self._earliest = member.generations[0]
        self._seen.add(label)

    def _astray(self, member: Member) -> None:
        """An event that a failover has lost, or was going to: it is on a branch that ends. The
        viewer does not get ahead on it, and must be called back before it sees what stayed."""
        last = next(reversed(self._lost_branch.values()), self._place.id)
        if member.id <= last and not self._void:
            self._flaw(FlawKind.OUT_OF_ORDER, (member.label,), f"{member.id} comes after {last}")
        self._seen.add(member.label)
        self._lost_branch[member.label] = member.id

    def _next_place(self, member: Member) -> Place | None:
        """Where the member follows what was seen; `None` if nowhere."""
        for generation in member.generations:
            place = Place(generation, member.id)
            if place > self._place or (self._void and generation >= self._place.generation):
                return place
        return None

    def _step(self, place: Place, at: float) -> None:
        """Goes on to `place`; what is skipped on the way must be excused."""
        start = Place(place.generation, START) if self._void else self._place
        if not self._anywhere:
            skipped = [
                member
                for member in self._truth.between(start, place)
                if self._wanted(member)
                and member.label not in self._seen
                and not self._excused(member, at)
            ]
            if skipped:
                labels = tuple(member.label for member in skipped)
                self._flaw(FlawKind.LOST, labels, _described(skipped, at))
        self._place = place
        self._fresh = self._anywhere = self._void = False
        self._gaps.clear()

    def _wanted(self, member: Member) -> bool:
        return self._log.types is None or member.append.type in self._log.types

    def _excused(self, member: Member, at: float) -> bool:
        loss = member.loss
        if loss is None or loss.since > at:
            return False
        if loss.kind is Deletion or self._fresh or self._void:
            return True
        if loss.kind is Wipe and self._place.id == START:
            # No id ties it to a stream yet: one that went and began again is for it one that began.
            return True
        said_at = self._failover_said_at
        if loss.kind is Failover and said_at is not None and said_at >= loss.since:
            return True
        return any(self._covers(gap, member) for gap in self._gaps)

    def _covers(self, gap: GapSaid, member: Member) -> bool:
        if gap.reason == "failover":
            return False
        if member.place.generation != self._place.generation:
            return True
        below = gap.resumed_at is None or member.id < StreamId.parse(gap.resumed_at)
        return below and member.id > StreamId.parse(gap.requested)

    # ---- gaps

    def _gap(self, gap: GapSaid) -> None:
        requested = StreamId.parse(gap.requested)
        begins_again = requested == START and self._wiped(gap.at)
        here = requested >= self._place.id or gap.requested == self._cursor
        if not here and not begins_again and not self._void:
            self._flaw(
                FlawKind.GAP_FROM_ELSEWHERE,
                (),
                f"from {gap.requested}, but the viewer stood at {self._place.id}",
            )
        if not self._caused(gap, requested):
            self._flaw(
                FlawKind.GAP_WITHOUT_CAUSE,
                (),
                f"{gap.reason}, {gap.requested} to {gap.resumed_at}",
            )
        if gap.reason == "reset":
            self._void = True
            self._fresh = False
            self._seen.clear()
            self._lost_branch.clear()
        if gap.reason == "failover" or (gap.reason == "reset" and self._failed_over(gap.at)):
            self._failover_said_at = gap.at
        self._gaps.append(gap)

    def _caused(self, gap: GapSaid, requested: StreamId) -> bool:
        failed_over = self._failed_over(gap.at)
        wiped = self._wiped(gap.at)
        if gap.reason == "failover":
            return failed_over
        if gap.reason == "reset":
            return wiped or failed_over
        before = None if gap.resumed_at is None else StreamId.parse(gap.resumed_at)
        if requested == START:
            # Redis counts what was removed, but can't tell from where: it may have been first.
            before = None
        return wiped or any(
            member.loss is not None
            and member.loss.since <= gap.at
            and member.id >= requested
            and (before is None or member.id < before)
            for member in self._truth.gone
        )

    def _wiped(self, at: float) -> bool:
        """Whether the stream has gone since what was seen last."""
        later = self._truth.wipes[self._earliest :]
        return any(wipe.began <= at for wipe in later)

    def _failed_over(self, at: float) -> bool:
        return any(failover.began <= at for failover in self._truth.failovers)

    # ---- the state of the replay, and the end

    def _caught_up(self, entry: CaughtUp) -> None:
        if self._caught_up_in == entry.connection:
            self._flaw(FlawKind.CAUGHT_UP_TWICE, (), entry.id)
        self._caught_up_in = entry.connection
        at = StreamId.parse(entry.id)
        if self._anywhere:
            self._place = Place(self._generation_of(at, entry), at)
            self._anywhere = False
            return
        member = self._truth.at(at)
        if member is None or not member.certain or self._void or self._lost_branch:
            return
        # Up to there everything was sent, the event itself included.
        following = Place(member.place.generation, at.successor())
        if following > self._place:
            self._step(following, entry.at)
            self._place = member.place

    def _generation_of(self, event_id: StreamId, entry: CaughtUp) -> int:
        member = self._truth.at(event_id)
        if member is not None:
            return member.place.generation
        return sum(wipe.ended <= entry.at for wipe in self._truth.wipes)

    def _end(self, *, over: bool) -> None:
        terminal = self._truth.terminal
        self._index = len(self._log.entries)
        if terminal is None:
            self._flaw(FlawKind.NEVER_CAUGHT_UP, (), "the run has no end")
        elif self._wanted(terminal) and terminal.label not in self._seen:
            self._flaw(
                FlawKind.NEVER_CAUGHT_UP,
                (terminal.label,),
                f"stopped at {self._place.id} of {terminal.id}",
            )
        elif not self._wanted(terminal):
            if over:
                self._step(terminal.place, inf)
            else:
                self._flaw(FlawKind.NEVER_CAUGHT_UP, (terminal.label,), "not told of the end")

    def _flaw(self, kind: FlawKind, labels: tuple[Label, ...], detail: str) -> None:
        self._found.append(Flaw(kind, self._log.run, self._log.name, self._index, labels, detail))


def _described(skipped: list[Member], at: float) -> str:
    first, last = skipped[0], skipped[-1]
    count = f"{len(skipped)} events" if len(skipped) > 1 else "1 event"
    there = sum(member.loss is None or member.loss.since > at for member in skipped)
    return f"{count}, {first.id} to {last.id}, {there} of them still there"
