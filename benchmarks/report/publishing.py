"""Tables and plots, made anew from the result files."""

from pathlib import Path

from benchmarks.report.plots import draw
from benchmarks.report.results import load_results
from benchmarks.report.tables import replace_tables

__all__ = ["publish"]


def publish(directory: Path, page: Path) -> list[Path]:
    """Draws each result beside its file, and renews the tables of the page if there is one.

    Returns:
        The files written.
    """
    results = load_results(directory)
    written = [draw(result, directory) for result in results]
    if page.exists():
        text = page.read_text(encoding="utf-8")
        page.write_text(replace_tables(text, results), encoding="utf-8")
        written.append(page)
    return written
