"""What a viewer has to be told who joins a run at some place: a fold over the run's events.

The state at one place and the events that follow give the state at another, so states may be kept
as checkpoints. None is changed once it is there.
"""

from collections.abc import Sequence
from typing import Any, Final

from broker.wire.agui.documents import NOT_OF_RUN, document, run_started
from broker.wire.agui.patch import PatchFailed, apply_patch
from broker.wire.agui.progress import Progress
from broker.wire.agui.vocabulary import Document
from broker.wire.event import Event
from broker.wire.ids import START, RunId, StreamId

__all__ = ["AguiState"]

_UNKNOWN: Final = object()
"""The run's state before it was ever said whole: whatever its starter had."""


class AguiState:
    """A run, as far as an AG-UI client that has seen it from the start has been told."""

    __slots__ = ("_messages", "_progress", "_run_started", "_state", "position", "run_id")

    def __init__(self, run_id: RunId) -> None:
        """A run that has not begun."""
        self.run_id = run_id
        self.position: StreamId = START
        """The id of the newest event in it."""
        self._progress = Progress(run_id)
        self._run_started: Document | None = None
        self._messages: Document | None = None
        self._state: Any = _UNKNOWN

    def advance(self, events: Sequence[Event]) -> "AguiState":
        """The state after these events, which follow on this one's position."""
        if not events:
            return self
        after = AguiState(self.run_id)
        after._progress = self._progress.copy()
        after._run_started = self._run_started
        after._messages = self._messages
        after._state = self._state
        after.position = events[-1].id
        for event in events:
            after._take(event)
        return after

    @property
    def progress(self) -> Progress:
        """How far a client has been told who was told it all; the caller's own."""
        return self._progress.copy()

    @property
    def whole(self) -> bool:
        """Whether the run was seen from its beginning, and so everything that it has opened."""
        return self._run_started is not None

    @property
    def knows_state(self) -> bool:
        """Whether the run's state was ever said whole."""
        return self._state is not _UNKNOWN

    def preamble(self, *, newcomer: bool) -> list[Document]:
        """The events that bring a client here that has been told nothing on its connection.

        Args:
            newcomer: whether it has nothing of the run's messages, either. Who resumes has them
                up to here, and an older MESSAGES_SNAPSHOT would take the newer ones away.
        """
        if not self._progress.started:
            return []
        told = [self._run_started or run_started(self.run_id)]
        if newcomer and self._messages is not None:
            told.append(self._messages)
        if self._state is not _UNKNOWN:
            told.append({"type": "STATE_SNAPSHOT", "snapshot": self._state})
        return told + self._progress.restart()

    def _take(self, event: Event) -> None:
        if event.type in NOT_OF_RUN:
            return
        said = document(event.type, event.data, final=event.final, run_id=self.run_id)
        self._progress.take(said)
        match said["type"]:
            case "RUN_STARTED":
                self._run_started = said
            case "STATE_SNAPSHOT":
                self._state = said.get("snapshot")
            case "STATE_DELTA" if self._state is not _UNKNOWN:
                self._patch(said.get("delta"))
            case "MESSAGES_SNAPSHOT":
                self._messages = said

    def _patch(self, delta: Any) -> None:
        try:
            self._state = apply_patch(self._state, delta)
        except PatchFailed:
            # As clients do: a patch that does not fit changes nothing.
            return
