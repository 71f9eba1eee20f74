"""What one viewer may be told: docs/wire.md as a function of what the stream ever was.

An event or a gap is right if some *place* that the viewer may be at explains it. There may be more
than one: a viewer can't tell when a page was read, and no more can this.

An event is explained if nothing lies between the place and it but what was deleted by itself: an
entry that its producer takes out of the middle (XDEL) before it was read leaves no trace that a
read would find. Everything else that is left out must have been said.

A gap is explained if it begins at the place, nothing in it can be read any more, and the stream has
given reason to doubt: the entry at the place is gone, or was never in this stream. Where the entry
was there all the while, a gap is a false alarm, and an error.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from broker.wire.gap import Gap, GapReason
from broker.wire.ids import START, StreamId
from tests.model.world import Life, Moment, Removal, World

__all__ = ["Account", "Place"]


@dataclass(frozen=True)
class Place:
    """Where a viewer may be."""

    after: StreamId
    life: Life | None = None
    """The life that it is in; `None` for each that has the id, and for all at `0-0`."""
    lenient: bool = False
    """It asked for nothing in particular: whatever is first will do."""
    void: bool = False
    """It was told that the run is gone: of what it was, nothing is to come."""


class Account:
    """One viewer's, over one connection. Raises AssertionError for what is not right."""

    def __init__(self, world: World, place: Place, *, since: int) -> None:
        """
        Args:
            world: the run.
            place: where the viewer comes in.
            since: the oldest version of the world that something may have been read from that the
                viewer is told.
        """
        self._world = world
        self._places = {place}
        self._since = since

    # ---- what it is told

    def event(self, entry_id: StreamId, data: str) -> None:
        """An event has come."""
        world = self._world
        assert entry_id in world.data, f"foreign: {entry_id}"
        assert world.data[entry_id] == data, f"another event's data: {entry_id}"
        explained = any(
            entry_id in life.added
            and entry_id > place.after
            and _excused(life, life.between(place.after, entry_id), place)
            for place in self._places
            for life in self._lives(place)
        )
        assert explained, f"lost, doubled or out of order: {entry_id} came at {self}"
        self._places = {Place(entry_id)}

    def gap(self, gap: Gap) -> None:
        """A gap was said."""
        requested, resumed_at = gap.requested, gap.resumed_at
        at = any(self._reaches(place, requested) for place in self._places)
        assert at, f"a gap from elsewhere: {gap} at {self}"
        moments = self._world.since(self._since)
        reasons = {reason for each in moments for reason in _reasons(requested, each)}
        if requested != START and len({id(each.life) for each in moments}) > 1:
            # All who have something of a run are told when its feed finds another stream.
            reasons.add(GapReason.RESET)
            if any(each.life is None for each in moments):
                reasons.add(GapReason.UNKNOWN)
        assert gap.reason in reasons, f"a gap without cause: {gap}, possible: {sorted(reasons)}"
        places = set(_after_gap(gap, moments))
        assert places, f"a gap over what is there, or to what is not: {gap} at {self}"
        self._places = places
        assert resumed_at is None or resumed_at in self._world.data, f"foreign: {gap}"

    def caught_up(self, position: StreamId, known: Iterable[StreamId]) -> None:
        """The replay is said to be done.

        Args:
            position: as it was said.
            known: what was there, and known to the edge, when the viewer came.
        """
        at = any(self._reaches(place, position) for place in self._places)
        assert at, f"caught up elsewhere: {position} at {self}"
        moments = self._world.since(self._since)
        owed = [
            one for one in known if one > position and all(one in each.present for each in moments)
        ]
        assert not owed, f"caught up at {position}, before {owed}"

    # ---- what it may expect

    def ended_rightly(self) -> bool:
        """Whether nothing of the run was to come: the terminal event was served, or is gone."""
        return any(
            place.void
            or place.after >= final
            or _excused(
                life, [one for one in life.between(place.after, None) if one <= final], place
            )
            for place in self._places
            for life in self._world.lives
            for final in life.added
            if final in self._world.finals
            and (place.after >= final or life in self._lives(place, or_any=True))
        )

    def owes_nothing(self) -> bool:
        """Whether all has been said that there is to say."""
        return bool(self._where_nothing_is_owed())

    def settle(self) -> None:
        """Nothing is under way: what comes next is not explained by anything that was."""
        self._places = self._where_nothing_is_owed()
        self._since = self._world.version

    def _where_nothing_is_owed(self) -> set[Place]:
        life = self._world.life
        if life is None:
            return {Place(START) for place in self._places if place.after == START}
        found = set()
        for place in self._places:
            rest = life.between(place.after, None)
            if life in self._lives(place) and _excused(life, rest, place):
                found.add(Place(place.after, place.life))
                # It may have been moved on, over what is gone.
                found.update(Place(one, life) for one in rest)
        return found

    def __str__(self) -> str:
        return " or ".join(
            f"{place.after}{' or whatever is first' if place.lenient else ''}"
            for place in self._places
        )

    def _lives(self, place: Place, *, or_any: bool = False) -> list[Life]:
        if place.life is not None:
            return [place.life]
        if place.after == START:
            return self._world.lives
        having = [life for life in self._world.lives if place.after in life.added]
        return having or (self._world.lives if or_any else [])

    def _reaches(self, place: Place, position: StreamId) -> bool:
        """Whether the edge may have moved from the place to the position without a word."""
        if position == place.after:
            return True
        after = position.successor()
        return position > place.after and any(
            # An edge may also stand right before an entry.
            (position in life.added or after in life.added)
            and _excused(life, life.between(place.after, after), place)
            for life in self._lives(place)
        )


def _excused(life: Life, left_out: Iterable[StreamId], place: Place) -> bool:
    """Whether these may be left out without a word."""
    if place.lenient:
        return all(one in life.removed for one in left_out)
    return all(life.removed.get(one) is Removal.DELETED for one in left_out)


def _reasons(requested: StreamId, moment: Moment) -> Iterator[GapReason]:
    """Why a read at this moment may find no proof at the position."""
    life = moment.life
    if life is None:
        if requested != START:
            yield GapReason.UNKNOWN
        return
    if requested in moment.present:
        return
    if requested != START and requested not in life.added:
        yield GapReason.RESET
    if Removal.DELETED in moment.removals:
        yield GapReason.UNKNOWN
        if not any(one < requested for one in moment.present):
            # Deleted from the head looks as if it was trimmed.
            yield GapReason.TRIMMED
    if Removal.TRIMMED in moment.removals:
        yield GapReason.TRIMMED


def _after_gap(gap: Gap, moments: Iterable[Moment]) -> Iterator[Place]:
    """Where the viewer may be after this gap, if it is said of one of these moments."""
    for moment in moments:
        life = moment.life
        if life is None:
            if gap.resumed_at is None:
                yield Place(START, void=True)
            continue
        floor = START if gap.reason is GapReason.RESET else gap.requested
        if gap.resumed_at is not None:
            hole = life.between(floor, gap.resumed_at)
            if gap.resumed_at not in life.added or any(one not in life.removed for one in hole):
                continue
            yield Place(gap.resumed_at.predecessor(), life)
        else:
            if any(one > floor for one in moment.present):
                continue
            yield Place(START if gap.reason is GapReason.RESET else max(floor, moment.last), life)
        # An edge's memory may still have some of what the stream has lost: it comes, too.
        yield Place(floor, life, lenient=True)
        if gap.reason is GapReason.RESET:
            # Or at the start of whatever comes in its place before that is served.
            yield Place(START)
