"""Runs tests in a copy until one fails."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

__all__ = ["TrialError", "Verdict", "try_tests"]

_SECONDS: Final = 180
_TESTS_FAILED: Final = 1
_FAILED: Final = re.compile(r"^(?:FAILED|ERROR) (\S+)", re.MULTILINE)
_QUIETLY: Final = ("-x", "-q", "-rfE", "--tb=no", "-p", "no:cacheprovider")
_TOLD_SO: Final = {
    # A story that shows the bug is enough; it need not be the shortest.
    "RUNCAST_TEST_MODEL_SHRINK": "0",
    # A bug may be in a file whose compiled form has the same time and size.
    "PYTHONDONTWRITEBYTECODE": "1",
}


class TrialError(Exception):
    """The tests did not run, so they say nothing."""


@dataclass(frozen=True)
class Verdict:
    """How it went."""

    caught_by: str | None
    """The first test that failed; `None` if all passed."""
    seconds: float


def try_tests(copy: Path, tests: Sequence[str]) -> Verdict:
    """The verdict of these tests, in this order, on the copy.

    Raises:
        TrialError: they could not be run.
    """
    began = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "pytest", *_QUIETLY, *tests],
        cwd=copy,
        env={**os.environ, **_TOLD_SO, "PYTHONPATH": str(copy)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        # With the servers that the tests start, should they have to be ended.
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=_SECONDS)
    except subprocess.TimeoutExpired:
        return Verdict(f"no end within {_SECONDS} s", time.monotonic() - began)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    seconds = time.monotonic() - began
    if process.returncode == 0:
        return Verdict(None, seconds)
    failed = _FAILED.search(output)
    if process.returncode != _TESTS_FAILED or failed is None:
        raise TrialError(f"pytest ended with {process.returncode}:\n{output[-2000:]}")
    return Verdict(failed[1], seconds)
