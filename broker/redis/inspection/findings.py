"""What a check finds."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

__all__ = ["CANT_TELL", "Finding", "Level"]

CANT_TELL: Final = "can't tell: not permitted to ask"


class Level(StrEnum):
    """How bad a finding is."""

    OK = "ok"
    WARNING = "warning"
    """It works, but something is at risk."""
    PROBLEM = "problem"
    """It does not work, or loses runs."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found."""

    name: str
    level: Level
    found: str
    advice: str = ""
    """What to do, in one line; empty where nothing need be done."""
    server: str = ""
    """Which server it is about, where there are several."""
