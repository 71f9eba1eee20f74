"""AG-UI on the wire: unnamed messages, each a JSON object with its `type`.

One form for whoever is sent a run from its start, whose bytes all of them share; and one per viewer
for those who join in its middle, or who have missed something.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Final

from broker.wire.agui.documents import (
    COMPLETED,
    NOT_OF_RUN,
    document,
    gap_document,
    run_broken,
    run_started,
    wire,
)
from broker.wire.agui.progress import Progress
from broker.wire.agui.state import AguiState
from broker.wire.agui.vocabulary import TYPES, Document
from broker.wire.dialect import Dialect
from broker.wire.frame import Frame, greeting, heartbeat_block, id_block
from broker.wire.gap import Gap, GapReason
from broker.wire.ids import RunId, StreamId

__all__ = ["Agui", "AguiRepair"]

_AS_WRITTEN: Final = TYPES - COMPLETED.keys()
_LINES: Final = 4
"""Of a frame whose data is one line: id, event, data, and the blank one."""


@cache
def _lines(event_type: str) -> tuple[bytes, bytes, bytes]:
    """The event line, and how it and data with the type in it begin, as encoders write them."""
    event_line = f"\nevent: {event_type}\n"
    beginnings = (f'data: {{"type":{space}"{event_type}",' for space in ("", " "))
    first, second = (f"{event_line}{beginning}".encode() for beginning in beginnings)
    return event_line.encode(), first, second


@dataclass(frozen=True, slots=True)
class Agui:
    """For viewers who have been told the run from its start, or all that was open where they
    joined: what the producer wrote is what they need."""

    run_id: RunId
    run_id_member: str = ""
    """A member that every event is given, with the run's id; none where empty."""

    def greeting(self, retry_milliseconds: int, position: StreamId | None) -> bytes:
        """`retry:` and `id:`, which AG-UI's own clients pass over."""
        return greeting(retry_milliseconds, position)

    def encode(self, frames: Sequence[Frame]) -> Sequence[bytes]:
        """Each event as it was written, with its type in it."""
        return [self.written(frame) for frame in frames]

    def gap(self, gap: Gap) -> bytes:
        """Ends the run for the client and begins it anew, as the one thing that it accepts
        whatever it has been told; then says the gap, as a CUSTOM event."""
        anew = (run_broken(), run_started(self.run_id), gap_document(gap))
        return b"".join(wire(self.mark(said)) for said in anew)

    def caught_up(self, position: StreamId) -> bytes:
        """Nothing: a client that waits for a run to begin accepts no event before that."""
        return b""

    def heartbeat(self, position: StreamId | None) -> bytes:
        """A comment; an event without a type would end the run for the client."""
        return heartbeat_block(as_event=False, position=position)

    def moved(self, position: StreamId) -> bytes:
        """A block with nothing but an id."""
        return id_block(position)

    def after_gap(self) -> Dialect:
        """One that knows of a run that has just begun, as the gap has said."""
        progress = Progress(self.run_id)
        progress.take(run_started(self.run_id))
        return AguiRepair(self, progress)

    def mark(self, said: Document) -> Document:
        """The event with the run's id in it, if that is wanted."""
        return {**said, self.run_id_member: self.run_id} if self.run_id_member else said

    def read(self, frame: Frame) -> dict[str, Any]:
        """The event as AG-UI has it."""
        return document(frame.type, frame.data, final=frame.final, run_id=self.run_id)

    def written(self, frame: Frame) -> bytes:
        """The event's block; of data that is AG-UI already, byte for byte."""
        if frame.type in NOT_OF_RUN:
            return id_block(frame.id)
        if not self.run_id_member and frame.type in _AS_WRITTEN:
            event_line, typed, spaced = _lines(frame.type)
            native = frame.wire
            if (typed in native or spaced in native) and native.count(b"\n") == _LINES:
                return native.replace(event_line, b"\n", 1)
        return wire(self.mark(self.read(frame)), frame.id)


class AguiRepair:
    """For one viewer, whose client would reject what is not opened: opens it, before the first
    event that needs it.

    Keeps in mind what the client was told, so it is each viewer's own, and is to be given every
    event that the viewer is sent, once and in order.
    """

    def __init__(
        self,
        form: Agui,
        progress: Progress | None = None,
        *,
        preamble: Sequence[Document] = (),
        knows_state: bool = False,
    ) -> None:
        """
        Args:
            form: how events look on the wire.
            progress: what the client has been told before on this connection, or is told in the
                preamble; nothing, if absent. It is this object's own from here on.
            preamble: what it is told first.
            knows_state: whether the client has the run's state, on which STATE_DELTAs build.
                Where not, they are left out until the run begins or its state is said whole.
        """
        self._form = form
        self._progress = Progress(form.run_id) if progress is None else progress
        self._preamble = preamble
        self._knows_state = knows_state
        self._unsaid_gap: Gap | None = None

    @classmethod
    def joining(cls, form: Agui, state: AguiState, *, newcomer: bool) -> "AguiRepair":
        """For a viewer who begins at the state's position.

        Args:
            form: how events look on the wire.
            state: the run, as it is there.
            newcomer: see `AguiState.preamble`.
        """
        return cls(
            form,
            state.progress,
            preamble=state.preamble(newcomer=newcomer),
            knows_state=state.knows_state or not newcomer,
        )

    def greeting(self, retry_milliseconds: int, position: StreamId | None) -> bytes:
        """As for all; then the preamble, of which no part moves the cursor further."""
        first = self._form.greeting(retry_milliseconds, position)
        return first + self._blocks(self._preamble)

    def encode(self, frames: Sequence[Frame]) -> Sequence[bytes]:
        """The events, each behind what it needs; less those that can't be made valid."""
        wires: list[bytes] = []
        for frame in frames:
            if frame.type in NOT_OF_RUN:
                wires.append(id_block(frame.id))
                continue
            said = self._form.read(frame)
            if self._unsaid_gap is None and self._progress.continues(said):
                wires.append(self._form.written(frame))
                continue
            gap = self._gap_before(said)
            needed = self._needed(said)
            if needed is None:
                wires.append(gap + id_block(frame.id))
                continue
            inserted = gap + self._blocks(needed)
            mended = self._progress.mended(said)
            self._progress.take(mended)
            if mended is said:
                written = self._form.written(frame)
            else:
                written = wire(self._form.mark(mended), frame.id)
            wires.append(inserted + written + self._say_gap())
        return wires

    def gap(self, gap: Gap) -> bytes:
        """Says the gap, as a CUSTOM event. If the run has not begun for the client, that waits
        for the next event, which may be the one that begins it."""
        self._knows_state &= gap.reason is GapReason.FAILOVER
        before = self._unsaid_gap
        self._unsaid_gap = gap if before is None else replace(gap, requested=before.requested)
        return self._say_gap() if self._progress.active else b""

    def caught_up(self, position: StreamId) -> bytes:
        """Nothing, as for all."""
        return self._form.caught_up(position)

    def heartbeat(self, position: StreamId | None) -> bytes:
        """As for all."""
        return self._form.heartbeat(position)

    def moved(self, position: StreamId) -> bytes:
        """As for all."""
        return self._form.moved(position)

    def after_gap(self) -> Dialect:
        """The same: it knows what the client was told."""
        return self

    def _needed(self, said: Document) -> list[Document] | None:
        if said["type"] == "STATE_DELTA" and not self._knows_state:
            return None
        if said["type"] in ("RUN_STARTED", "STATE_SNAPSHOT"):
            self._knows_state = True
        needed = self._progress.missing(said)
        for each in needed or ():
            self._progress.take(each)
        return needed

    def _gap_before(self, said: Document) -> bytes:
        if self._unsaid_gap is None or self._progress.ended or said["type"] == "RUN_STARTED":
            return b""
        begun = run_started(self._form.run_id)
        self._progress.take(begun)
        return self._blocks([begun]) + self._say_gap()

    def _say_gap(self) -> bytes:
        gap, self._unsaid_gap = self._unsaid_gap, None
        if gap is None:
            return b""
        said: list[Document] = [gap_document(gap)]
        if gap.reason is GapReason.FAILOVER:
            # What the client has stands; but any event between two chunks parts them.
            said += self._progress.lanes
        for each in said:
            self._progress.take(each)
        return self._blocks(said)

    def _blocks(self, documents: Sequence[Document]) -> bytes:
        return b"".join(wire(self._form.mark(said)) for said in documents)
