"""schemathesis on the routes that answer in JSON, by the edge's own OpenAPI document.

It makes requests that the document allows, requests that it does not, and checks each answer
against it: status, headers, content type, schema, that what is allowed is served, and that what is
not is refused. It runs as a command, as users of the document would run it: inside of pytest it
patches Hypothesis so that other tests' failures are no longer shown.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
import redis

from tests.fuzz.effort import LONG
from tests.support.edges import Edge
from tests.support.producer import key_of

_COMMAND: Final = Path(sys.executable).with_name("schemathesis")
_SECONDS: Final = 3000 if LONG else 50
_CONFIG: Final = """
[[operations]]
include-name = "POST /v1/runs"
[operations.checks]
# 422: keys that generators like have been used, for something else.
positive_data_acceptance.expected-statuses = ["201", "409", "422"]
"""


@pytest.fixture
def edge_with_runs(redis_url: str) -> Iterator[Edge]:
    """An edge that does not wait long for what comes, with runs that generators like to name."""
    with redis.Redis.from_url(redis_url) as client:
        for run_id in ("0", "A", "a", "-", "_", "00"):
            for event_type in ("chunk", "", "done"):
                client.xadd(key_of(run_id), {"type": event_type, "data": "{}"})
    edge = Edge(redis_url, max_wait_seconds=0.05, publish=True)
    yield edge
    edge.close()


def test_the_document_is_true(edge_with_runs: Edge, tmp_path: Path) -> None:
    (tmp_path / "schemathesis.toml").write_text(_CONFIG)
    outcome = subprocess.run(
        [
            *(str(_COMMAND), "run", f"{edge_with_runs.url}/openapi.json"),
            *("--checks", "all", "--warnings", "off", "--no-color"),
            *("--header", "Accept: application/json"),
            # What is let through would end the edge; tests/unit/test_admin.py has what is not.
            *("--exclude-path", "/admin/drain"),
            *(("--max-examples", "1000") if LONG else ("--max-examples", "15")),
            *(() if LONG else ("--generation-deterministic",)),
        ],
        capture_output=True,
        text=True,
        timeout=_SECONDS,
        cwd=tmp_path,
        # It looks for hooks and settings of its own in both.
        env={name: value for name, value in os.environ.items() if "SCHEMATHESIS" not in name},
    )
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    # All but the document's own, and draining.
    assert "Tested: 11\n" in outcome.stdout
    assert edge_with_runs.traces() == ""
