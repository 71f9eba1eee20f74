"""Dialects: how one run looks on the wire to one kind of viewer.

The engine knows positions and frames; what bytes stand for them is the dialect's. The native one
is here; profiles bring others.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol, runtime_checkable

from broker.wire.frame import (
    Frame,
    caught_up_block,
    gap_block,
    greeting,
    heartbeat_block,
    id_block,
)
from broker.wire.gap import Gap
from broker.wire.ids import StreamId
from broker.wire.status import RunStatus

__all__ = ["NATIVE", "Dialect", "Native", "SaysStatus"]


class Dialect(Protocol):
    """Hashable, and compared by value: viewers with equal dialects share their bytes.

    Each method gives whole blocks of `text/event-stream`, or nothing.
    """

    def greeting(self, retry_milliseconds: int, position: StreamId | None) -> bytes:
        """The stream's first bytes.

        Args:
            retry_milliseconds: how long to wait before a reconnect.
            position: where a reconnect would begin, if the client should know; else `None`.
        """

    def encode(self, frames: Sequence[Frame]) -> Sequence[bytes]:
        """These events in wire form, in order. May merge, split or leave out."""

    def gap(self, gap: Gap) -> bytes:
        """Says what could not be served."""

    def caught_up(self, position: StreamId) -> bytes:
        """Says that from here on, events arrive as they happen."""

    def heartbeat(self, position: StreamId | None) -> bytes:
        """Keeps a quiet connection alive; with a position, it also moves the viewer's cursor."""

    def moved(self, position: StreamId) -> bytes:
        """Moves the viewer's cursor, and is no event."""

    def after_gap(self) -> "Dialect":
        """The dialect to go on with after a gap was said."""


@runtime_checkable
class SaysStatus(Protocol):
    """A dialect that has words for how a run stands."""

    def opening(self, status: RunStatus) -> bytes:
        """The stream's first block."""

    def status(self, status: RunStatus) -> bytes:
        """The block that is sent now and then."""


@dataclass(frozen=True, slots=True)
class Native:
    """Runcast's own wire form (docs/wire.md)."""

    control: bool = True
    """Whether control events are written."""
    heartbeat_as_event: bool = False

    def greeting(self, retry_milliseconds: int, position: StreamId | None) -> bytes:
        """`retry:`, and `id:` where a control event follows that carries it to the client."""
        if position is not None and not self.control:
            return greeting(retry_milliseconds) + id_block(position)
        return greeting(retry_milliseconds, position)

    def encode(self, frames: Sequence[Frame]) -> Sequence[bytes]:
        """The frames as they are: encoded once for all."""
        return [frame.wire for frame in frames]

    def gap(self, gap: Gap) -> bytes:
        """`runcast.gap`."""
        return gap_block(gap) if self.control else b""

    def caught_up(self, position: StreamId) -> bytes:
        """`runcast.caught-up`."""
        return caught_up_block(position) if self.control else b""

    def heartbeat(self, position: StreamId | None) -> bytes:
        """A comment, or an event."""
        return heartbeat_block(as_event=self.heartbeat_as_event, position=position)

    def moved(self, position: StreamId) -> bytes:
        """A block with nothing but an id."""
        return id_block(position)

    def after_gap(self) -> Dialect:
        """The same: it keeps nothing in mind."""
        return self


NATIVE: Final = Native()
