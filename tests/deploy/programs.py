"""The programs that check what is in `deploy/`."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

__all__ = ["DEPLOY", "ROOT", "check", "program"]

ROOT: Final = Path(__file__).resolve().parents[2]
DEPLOY: Final = ROOT / "deploy"


def program(name: str) -> str:
    """Where it is; skips the test where it is not installed."""
    beside = Path(sys.executable).parent / name
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


def check(*command: str | Path, cwd: Path | None = None) -> str:
    """Runs a program that must find nothing to complain of; what it says."""
    outcome = subprocess.run(
        command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=50
    )
    assert outcome.returncode == 0, outcome.stdout
    return outcome.stdout
