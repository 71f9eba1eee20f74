"""The unit, as systemd reads it. (That the edge does without what it forbids: docs/deploy.md.)"""

import sys
from pathlib import Path

from tests.deploy.programs import DEPLOY, check, program

UNIT = DEPLOY / "systemd" / "runcast.service"
MOST_EXPOSURE = 15
"""In tenths; systemd calls up to 2.0 "OK" without a frown, and a unit without anything has 9.6."""


def test_systemd_understands_all_of_it(tmp_path: Path) -> None:
    text = UNIT.read_text()
    assert text.count("ExecStart=/opt/runcast/bin/runcast ") == 1
    unit = tmp_path / UNIT.name
    unit.write_text(text.replace("/opt/runcast/bin/runcast", sys.executable))
    assert check(program("systemd-analyze"), "verify", "--man=no", unit) == ""


def test_it_may_do_little() -> None:
    analyze = program("systemd-analyze")
    check(analyze, "security", "--offline=true", f"--threshold={MOST_EXPOSURE}", UNIT)
