"""A gap: a range of ids that a viewer asked for and that can't be served."""

from dataclasses import dataclass
from enum import StrEnum

from broker.wire.ids import StreamId

__all__ = ["Gap", "GapReason"]


class GapReason(StrEnum):
    """Why events are missing, as far as Redis can tell."""

    TRIMMED = "trimmed"
    """The stream's head was cut off (MAXLEN, MINID) past the cursor."""
    RESET = "reset"
    """The cursor is not of this stream: it was re-created, has lost its tail, or the cursor is
    another run's. What the viewer has is void; the run follows from its start."""
    UNKNOWN = "unknown"
    """The stream is gone, or entries were deleted from its middle."""
    FAILOVER = "failover"
    """Another Redis has taken over, which need not have had all of its predecessor's events: those
    right after the cursor may be lost. Nothing is skipped, and what the viewer has stands."""


@dataclass(frozen=True, slots=True)
class Gap:
    """Said once to each viewer concerned, before the first event after the hole."""

    requested: StreamId
    """The cursor: the viewer has, or claims to have, everything up to here."""
    resumed_at: StreamId | None
    """The first event that follows the hole; `None` while there is none."""
    reason: GapReason

    def document(self) -> dict[str, str | None]:
        """The gap as the JSON object of the control event and of the JSON page."""
        return {
            "requested": str(self.requested),
            "resumed_at": None if self.resumed_at is None else str(self.resumed_at),
            "reason": self.reason.value,
        }

    def header(self) -> str:
        """The gap as the value of the ``Runcast-Gap`` response header."""
        return ", ".join(f"{name}={value or ''}" for name, value in self.document().items())
