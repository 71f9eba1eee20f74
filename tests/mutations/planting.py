"""A copy of what the tests need, with a bug in it. The checkout is never touched."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.mutations.catalogue import Mutation

__all__ = ["ROOT", "CantPlant", "check", "copied", "planted"]

ROOT: Final = Path(__file__).resolve().parents[2]
_NEEDED: Final = ("broker", "tests", "pyproject.toml")
_NOT_NEEDED: Final = shutil.ignore_patterns("__pycache__", "node_modules", ".hypothesis", "results")


class CantPlant(Exception):
    """The text that a bug replaces is not there exactly once: the catalogue is out of date."""


def check(mutation: Mutation, root: Path = ROOT) -> None:
    """
    Raises:
        CantPlant: the bug has no place any more.
    """
    found = (root / mutation.path).read_text(encoding="utf-8").count(mutation.before)
    if found != 1:
        raise CantPlant(f"{mutation.name}: its text is {found} times in {mutation.path}, not once")
    if mutation.before == mutation.after:
        raise CantPlant(f"{mutation.name} changes nothing")


def copied(directory: Path) -> Path:
    """A copy of the repository's code and tests in `directory`."""
    for name in _NEEDED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, directory / name, ignore=_NOT_NEEDED)
        else:
            shutil.copy(source, directory / name)
    return directory


@contextmanager
def planted(mutation: Mutation, copy: Path) -> Iterator[None]:
    """The copy has the bug while the context lasts.

    Raises:
        CantPlant: the bug has no place any more.
    """
    check(mutation, copy)
    path = copy / mutation.path
    right = path.read_text(encoding="utf-8")
    path.write_text(right.replace(mutation.before, mutation.after), encoding="utf-8")
    try:
        yield
    finally:
        path.write_text(right, encoding="utf-8")
