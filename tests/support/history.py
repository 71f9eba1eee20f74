"""Checks what a viewer saw, over all its connections, against what was appended.

Pure: takes lists, gives back what is wrong. The words are those of Jepsen's log checkers: lost,
doubled, out of order, and, ours, a gap without cause.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from broker.wire.ids import StreamId

__all__ = ["Connection", "Flaw", "check"]


@dataclass(frozen=True, slots=True)
class Connection:
    """What came over one connection, in order: ids of events, and gaps."""

    cursor: str | None
    """The cursor that it began with; `None` for the very first event."""
    seen: Sequence[str | tuple[str, str | None]]
    """An id, or a gap as (requested, resumed_at)."""


@dataclass(frozen=True, slots=True)
class Flaw:
    """One thing that should not have happened."""

    kind: str
    connection: int
    detail: str


def check(
    appended: Sequence[str], connections: Sequence[Connection], trimmed: Sequence[str] = ()
) -> list[Flaw]:
    """What is wrong with a viewer's history, in its order.

    Args:
        appended: the ids that the producer appended, in order; the last is the terminal event.
        connections: the viewer's, in order, the last of which saw the end.
        trimmed: ids that were trimmed at some time: only they may be covered by a gap.
    """
    order = {entry_id: index for index, entry_id in enumerate(appended)}
    gone = set(trimmed)
    flaws: list[Flaw] = []
    position = -1
    for number, connection in enumerate(connections):
        if connection.cursor is not None:
            position = order[connection.cursor]
        for item in connection.seen:
            if isinstance(item, tuple):
                flaw, position = _check_gap(item, position, appended, order, gone)
            else:
                flaw, position = _check_event(item, position, appended, order)
            if flaw is not None:
                flaws.append(Flaw(flaw[0], number, flaw[1]))
    if position != len(appended) - 1:
        flaws.append(Flaw("never caught up", len(connections) - 1, f"stopped at {position}"))
    return flaws


Found = tuple[tuple[str, str] | None, int]


def _check_event(
    entry_id: str, position: int, appended: Sequence[str], order: dict[str, int]
) -> Found:
    index = order.get(entry_id)
    if index is None:
        return ("foreign", entry_id), position
    if index <= position:
        return ("doubled", entry_id), position
    if index > position + 1:
        return ("lost", f"{appended[position + 1]} to {appended[index - 1]}"), index
    return None, index


def _check_gap(
    gap: tuple[str, str | None],
    position: int,
    appended: Sequence[str],
    order: dict[str, int],
    gone: set[str],
) -> Found:
    requested, resumed_at = gap
    if resumed_at is None:
        return ("gap without end", requested), position
    before = -1 if StreamId.parse(requested) == (0, 0) else order[requested]
    if before != position:
        return ("gap from elsewhere", f"{requested}, the viewer stood at {position}"), position
    index = order[resumed_at]
    # The entry at the cursor itself must be gone, or there was no reason to doubt.
    if position >= 0 and appended[position] not in gone:
        return ("gap without cause", requested), index - 1
    if any(entry_id not in gone for entry_id in appended[position + 1 : index]):
        return ("gap over what is there", f"{requested} to {resumed_at}"), index - 1
    return None, index - 1
