"""Is there a hole? Each row is a story that a real stream can tell; see also the tests of it on
real servers in tests/integration/test_gaps.py."""

import pytest

from broker.engine.continuity import Hole, Verdict, judge
from broker.engine.log import StreamInfo
from broker.wire.event import Event
from broker.wire.gap import GapReason
from broker.wire.ids import START, StreamId


def at(number: int) -> StreamId:
    return StreamId(number, 5)


def info(
    *numbers: int,
    last: int | None = None,
    deleted: int | None = 0,
    removed: int = 0,
    final: bool = False,
) -> StreamInfo:
    """A stream with these entries, of which `removed` more are gone. `deleted=None`: Redis 6."""
    events = [Event(at(number), "", b"{}", final and number == numbers[-1]) for number in numbers]
    return StreamInfo(
        length=len(events),
        last_generated=at(last or max(numbers, default=0)),
        first_event=events[0] if events else None,
        last_event=events[-1] if events else None,
        max_deleted=None if deleted is None else at(deleted) if deleted else START,
        added=None if deleted is None else len(events) + removed,
    )


@pytest.mark.parametrize(
    ("position", "first", "stream", "verdict"),
    [
        # No stream.
        (START, None, None, Verdict.CONTINUOUS),
        (at(3), None, None, Hole(GapReason.UNKNOWN, START)),
        (at(3), at(4), None, Verdict.READ_AGAIN),
        # The entry at the position is gone, but it was the last: nothing after it is missing.
        (at(3), None, info(last=3, removed=3), Verdict.CONTINUOUS),
        (at(3), at(4), info(last=3, removed=3), Verdict.READ_AGAIN),
        # From the future.
        (at(9), None, info(1, 2), Hole(GapReason.RESET, START)),
        # Everything is gone.
        (at(3), None, info(last=8, removed=8), Hole(GapReason.TRIMMED, at(8))),
        (at(3), None, info(last=8, removed=8, deleted=8), Hole(GapReason.UNKNOWN, at(8))),
        (at(3), None, info(4, removed=3), Verdict.READ_AGAIN),
        # Neighbouring ids: nothing can lie between them.
        (StreamId(0, 3), StreamId(0, 4), info(9, removed=3), Verdict.CONTINUOUS),
        # The head was trimmed past the position.
        (at(3), at(6), info(6, 7, removed=5), Hole(GapReason.TRIMMED, at(6).predecessor())),
        (at(3), at(6), info(6, 7, deleted=None), Hole(GapReason.TRIMMED, at(6).predecessor())),
        # Nothing was ever removed: the position was never in this stream.
        (at(3), at(6), info(6, 7), Hole(GapReason.RESET, START)),
        (at(3), at(6), info(1, 6, 7), Hole(GapReason.RESET, START)),
        # It was deleted, and nothing after it was.
        (at(3), at(6), info(1, 6, removed=1, deleted=3), Verdict.CONTINUOUS),
        # It was deleted, and something after it too; or nobody can tell.
        (at(3), at(6), info(1, 6, removed=2, deleted=4),
         Hole(GapReason.UNKNOWN, at(6).predecessor())),
        (at(3), at(6), info(1, 6, deleted=None), Hole(GapReason.UNKNOWN, at(6).predecessor())),
        # Trimming can't have taken it, deletion has not: never in this stream.
        (at(3), at(6), info(1, 6, removed=1, deleted=2), Hole(GapReason.RESET, START)),
        # From the start, claiming to be there from the start.
        (START, at(1), info(1, 2), Verdict.CONTINUOUS),
        (START, at(3), info(3, 4, removed=2), Hole(GapReason.TRIMMED, at(3).predecessor())),
        (START, at(3), info(3, removed=1, deleted=2), Hole(GapReason.UNKNOWN, at(3).predecessor())),
        (START, at(3), info(3, 4, deleted=None), Verdict.CONTINUOUS),
        (START, StreamId(0, 1), info(3, removed=2), Verdict.CONTINUOUS),
        (START, None, info(last=4, removed=4), Hole(GapReason.TRIMMED, at(4))),
        # At and past the terminal event.
        (at(4), None, info(1, 4, final=True), Verdict.ENDED),
        (at(9), None, info(1, 4, final=True), Verdict.ENDED),
        (at(2), at(4), info(1, 4, removed=1, deleted=2, final=True), Verdict.CONTINUOUS),
    ],
)  # fmt: skip
def test_judge(
    position: StreamId, first: StreamId | None, stream: StreamInfo | None, verdict: Verdict | Hole
) -> None:
    assert judge(position, first, stream) == verdict
