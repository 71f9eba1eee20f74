"""A proxy's files as they are in `deploy/proxies`, but with a test's own addresses in them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

__all__ = ["DEPLOYED", "Change", "changed"]

DEPLOYED: Final = Path(__file__).parents[2] / "deploy" / "proxies"
"""Where the files are."""


@dataclass(frozen=True, slots=True)
class Change:
    """A text for something of the operator's own, which stands in the file once."""

    old: str
    new: str


def changed(text: str, changes: Sequence[Change]) -> str:
    """The text with all changes made, and nothing else changed.

    Raises:
        ValueError: one of them is not there once: the file is another than thought.
    """
    for change in changes:
        found = text.count(change.old)
        if found != 1:
            raise ValueError(f"{change.old!r} stands there {found} times, not once")
        text = text.replace(change.old, change.new)
    return text
