"""Rights: what somebody may do, with which runs. Pure.

A right is written as `action:runs`. The runs are `*` for all, `team-*` for those whose id begins
so, an id for that one, or `@own` for those whose recorded owner they are. `admin` and `metrics` are
of the edge, not of runs, and stand alone.
"""

import re
from collections.abc import Iterable
from enum import Enum, StrEnum, auto
from typing import Final

from broker.wire.ids import RunId, is_run_id

__all__ = ["NO_RIGHTS", "OWN", "Action", "Rights", "Verdict"]

OWN: Final = "@own"
_OF_RUNS: Final = re.compile(r"(watch|publish|command):(.+)")


class Action(StrEnum):
    """What somebody wants to do."""

    WATCH = "watch"
    """See a run's events."""
    PUBLISH = "publish"
    """Append to a run, as its worker does."""
    COMMAND = "command"
    """Say something to a run's worker; ask for a new run."""
    ADMIN = "admin"
    """See who is connected, and look after the edge."""
    METRICS = "metrics"
    """Read the edge's numbers. Whoever has `admin` may."""


class Verdict(Enum):
    """What rights say of a wish."""

    YES = auto()
    IF_OWN = auto()
    """If the run is their own."""
    IF_NAMED = auto()
    """If they say which run, and that is one of those."""
    NO = auto()


class Rights:
    """All that somebody may do."""

    __slots__ = ("_all", "_edge", "_own", "_prefixes", "_runs", "_texts")

    def __init__(self, texts: Iterable[str]) -> None:
        """
        Args:
            texts: one right each.

        Raises:
            ValueError: one is none; says which, and what they look like.
        """
        self._texts = tuple(dict.fromkeys(texts))
        self._edge: set[str] = set()
        self._all: set[str] = set()
        self._own: set[str] = set()
        self._prefixes: dict[str, tuple[str, ...]] = {}
        self._runs: dict[str, set[str]] = {}
        for text in self._texts:
            self._add(text)

    @classmethod
    def parse(cls, text: str) -> "Rights":
        """From rights with spaces or commas between them.

        Raises:
            ValueError: see above.
        """
        return cls(text.replace(",", " ").split())

    def __str__(self) -> str:
        return " ".join(self._texts)

    def __bool__(self) -> bool:
        return bool(self._texts)

    def of(self, action: Action, run_id: RunId | None) -> Verdict:
        """Whether they allow it.

        Args:
            action: what is wanted.
            run_id: with which run; `None` for none in particular: one that is yet to be made and
                given its id, or what is of the edge.
        """
        if action in (Action.ADMIN, Action.METRICS):
            allowed = Action.ADMIN in self._edge or action in self._edge
            return Verdict.YES if allowed else Verdict.NO
        if action in self._all:
            return Verdict.YES
        if run_id is not None and (
            run_id in self._runs.get(action, ())
            or run_id.startswith(self._prefixes.get(action, ()))
        ):
            return Verdict.YES
        if action in self._own:
            return Verdict.IF_OWN
        some = action in self._prefixes or action in self._runs
        return Verdict.IF_NAMED if some and run_id is None else Verdict.NO

    def _add(self, text: str) -> None:
        if text in (Action.ADMIN, Action.METRICS):
            self._edge.add(text)
            return
        found = _OF_RUNS.fullmatch(text)
        if found is None:
            raise ValueError(f"{text!r} is not a right: {_FORM}")
        action, runs = found.groups()
        prefix = runs[:-1]
        if runs == "*":
            self._all.add(action)
        elif runs == OWN:
            self._own.add(action)
        elif runs.endswith("*") and is_run_id(prefix):
            self._prefixes[action] = (*self._prefixes.get(action, ()), prefix)
        elif is_run_id(runs):
            self._runs.setdefault(action, set()).add(runs)
        else:
            raise ValueError(f"{text!r} is not a right: {_FORM}")


_FORM: Final = (
    "write watch:*, publish:team-*, command:@own or an id after watch:, publish: or command:; or "
    "admin, or metrics"
)
NO_RIGHTS: Final = Rights(())
