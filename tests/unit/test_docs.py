"""The documentation says what the code does, where a machine can tell."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from broker.cli import cli
from broker.wire import problem
from broker.wire.problem import HttpProblem, Problem

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md")])


def test_the_reference_pages_are_up_to_date() -> None:
    outcome = subprocess.run(
        [sys.executable, str(ROOT / "scripts/reference.py"), "--check"],
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text()):
        if not target.startswith(("http:", "https:")):
            assert (page.parent / target).exists(), target


def test_every_flag_in_the_readme_exists() -> None:
    text = (ROOT / "README.md").read_text().replace("\\\n", " ")
    found = re.findall(r"(?:^|&& )(?:\.venv/bin/)?runcast ([a-z]+)(.*)$", text, flags=re.MULTILINE)
    assert {name for name, _ in found} >= {"demo", "serve", "publish", "tail", "check"}
    for name, rest in found:
        known = CliRunner().invoke(cli, [name, "--help"]).output
        for word in shlex.split(rest, comments=True):
            if word.startswith("--"):
                assert word.partition("=")[0] in known, (name, word)


def test_the_test_command_is_what_ci_runs() -> None:
    assert "\nscripts/test\n" in (ROOT / "README.md").read_text()
    assert "\nscripts/test\n" in (ROOT / ".ci/run").read_text()


def test_every_problem_is_documented() -> None:
    text = (ROOT / "docs/wire.md").read_text()
    for name in problem.__all__:
        kind = getattr(problem, name)
        abstract = not isinstance(kind, type) or kind in (Problem, HttpProblem)
        if not abstract:
            assert f"| `{kind.slug}` | {kind.status} |" in text, name
