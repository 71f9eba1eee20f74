"""What a fault is."""

from abc import ABC, abstractmethod
from typing import ClassVar, Final

from tests.faults.stage import Needs, Stage

__all__ = ["GAPS", "INTERRUPTED", "Fault"]

GAPS: Final = ("runcast_gaps_total",)
INTERRUPTED: Final = ("runcast_tail_interruptions_total", "runcast_redis_errors_total")


class Fault(ABC):
    """Something that goes wrong, and is over again when `strike` returns."""

    name: ClassVar[str]
    """As it is asked for."""
    title: ClassVar[str]
    """What happens, in a line."""
    shows: ClassVar[tuple[str, ...]] = ()
    """Metrics of edges, one of which must have moved, or it never came to anything."""

    @property
    def needs(self) -> Needs:
        """What it needs of the stage."""
        return Needs()

    @property
    def missing(self) -> str | None:
        """Why it can't be had on this machine; `None` if it can."""
        return None

    @abstractmethod
    async def strike(self, stage: Stage) -> None:
        """Begins it, and undoes it."""
