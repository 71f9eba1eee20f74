"""Who is behind a subscriber, as far as operators are to see. The engine only keeps it."""

from dataclasses import dataclass
from typing import Final

__all__ = ["UNKNOWN", "Visitor"]


@dataclass(frozen=True, slots=True)
class Visitor:
    """One for each connection."""

    number: int
    """Of the connection, among those of its process."""
    profile: str
    """In whose words it is served."""
    subject: str | None = None
    """Who it is to the operator; `None` for nobody in particular."""
    address: str | None = None
    """The client's; `None` where there is none, as on a Unix socket."""


UNKNOWN: Final = Visitor(0, "native")
