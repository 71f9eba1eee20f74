"""The outcome as a table, for people and for the documentation."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tests.mutations.catalogue import Mutation
from tests.mutations.planting import ROOT
from tests.mutations.trial import Verdict

__all__ = ["PAGE", "publish", "render"]

PAGE: Final = ROOT / "docs" / "mutations.md"
_BEGIN: Final = "<!-- mutations: begin; written by python -m tests.mutations -->"
_END: Final = "<!-- mutations: end -->"


def render(outcomes: Sequence[tuple[Mutation, Verdict]]) -> str:
    """A Markdown table, a row for each bug."""
    rows = ["| bug | what goes wrong | where | caught by | seconds |", "|---|---|---|---|---|"]
    for mutation, verdict in outcomes:
        caught = "**nothing**" if verdict.caught_by is None else f"`{_short(verdict.caught_by)}`"
        rows.append(
            f"| {mutation.name} | {mutation.breaks} | `{mutation.path}` | {caught} "
            f"| {verdict.seconds:.0f} |"
        )
    return "\n".join(rows)


def publish(table: str, page: Path = PAGE) -> None:
    """Puts the table between the page's markers.

    Raises:
        ValueError: the page has none.
    """
    before, begin, rest = page.read_text(encoding="utf-8").partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not begin or not end:
        raise ValueError(f"{page} has no place for the table")
    page.write_text(f"{before}{begin}\n\n{table}\n\n{end}{after}", encoding="utf-8")


def _short(test: str) -> str:
    """Without what all of them have."""
    return test.removeprefix("tests/").replace("::", " ")
