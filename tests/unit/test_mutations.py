"""The catalogue of planted bugs is up to date; `python -m tests.mutations` plants them."""

from pathlib import Path

import pytest

from tests.mutations.catalogue import MUTATIONS, Mutation
from tests.mutations.planting import ROOT, CantPlant, check, planted
from tests.mutations.table import PAGE, publish, render
from tests.mutations.trial import Verdict


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: str(mutation.name))
def test_each_bug_has_its_place_and_its_tests(mutation: Mutation) -> None:
    check(mutation)
    assert mutation.tests
    for test in mutation.tests:
        assert (ROOT / test.partition("::")[0]).exists(), test


def test_they_have_names_of_their_own() -> None:
    assert len({mutation.name for mutation in MUTATIONS}) == len(MUTATIONS)


@pytest.mark.parametrize("text", ["nothing of it", "a < b and a < b"])
def test_a_bug_without_its_one_place_is_not_planted(tmp_path: Path, text: str) -> None:
    (tmp_path / "code.py").write_text(text)
    mutation = Mutation("name", "breaks", "code.py", "a < b", "a <= b", ("tests/unit",))
    with pytest.raises(CantPlant, match="name"), planted(mutation, tmp_path):
        pass
    assert (tmp_path / "code.py").read_text() == text


def test_a_bug_is_planted_for_a_while(tmp_path: Path) -> None:
    code = tmp_path / "code.py"
    code.write_text("if a < b: pass")
    mutation = Mutation("name", "breaks", "code.py", "a < b", "a <= b", ("tests/unit",))
    with planted(mutation, tmp_path):
        assert code.read_text() == "if a <= b: pass"
    assert code.read_text() == "if a < b: pass"


def test_the_table_goes_between_its_markers(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(PAGE.read_text(encoding="utf-8"), encoding="utf-8")
    first, second = MUTATIONS[:2]
    outcomes = [(first, Verdict("tests/unit/test_x.py::test_y", 2)), (second, Verdict(None, 3))]
    for _ in range(2):
        publish(render(outcomes), page)
    text = page.read_text(encoding="utf-8")
    assert text.count(f"| {first.name} |") == 1
    assert "| `unit/test_x.py test_y` | 2 |" in text
    assert "| **nothing** | 3 |" in text
    assert text.startswith(PAGE.read_text(encoding="utf-8").partition("<!--")[0])


def test_every_bug_in_the_page_was_caught() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert "**nothing**" not in text
    for mutation in MUTATIONS:
        assert f"| {mutation.name} |" in text, f"{mutation.name}: run python -m tests.mutations"
