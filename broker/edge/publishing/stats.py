"""What was counted of this edge's writing, in plain numbers."""

from collections import Counter
from dataclasses import dataclass, field

__all__ = ["PublishingStats"]


@dataclass(slots=True)
class PublishingStats:
    """Counted since the process began, except `requests`."""

    requests: int = 0
    """Under way now."""
    appended: int = 0
    duplicates: int = 0
    """Events that had been appended before, and were not again."""
    appended_bytes: int = 0
    """Of the lines that the appended events were made of."""
    commands: int = 0
    runs: int = 0
    """Created, those asked for once more left out."""
    refused: Counter[str] = field(default_factory=Counter)
    """By the problem that was answered."""
    abandoned: int = 0
    """Bodies whose client left in their midst."""
    lost_runs: int = 0
    """Runs that were ended because their worker was gone."""
