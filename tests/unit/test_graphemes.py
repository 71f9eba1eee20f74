"""Texts are cut between graphemes, and nothing of them is lost."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.wire.graphemes import count, cut

FAMILY = "\U0001f469‍\U0001f469‍\U0001f467"
"""Five code points: three people, joined."""
WAVING = "\U0001f44b\U0001f3fd"
"""A hand and the colour of its skin."""
ACCENTED = "é"
GERMANY, FRANCE = "\U0001f1e9\U0001f1ea", "\U0001f1eb\U0001f1f7"
SYLLABLE = "각"
"""A Hangul syllable from its parts."""
CONJUNCT = "क्ष"
"""Two Devanagari consonants that are written as one."""
ONE_EACH = [FAMILY, WAVING, ACCENTED, GERMANY, SYLLABLE, CONJUNCT, "\r\n", "a", "ß", "漢", "\0"]


@pytest.mark.parametrize("grapheme", ONE_EACH)
def test_what_a_reader_takes_for_one_character_is_never_cut(grapheme: str) -> None:
    assert count(grapheme) == 1
    assert cut(grapheme, 1) == [grapheme]
    assert cut(f"x{grapheme}y", 1) == ["x", grapheme, "y"]


def test_flags_are_taken_in_pairs() -> None:
    assert cut(GERMANY + FRANCE, 1) == [GERMANY, FRANCE]


def test_pieces_have_so_many_graphemes() -> None:
    text = f"ab{FAMILY}{ACCENTED}c{GERMANY}d"
    assert cut(text, 3) == [f"ab{FAMILY}", f"{ACCENTED}c{GERMANY}", "d"]


def test_line_breaks_of_two_characters_stay_whole_in_plain_text() -> None:
    assert cut("a\r\nb", 2) == ["a\r\n", "b"]
    assert cut("a\n\rb", 2) == ["a\n", "\rb"]


def test_of_nothing_there_are_no_pieces() -> None:
    assert cut("", 3) == []
    assert count("") == 0


MIXED = st.lists(st.sampled_from([*ONE_EACH, *ACCENTED, *FAMILY, *GERMANY, "\r", "\n"])).map(
    "".join
)


@given(text=st.text() | MIXED, size=st.integers(1, 12))
def test_the_pieces_are_the_text(text: str, size: int) -> None:
    pieces = cut(text, size)
    assert "".join(pieces) == text
    assert all(1 <= count(piece) <= size for piece in pieces)
    assert sum(map(count, pieces)) == count(text)
    assert all(count(piece) == size for piece in pieces[:-1])


@given(text=st.text() | MIXED, size=st.integers(1, 5), more=st.integers(1, 7))
def test_the_rest_of_a_text_is_cut_where_the_whole_is(text: str, size: int, more: int) -> None:
    """Who resumes behind a piece gets on with pieces that begin and end at graphemes, too."""
    head = cut(text, size)[:more]
    rest = text[len("".join(head)) :]
    assert count(text) == count("".join(head)) + count(rest)
    assert cut(rest, size) == cut(text, size)[more:]


@given(left=st.text() | MIXED, right=st.text() | MIXED)
def test_texts_together_have_no_more_graphemes_than_apart(left: str, right: str) -> None:
    """So small texts may be merged by adding up what each of them has."""
    assert count(left + right) <= count(left) + count(right)
