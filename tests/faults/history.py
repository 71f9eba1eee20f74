"""What happened in a round: what producers appended, what was taken away, what viewers saw.

Times are seconds of one monotonic clock. A cause bears the time at which it *began*, and what a
viewer saw the time at which it *arrived*: so a cause never seems to be later than what it caused.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, NamedTuple

__all__ = [
    "FROM_LATEST",
    "FROM_START",
    "Append",
    "CaughtUp",
    "Cause",
    "Connected",
    "Deletion",
    "Ended",
    "Entry",
    "Failover",
    "Frame",
    "GapSaid",
    "History",
    "Label",
    "Outcome",
    "Trim",
    "ViewerLog",
    "Wipe",
]


class Label(NamedTuple):
    """What an event is known by, whatever became of its append: it is part of the event's data."""

    run: str
    producer: int
    number: int

    def data(self, padding: str = "") -> str:
        """The event's data."""
        return json.dumps({"label": self, "padding": padding})

    @classmethod
    def read(cls, data: str) -> "Label | None":
        """The label in an event's data; `None` if no producer of ours wrote it."""
        try:
            run, producer, number = json.loads(data)["label"]
        except (ValueError, KeyError, TypeError):
            return None
        return cls(str(run), int(producer), int(number))

    def __str__(self) -> str:
        return f"{self.run}/{self.producer}/{self.number}"


class Outcome(StrEnum):
    """What a producer knows of an append."""

    INVOKED = "invoked"
    """Not answered yet."""
    OK = "ok"
    FAILED = "failed"
    """Refused: it is certain not to be in the stream."""
    UNKNOWN = "unknown"
    """The connection broke before the answer: it may be in the stream, once, or not."""


@dataclass(slots=True)
class Append:
    """One append, as its producer logged it."""

    label: Label
    type: str
    final: bool
    invoked_at: float
    outcome: Outcome = Outcome.INVOKED
    returned_at: float | None = None
    id: str | None = None
    """Only if the outcome is OK."""


@dataclass(frozen=True, slots=True)
class Trim:
    """The stream's head was cut off."""

    run: str
    began: float
    ids: frozenset[str]
    """What was, or may have been, cut off."""


@dataclass(frozen=True, slots=True)
class Deletion:
    """Entries were taken back by XDEL. Whoever has not seen them need not hear of it."""

    run: str
    began: float
    ids: frozenset[str]


@dataclass(frozen=True, slots=True)
class Wipe:
    """The whole stream went: deleted, expired, or lost by a server that does not persist."""

    run: str
    began: float
    ended: float
    why: str
    held: frozenset[Label] | None = None
    """What was in it, where it was read in the same transaction."""


@dataclass(frozen=True, slots=True)
class Failover:
    """A replica took over: what it had not got yet is lost, in any run."""

    began: float
    ended: float


Cause = Trim | Deletion | Wipe | Failover


@dataclass(frozen=True, slots=True)
class Connected:
    """A response's head arrived."""

    at: float
    connection: int
    edge: str
    cursor: str | None
    """What was sent as Last-Event-ID."""
    status: int


@dataclass(frozen=True, slots=True)
class Frame:
    """An event of the run arrived."""

    at: float
    connection: int
    id: str
    label: Label | None


@dataclass(frozen=True, slots=True)
class GapSaid:
    """A gap was said."""

    at: float
    connection: int
    requested: str
    resumed_at: str | None
    reason: str


@dataclass(frozen=True, slots=True)
class CaughtUp:
    """The replay was said to be done."""

    at: float
    connection: int
    id: str


@dataclass(frozen=True, slots=True)
class Ended:
    """A connection is over."""

    at: float
    connection: int
    how: str


Entry = Connected | Frame | GapSaid | CaughtUp | Ended

FROM_START: Final = "start"
"""A viewer that asks without a cursor: gets whatever is first, without a gap."""
FROM_LATEST: Final = "latest"
"""A viewer that only wants what is new."""


@dataclass(slots=True)
class ViewerLog:
    """One viewer, over all of its connections."""

    name: str
    run: str
    beginning: str = FROM_START
    """`FROM_START`, `FROM_LATEST`, or the cursor that the first connection brought."""
    types: frozenset[str] | None = None
    """The types that it asked for; `None` for all."""
    entries: list[Entry] = field(default_factory=list)


@dataclass(slots=True)
class History:
    """Everything that the checker looks at."""

    appends: dict[Label, Append] = field(default_factory=dict)
    causes: list[Cause] = field(default_factory=list)
    viewers: list[ViewerLog] = field(default_factory=list)
    kept: dict[str, Mapping[Label, str]] = field(default_factory=dict)
    """What Redis holds of each run at the end: ids by label."""

    def of_run(self, run: str) -> "History":
        """What concerns this run."""
        return History(
            {label: append for label, append in self.appends.items() if label.run == run},
            [cause for cause in self.causes if isinstance(cause, Failover) or cause.run == run],
            [viewer for viewer in self.viewers if viewer.run == run],
            {run: self.kept.get(run, {})},
        )
