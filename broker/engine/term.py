"""How long a viewer may stay, and for what reason not longer."""

import math
from dataclasses import dataclass
from typing import Final

from broker.engine.ending import Ending

__all__ = ["UNLIMITED", "Term"]


@dataclass(frozen=True, slots=True)
class Term:
    """Ends a stream that would otherwise go on."""

    at: float = math.inf
    """When, in seconds of the engine's clock."""
    ending: Ending = Ending.AGE
    """Why then."""
    one_run: bool = False
    """Whether it ends as well when another run takes the place of the one that it was for."""


UNLIMITED: Final = Term()
