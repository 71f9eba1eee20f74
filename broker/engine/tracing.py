"""What the engine tells whoever traces events; it knows nothing of how that is done."""

from collections.abc import Sequence
from typing import Protocol

from broker.wire.event import Event
from broker.wire.ids import RunId

__all__ = ["Tracing"]


class Tracing(Protocol):
    """Is told of each page that a feed has taken, once in a process, whatever the viewers."""

    def pushed(
        self, run_id: RunId, events: Sequence[Event], *, read_ms: float, viewers: int
    ) -> None:
        """The live viewers have just been written to.

        Args:
            run_id: the run, by its address.
            events: the page's, with their `traceparent` where they have one.
            read_ms: when they were read, in milliseconds since 1970.
            viewers: how many live viewers there were; those who replay are not counted.
        """
