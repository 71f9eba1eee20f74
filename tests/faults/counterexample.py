"""A flaw as the least that shows it: what happened around it, in order of time, and no more."""

from collections.abc import Iterator
from typing import Final

from tests.faults.checker import Flaw
from tests.faults.history import (
    Append,
    CaughtUp,
    Cause,
    Connected,
    Deletion,
    Ended,
    Entry,
    Failover,
    Frame,
    GapSaid,
    History,
    Trim,
    ViewerLog,
    Wipe,
)

__all__ = ["counterexample"]

_ENTRIES_BEFORE: Final = 6
_ENTRIES_AFTER: Final = 3
_MOST_LABELS: Final = 6
_SECONDS_BEFORE: Final = 1.0
"""How much earlier than what is shown of the viewer a cause may have begun, to be shown too."""


def counterexample(flaw: Flaw, history: History, command: str) -> str:
    """What to read in order to understand a flaw.

    Args:
        flaw: what is wrong.
        history: the round in which it was found.
        command: what runs the round again.
    """
    lines: list[tuple[float, str]] = []
    lines += _of_viewer(flaw, history)
    seen_from = min((at for at, _ in lines), default=0.0)
    seen_until = max((at for at, _ in lines), default=float("inf"))
    lines += _of_producers(flaw, history)
    own_causes = history.of_run(flaw.run).causes
    lines += [
        (cause.began, f"cause     {_cause(cause)}")
        for cause in own_causes
        if seen_from - _SECONDS_BEFORE <= cause.began <= seen_until
    ]
    # What the viewer logged stays in its order.
    lines.sort(key=lambda line: line[0])
    start = lines[0][0] if lines else 0.0
    whose = f" for {flaw.viewer}" if flaw.viewer else ""
    return "\n".join(
        [
            f"{flaw.kind}{whose} in run {flaw.run}: {flaw.detail}",
            *(f"  {at - start:8.3f} s  {text}" for at, text in lines),
            f"  again: {command}",
        ]
    )


def _of_viewer(flaw: Flaw, history: History) -> Iterator[tuple[float, str]]:
    viewer = next((each for each in history.viewers if each.name == flaw.viewer), None)
    if viewer is None:
        return
    first = max(0, flaw.entry - _ENTRIES_BEFORE)
    concerned = set(flaw.labels)
    for index, entry in enumerate(viewer.entries):
        near = first <= index <= flaw.entry + _ENTRIES_AFTER
        of_flaw = isinstance(entry, Frame) and entry.label in concerned
        if near or of_flaw:
            mark = ">" if index == flaw.entry else " "
            yield entry.at, f"viewer  {mark} {_entry(entry, viewer)}"


def _of_producers(flaw: Flaw, history: History) -> Iterator[tuple[float, str]]:
    labels = flaw.labels
    if len(labels) > _MOST_LABELS:
        half = _MOST_LABELS // 2
        labels = labels[:half] + labels[-half:]
    for label in labels:
        append = history.appends.get(label)
        if append is not None:
            yield append.invoked_at, f"producer  {_append(append)}"


def _append(append: Append) -> str:
    took = (
        ""
        if append.returned_at is None
        else f" after {append.returned_at - append.invoked_at:.3f} s"
    )
    known = "" if append.id is None else f" as {append.id}"
    return f"appends {append.label} ({append.type}): {append.outcome}{known}{took}"


def _entry(entry: Entry, viewer: ViewerLog) -> str:
    match entry:
        case Connected():
            asked = viewer.beginning if entry.cursor is None else entry.cursor
            text = f"connects to {entry.edge} from {asked}: {entry.status}"
        case Frame():
            text = f"gets {entry.id}, {entry.label or 'with data of nobody'}"
        case GapSaid():
            text = f"is told a gap: {entry.reason}, {entry.requested} to {entry.resumed_at}"
        case CaughtUp():
            text = f"is told that it has caught up with {entry.id}"
        case Ended():
            text = f"is disconnected: {entry.how}"
    return f"#{entry.connection} {text}"


def _cause(cause: Cause) -> str:
    match cause:
        case Trim():
            return f"trims {len(cause.ids)} events of {cause.run}"
        case Deletion():
            return f"deletes {', '.join(sorted(cause.ids))} of {cause.run}"
        case Wipe():
            return (
                f"all of {cause.run} goes: {cause.why}, over in {cause.ended - cause.began:.3f} s"
            )
        case Failover():
            return f"a failover, over in {cause.ended - cause.began:.3f} s"
