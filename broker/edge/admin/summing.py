"""Puts what several processes say together. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from itertools import zip_longest
from typing import Any, Final

from broker.edge.admin.latency import quantile_seconds
from broker.edge.admin.questions import RunOrder, SubscriberOrder
from broker.wire.ids import StreamId

__all__ = ["first_runs", "first_subscribers", "latency", "processes", "run_count", "started_at"]

Row = Mapping[str, Any]

_NOT_SHOWN: Final = frozenset({"began_at", "run_ids", "latency"})
_RUN_KEYS: Final = {
    RunOrder.VIEWERS: "viewers",
    RunOrder.LAG: "lag_seconds",
    RunOrder.EVENTS: "events",
}
_SUBSCRIBER_KEYS: Final = {
    SubscriberOrder.AGE: "age_seconds",
    SubscriberOrder.UNSENT: "unsent_bytes",
    SubscriberOrder.RATE: "events_per_second",
}


def processes(answers: Iterable[Row]) -> list[dict[str, Any]]:
    """What each says of itself, as far as it is shown."""
    return [
        {name: value for name, value in answer.items() if name not in _NOT_SHOWN}
        for answer in answers
    ]


def started_at(answers: Iterable[Row]) -> str:
    """When the oldest of them began."""
    moment = datetime.fromtimestamp(min(answer["began_at"] for answer in answers), UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def run_count(answers: Iterable[Row]) -> int:
    """How many runs they watch; one that several watch counts once, as far as they name it."""
    names: set[str] = set()
    unnamed = 0
    for answer in answers:
        names.update(answer["run_ids"])
        unnamed += answer["runs"] - len(answer["run_ids"])
    return len(names) + unnamed


def latency(answers: Iterable[Row]) -> dict[str, float | None]:
    """The quantiles of all that they have observed lately."""
    each = [answer["latency"] for answer in answers]
    counts = [sum(bucket) for bucket in zip_longest(*each, fillvalue=0)]
    return {"p50": quantile_seconds(counts, 0.5), "p99": quantile_seconds(counts, 0.99)}


def first_runs(
    lists: Iterable[Sequence[Row]], order: RunOrder, limit: int
) -> tuple[list[Row], bool]:
    """Of each process' runs the first of all, a run that several watch as one; and whether there
    are more."""
    merged: dict[tuple[str, str], Row] = {}
    for rows in lists:
        for row in rows:
            key = (row["profile"], row["run_id"])
            merged[key] = _merged(merged[key], row) if key in merged else row
    most = _RUN_KEYS[order]
    runs = sorted(merged.values(), key=lambda row: row[most] or 0, reverse=True)
    return runs[:limit], len(runs) > limit


def first_subscribers(
    lists: Iterable[Sequence[Row]], order: SubscriberOrder, limit: int
) -> tuple[list[Row], bool]:
    """Of each process' first viewers the first of all; and whether there are more."""
    rows = [row for each in lists for row in each]
    rows.sort(key=lambda row: _subscriber_key(row, order), reverse=True)
    return rows[:limit], len(rows) > limit


def _subscriber_key(row: Row, order: SubscriberOrder) -> float:
    if order is SubscriberOrder.LAG:
        lag = row["lag_seconds"]
        # As each process has it: who has nothing yet may be behind by the most.
        return float("inf") if lag is None else lag
    value: float = row[_SUBSCRIBER_KEYS[order]]
    return value


def _merged(one: Row, other: Row) -> Row:
    """Viewers are each process' own; events are the same ones, read by each."""
    lags = [row["lag_seconds"] for row in (one, other) if row["lag_seconds"] is not None]
    return {
        **one,
        **{name: one[name] + other[name] for name in ("viewers", "live", "behind", "bytes")},
        "events": max(one["events"], other["events"]),
        "lag_seconds": max(lags, default=None),
        "end": max(one["end"], other["end"], key=StreamId.parse),
        "final": one["final"] or other["final"],
    }
