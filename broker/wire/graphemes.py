"""Grapheme clusters: what a reader takes for one character (UAX #29).

A text that is cut between two of them shows no half of an emoji, and no accent on its own.
"""

from functools import lru_cache
from typing import Final

import regex

__all__ = ["count", "cut"]

_CLUSTER: Final = regex.compile(r"\X")


def count(text: str) -> int:
    """How many graphemes the text has."""
    if _one_each(text):
        return len(text)
    return sum(1 for _ in _CLUSTER.finditer(text))


def cut(text: str, size: int) -> list[str]:
    """The text in pieces of `size` graphemes, the last one as long as it comes.

    Together they are the text; of an empty one there are none.
    """
    if _one_each(text):
        return [text[start : start + size] for start in range(0, len(text), size)]
    return _pieces(size).findall(text)


def _one_each(text: str) -> bool:
    """Whether each of its characters is a grapheme, as far as that can be told quickly: of ASCII,
    CR LF alone is one of two."""
    return text.isascii() and "\r" not in text


@lru_cache(maxsize=64)
def _pieces(size: int) -> regex.Pattern[str]:
    # Possessive: a cluster is never given back to find another way to match.
    return regex.compile(rf"\X{{1,{size}}}+")
