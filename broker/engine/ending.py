"""Why a stream ends: one enum, used by the log, the metrics and whoever closes the connection."""

from enum import StrEnum

__all__ = ["Ending"]


class Ending(StrEnum):
    """The reason for the end of a viewer's stream."""

    TERMINAL = "terminal"
    """The run is over. A reconnect is answered with 204."""
    CLIENT_GONE = "client_gone"
    STALLED = "stalled"
    """The client took no byte for the stall timeout."""
    RUN_MISSING = "run_missing"
    """The run has not begun within the timeout for it."""
    NOT_A_STREAM = "not_a_stream"
    """The run's key became something else. A reconnect is told so."""
    RIGHT_ENDED = "right_ended"
    """The right to see the run has ended. A reconnect is told so."""
    RIGHT_UNKNOWN = "right_unknown"
    """It must be proved anew: whether the right still holds could not be found out, or another run
    is in the place of the one that it was for."""
    DISCONNECTED = "disconnected"
    """An operator has ended it. The client may come back."""
    AGE = "age"
    """The connection has lasted as long as one may."""
    DRAIN = "drain"
    """This process is leaving."""
    ERROR = "error"
    """A defect of ours; the log has it."""

    @property
    def come_back(self) -> bool:
        """Whether the client should reconnect."""
        return self in _COME_BACK

    @property
    def abrupt(self) -> bool:
        """Whether the connection is dropped rather than ended after what is still unsent."""
        return self in (Ending.CLIENT_GONE, Ending.STALLED)

    @property
    def forfeits(self) -> bool:
        """Whether nobody waits for what is still unsent: the viewer may not have it, or is to go
        now."""
        return self in (Ending.RIGHT_ENDED, Ending.RIGHT_UNKNOWN, Ending.DISCONNECTED)


_COME_BACK = frozenset(
    {
        Ending.STALLED,
        Ending.RUN_MISSING,
        Ending.RIGHT_UNKNOWN,
        Ending.DISCONNECTED,
        Ending.AGE,
        Ending.DRAIN,
        Ending.ERROR,
    }
)
