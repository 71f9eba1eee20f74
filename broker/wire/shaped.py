"""The dialect that a profile describes: blocks made by shapes."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final

from broker.wire.dialect import Dialect
from broker.wire.frame import Frame
from broker.wire.gap import Gap
from broker.wire.id_schemes import IdScheme, IntegerIds
from broker.wire.ids import StreamId, id_time
from broker.wire.shape import JsonText, Shape, Values
from broker.wire.status import RunStatus, outcome, outcome_said

__all__ = ["BLOCK_PLACES", "EVENT_PLACES", "Block", "EventValues", "Rules", "Shaped", "Words"]

EVENT_PLACES: Final = frozenset(
    {"run_id", "id", "sequence", "type", "data", "time", "final", "outcome"}
)
"""What a shape of an event may have: those of `EventValues`."""
BLOCK_PLACES: Final[Mapping[str, frozenset[str]]] = {
    "opening": frozenset({"run_id", "status", "phase"}),
    "gap": frozenset({"run_id", "requested", "resumed_at", "reason"}),
    "caught_up": frozenset({"run_id", "id"}),
    "status": frozenset({"run_id", "status", "phase"}),
    "heartbeat": frozenset({"run_id"}),
}
"""What the shape of each other block may have."""

_INTEGERS: Final = IntegerIds()
_SHORT_EVENT: Final = 256
_AS_THEY_ARE: Final[Mapping[str, str]] = {}


@dataclass(frozen=True, slots=True)
class Block:
    """How one kind of block is written."""

    event: str | None
    """The `event:` line; `None` for the entry's type, empty for no such line."""
    shape: Shape | None
    """The data; `None` for the entry's own, byte for byte."""


@dataclass(frozen=True, slots=True)
class Rules:
    """How events are written: a rule for each type that has one, and one for all others."""

    usual: Block
    by_type: Mapping[str, Block | None] = field(default_factory=dict)
    """`None` leaves events of that type out."""
    final: Block | None = None
    """For the event that ends the run, if its type has no rule; `None`: as any other."""

    def block(self, event_type: str, *, final: bool) -> Block | None:
        """The rule for this event."""
        others = self.final if final and self.final is not None else self.usual
        return self.by_type.get(event_type, others)


@dataclass(frozen=True, slots=True, eq=False)
class Words:
    """A profile's wire form; one object for all its viewers."""

    ids: IdScheme
    events: Rules
    statuses: Mapping[str, str] = field(default_factory=dict)
    """What it calls statuses; those that are not here are called what they are."""
    opening: Block | None = None
    gap: Block | None = None
    caught_up: Block | None = None
    status: Block | None = None
    heartbeat: Block | None = None
    """`None` for a comment."""


@dataclass(frozen=True, slots=True)
class Shaped:
    """A run in a profile's words."""

    words: Words
    run_id: str

    def greeting(self, retry_milliseconds: int, position: StreamId | None) -> bytes:
        """`retry:` and `id:`, as part of the first block."""
        return b"retry: %d\n" % retry_milliseconds + self._id_line(position)

    def opening(self, status: RunStatus) -> bytes:
        """The first block, where the profile has one."""
        return self._block(self.words.opening, None, self._status_values(status))

    def status(self, status: RunStatus) -> bytes:
        """The block that says how the run stands."""
        return self._block(self.words.status, None, self._status_values(status))

    def encode(self, frames: Sequence[Frame]) -> Sequence[bytes]:
        """Each event by its type's rule."""
        wires = []
        rules = self.words.events
        for frame in frames:
            rule = rules.block(frame.type, final=frame.final)
            if rule is not None:
                wires.append(self._event(rule, frame))
            elif frame.final:
                # Left out, it still is where the client is: it would come back for it for ever.
                wires.append(self.moved(frame.id))
        return wires

    def gap(self, gap: Gap) -> bytes:
        """See `Dialect.gap`."""
        write = self.words.ids.write
        values: Values = {
            "run_id": lambda: self.run_id,
            "requested": lambda: write(gap.requested),
            "resumed_at": lambda: None if gap.resumed_at is None else write(gap.resumed_at),
            "reason": lambda: gap.reason.value,
        }
        return self._block(self.words.gap, None, values)

    def caught_up(self, position: StreamId) -> bytes:
        """See `Dialect.caught_up`."""
        values: Values = {
            "run_id": lambda: self.run_id,
            "id": lambda: self.words.ids.write(position),
        }
        return self._block(self.words.caught_up, None, values)

    def heartbeat(self, position: StreamId | None) -> bytes:
        """A comment, or the profile's block; see `Dialect.heartbeat`."""
        if self.words.heartbeat is not None:
            return self._block(self.words.heartbeat, position, {"run_id": lambda: self.run_id})
        moved = self._id_line(position)
        # Without a blank line after a lone comment: weak parsers would dispatch an event.
        return b": heartbeat\n" + (moved + b"\n" if moved else b"")

    def moved(self, position: StreamId) -> bytes:
        """See `Dialect.moved`."""
        line = self._id_line(position)
        return line + b"\n" if line else b""

    def after_gap(self) -> Dialect:
        """The same: it keeps nothing in mind."""
        return self

    def _event(self, rule: Block, frame: Frame) -> bytes:
        event = frame.type if rule.event is None else rule.event
        if rule.shape is None:
            lines = _data_lines(frame)
        else:
            words = self.words
            values = EventValues(
                self.run_id,
                *(frame.id, frame.type, frame.data),
                words.ids,
                final=frame.final,
                statuses=words.statuses,
            )
            lines = b"data: %b\n\n" % rule.shape.fill(values)
        return self._id_line(frame.id) + _event_line(event) + lines

    def _block(self, block: Block | None, position: StreamId | None, values: Values) -> bytes:
        if block is None:
            return b""
        data = b"{}" if block.shape is None else block.shape.fill(values)
        return self._id_line(position) + _event_line(block.event or "") + b"data: %b\n\n" % data

    def _id_line(self, position: StreamId | None) -> bytes:
        written = None if position is None else self.words.ids.write(position)
        return b"" if written is None else f"id: {written}\n".encode()

    def _status_values(self, status: RunStatus) -> Values:
        return {
            "run_id": lambda: self.run_id,
            "status": lambda: self.words.statuses.get(status.status, status.status),
            "phase": lambda: status.phase,
        }


class EventValues:
    """What the places of an event's shape stand for."""

    __slots__ = ("_data", "_final", "_id", "_ids", "_run_id", "_statuses", "_text", "_type")

    def __init__(
        self,
        run_id: str,
        event_id: StreamId,
        event_type: str,
        data: bytes,
        ids: IdScheme,
        *,
        final: bool,
        statuses: Mapping[str, str] = _AS_THEY_ARE,
    ) -> None:
        """
        Args:
            run_id: the run.
            event_id: the event's own id.
            event_type: its type.
            data: its data.
            ids: how the profile writes ids.
            final: whether it ends the run.
            statuses: what the profile calls outcomes.
        """
        self._run_id = run_id
        self._id = event_id
        self._type = event_type
        self._data = data
        self._ids = ids
        self._final = final
        self._statuses = statuses
        self._text: JsonText | None = None

    def __getitem__(self, name: str) -> Callable[[], Any]:
        value: Callable[[], Any] = getattr(self, name)
        return value

    def run_id(self) -> str:
        """The run."""
        return self._run_id

    def id(self) -> str | None:
        """The event's id, as the profile writes it."""
        return self._ids.write(self._id)

    def sequence(self) -> int | None:
        """The event's number; see `IntegerIds`."""
        return _INTEGERS.number(self._id)

    def type(self) -> str | None:
        """Its type, if it has one."""
        return self._type or None

    def data(self) -> JsonText:
        """Its data."""
        if self._text is None:
            self._text = JsonText(self._data)
        return self._text

    def time(self) -> str | None:
        """When Redis took it; see `id_time`."""
        return id_time(self._id)

    def final(self) -> bool:
        """Whether it ends the run."""
        return self._final

    def outcome(self) -> str | None:
        """How the run has ended, if this ends it."""
        if not self._final:
            return None
        how = outcome(self._type, outcome_said(self._data))
        return self._statuses.get(how, how)


def _data_lines(frame: Frame) -> bytes:
    """The frame's data lines and its end, as they are on the native wire."""
    wire = frame.wire
    start = wire.index(b"\n") + 1
    if frame.type:
        start = wire.index(b"\n", start) + 1
    return wire[start:]


def _make_event_line(event: str) -> bytes:
    return f"event: {event}\n".encode() if event else b""


_short_event_line = lru_cache(maxsize=1024)(_make_event_line)


def _event_line(event: str) -> bytes:
    # A type may be as large as an entry: a thousand of those are not kept.
    return (_short_event_line if len(event) <= _SHORT_EVENT else _make_event_line)(event)
