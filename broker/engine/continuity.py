"""Is there a hole? The one place that decides it, as a function of what Redis says.

A page is read from the *predecessor* of the position, so that the entry at the position comes
first. If it does, nothing is missing and no question is asked. If it does not, the stream's
bookkeeping (XINFO STREAM) tells what happened; `judge` reads it.

Where Redis can't tell a hole from none, a gap is said: a false alarm costs a viewer a reload, a
missed one costs them an event.
"""

from dataclasses import dataclass
from enum import Enum, auto

from broker.engine.log import StreamInfo
from broker.wire.gap import GapReason
from broker.wire.ids import START, StreamId

__all__ = ["Hole", "Verdict", "judge"]


class Verdict(Enum):
    """What `judge` found, short of a hole."""

    CONTINUOUS = auto()
    """Nothing after the position is missing."""
    ENDED = auto()
    """The position is at or past the terminal event."""
    READ_AGAIN = auto()
    """The stream changed between the two reads; they don't fit together."""


@dataclass(frozen=True, slots=True)
class Hole:
    """Events after the position are, or may be, missing."""

    reason: GapReason
    resume_after: StreamId
    """The position to go on from; `0-0` means that the run is read from its start."""


def judge(position: StreamId, first: StreamId | None, info: StreamInfo | None) -> Verdict | Hole:
    """Whether anything after `position` is missing, when its own entry was not found.

    Args:
        position: everything up to here is accounted for. `0-0` claims to be there from the start.
        first: the first entry that the read after `position` found, if any.
        info: the stream's bookkeeping, read after that.
    """
    if info is None:
        if first is not None:
            return Verdict.READ_AGAIN
        if position == START:
            return Verdict.CONTINUOUS
        return Hole(GapReason.UNKNOWN, START)
    if info.final is not None and position >= info.final:
        return Verdict.ENDED
    if position == info.last_generated:
        return Verdict.CONTINUOUS if first is None else Verdict.READ_AGAIN
    if position > info.last_generated:
        return Hole(GapReason.RESET, START)
    if first is None:
        if info.length:
            return Verdict.READ_AGAIN
        return Hole(_why_gone(info), info.last_generated)
    if position != START and info.whole:
        # Nothing was ever removed, so that entry never was in this stream.
        return Hole(GapReason.RESET, START)
    if first == position.successor():
        return Verdict.CONTINUOUS
    if position == START:
        return _judge_start(first, info)
    return _judge_missing_entry(position, first, info)


def _judge_start(first: StreamId, info: StreamInfo) -> Verdict | Hole:
    """Whether `first` was the stream's first event. Redis before 7.0 can't tell: trusted."""
    head = info.first_event
    if head is None or head.id != first:
        # The bookkeeping may be another stream's by now, which is whole.
        return Verdict.READ_AGAIN
    if info.whole is False:
        return Hole(_why_gone(info), first.predecessor())
    return Verdict.CONTINUOUS


def _judge_missing_entry(position: StreamId, first: StreamId, info: StreamInfo) -> Verdict | Hole:
    """The position's entry is gone, or never was; there are others after it."""
    head = info.first_event
    if head is None or head.id > position:
        return Hole(GapReason.TRIMMED, first.predecessor())
    # Trimming only takes from the head, and the head is below the position: so the entry was
    # deleted by XDEL, which max-deleted-entry-id keeps track of, or never existed.
    if info.max_deleted is None or info.max_deleted > position:
        return Hole(GapReason.UNKNOWN, first.predecessor())
    if info.max_deleted == position:
        return Verdict.CONTINUOUS
    return Hole(GapReason.RESET, START)


def _why_gone(info: StreamInfo) -> GapReason:
    return GapReason.TRIMMED if info.max_deleted in (None, START) else GapReason.UNKNOWN
