"""Folding (`?fold=text`): consecutive text deltas of a replay become one event.

A model writes a run token by token, and whoever watches it live wants each. Who comes later wants
the text: a thousand deltas that differ in nothing but their text are one delta with all of it,
which carries the newest id, so that a reconnect resumes right behind it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import orjson

from broker.wire.dialect import Dialect
from broker.wire.event import Event
from broker.wire.frame import Frame, encode
from broker.wire.gap import Gap
from broker.wire.ids import StreamId

__all__ = ["FoldRule", "Folded", "fold"]


@dataclass(frozen=True, slots=True)
class FoldRule:
    """Which events are text deltas, and where their text is."""

    types: frozenset[str]
    """Event types whose events may be merged with their like."""
    member: str
    """The member of the data, a JSON object, that has the text."""
    newest: frozenset[str] = frozenset({"index", "sequence", "timestamp"})
    """Members that may differ: the newest event's are kept. All others must be equal."""
    most_bytes: int = 64 << 10
    """The most data, in bytes, that is merged into one event."""


class _Foldable(Protocol):
    """What `Event` and `Frame` have in common."""

    @property
    def id(self) -> StreamId: ...
    @property
    def type(self) -> str: ...
    @property
    def data(self) -> bytes: ...
    @property
    def final(self) -> bool: ...


_Item = TypeVar("_Item", bound=_Foldable)


def fold(events: Sequence[_Item], rule: FoldRule) -> list[_Item | Event]:
    """The events with their consecutive text deltas merged.

    Two neighbours are merged if they are of the same type, one of the rule's, neither ends the
    run, and their data are JSON objects that are equal but for the text and the members of which
    the newest counts. Every other event is left as it is, the very object.
    """
    folded: list[_Item | Event] = []
    pending = _Pending(rule)
    for event in events:
        delta = None
        if event.type in rule.types and not event.final:
            delta = _Delta.of(event.data, rule)
        if delta is None:
            pending.flush(folded)
            folded.append(event)
        elif not pending.take(event, delta):
            pending.flush(folded)
            pending.take(event, delta)
    pending.flush(folded)
    return folded


@dataclass(slots=True)
class _Delta:
    document: dict[str, Any]
    text: str
    rest: bytes
    """What must be equal for two to be merged; as JSON, since Python takes `1` for `True`."""
    size: int

    @classmethod
    def of(cls, data: bytes, rule: FoldRule) -> "_Delta | None":
        try:
            document = orjson.loads(data)
        except orjson.JSONDecodeError:
            return None
        if not isinstance(document, dict):
            return None
        text = document.get(rule.member)
        if not isinstance(text, str):
            return None
        rest = {
            name: value
            for name, value in document.items()
            if name != rule.member and name not in rule.newest
        }
        return cls(document, text, orjson.dumps(rest) if rest else b"", len(data))


class _Pending:
    """Deltas that are merged with each other, and may be with the next."""

    def __init__(self, rule: FoldRule) -> None:
        self._rule = rule
        self._item: Any = None
        self._delta: _Delta | None = None
        self._texts: list[str] = []
        self._size = 0

    def take(self, item: _Foldable, delta: _Delta) -> bool:
        """Adds a delta; says whether it fits to those that are here."""
        before = self._delta
        if before is not None and (
            item.type != self._item.type
            or delta.rest != before.rest
            or self._size + delta.size > self._rule.most_bytes
        ):
            return False
        self._item, self._delta = item, delta
        self._texts.append(delta.text)
        self._size += delta.size
        return True

    def flush(self, folded: list[Any]) -> None:
        """Appends the event that they make."""
        newest, delta = self._item, self._delta
        if delta is None:
            return
        if len(self._texts) > 1:
            document = {**delta.document, self._rule.member: "".join(self._texts)}
            newest = Event(newest.id, newest.type, orjson.dumps(document))
        folded.append(newest)
        self._item = self._delta = None
        self._texts = []
        self._size = 0


@dataclass(frozen=True, slots=True)
class Folded:
    """A dialect that merges text deltas before another puts them into wire form."""

    inner: Dialect
    rule: FoldRule

    def greeting(self, retry_milliseconds: int, position: StreamId | None) -> bytes:
        """As the inner dialect's."""
        return self.inner.greeting(retry_milliseconds, position)

    def encode(self, frames: Sequence[Frame]) -> Sequence[bytes]:
        """The merged events, in the inner dialect."""
        return self.inner.encode(
            [encode(item) if isinstance(item, Event) else item for item in fold(frames, self.rule)]
        )

    def gap(self, gap: Gap) -> bytes:
        """As the inner dialect's."""
        return self.inner.gap(gap)

    def caught_up(self, position: StreamId) -> bytes:
        """As the inner dialect's."""
        return self.inner.caught_up(position)

    def heartbeat(self, position: StreamId | None) -> bytes:
        """As the inner dialect's."""
        return self.inner.heartbeat(position)

    def moved(self, position: StreamId) -> bytes:
        """As the inner dialect's."""
        return self.inner.moved(position)

    def after_gap(self) -> Dialect:
        """Folding goes on, around what the inner dialect is then."""
        following = self.inner.after_gap()
        return self if following is self.inner else Folded(following, self.rule)
