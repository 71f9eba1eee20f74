"""What a process can be asked about itself, and told to do; as JSON between processes. Pure."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import orjson

__all__ = [
    "MOST_ROWS",
    "AboutProcess",
    "AboutRuns",
    "AboutSubscribers",
    "Disconnect",
    "Leave",
    "Question",
    "RunOrder",
    "SubscriberOrder",
    "SubscriberState",
    "dump_question",
    "load_question",
]

MOST_ROWS: Final = 1000
"""Of one list, and of one process for it."""


class RunOrder(StrEnum):
    """Which runs come first: those with most of it."""

    VIEWERS = "viewers"
    LAG = "lag"
    EVENTS = "events"


class SubscriberOrder(StrEnum):
    """Which viewers come first: those with most of it."""

    AGE = "age"
    LAG = "lag"
    UNSENT = "unsent"
    RATE = "rate"


class SubscriberState(StrEnum):
    """What a viewer is at; see `State`."""

    LIVE = "live"
    REPLAYING = "replaying"
    LAGGING = "lagging"


@dataclass(frozen=True, slots=True)
class AboutProcess:
    """How it is."""


@dataclass(frozen=True, slots=True)
class AboutRuns:
    """The runs that are watched there, as far as they are among the first."""

    order: RunOrder


@dataclass(frozen=True, slots=True)
class AboutSubscribers:
    """Its viewers, as far as they are among the first."""

    order: SubscriberOrder
    limit: int
    """One more is told of, if there is one."""
    run: str | None = None
    """Only of this run, in any profile."""
    subject: str | None = None
    """Only this one's."""
    state: SubscriberState | None = None
    """Only those."""


@dataclass(frozen=True, slots=True)
class Disconnect:
    """To end a viewer's connection."""

    number: int


@dataclass(frozen=True, slots=True)
class Leave:
    """To take no more viewers, and send the present ones elsewhere."""

    seconds: float
    """Over which they go."""


Question = AboutProcess | AboutRuns | AboutSubscribers | Disconnect | Leave

_KINDS: Final[dict[str, type[Question]]] = {
    kind.__name__: kind for kind in (AboutProcess, AboutRuns, AboutSubscribers, Disconnect, Leave)
}


def dump_question(question: Question) -> bytes:
    """One line, without its end."""
    return orjson.dumps([type(question).__name__, question])


def load_question(line: bytes) -> Question:
    """From that line."""
    name, members = orjson.loads(line)
    found: Any = _KINDS[name]
    return found(**members)  # type: ignore[no-any-return]
