"""docs/workers.md has the numbers and names that the code has."""

import inspect
from pathlib import Path

import pytest

from broker.publishing import PublishingSettings, RunPublisher, worker
from broker.publishing.run import BATCH_BYTES, BATCH_EVENTS, BUFFERED_BYTES, BUFFERED_EVENTS
from broker.redis.commands import MOST_COMMANDS
from broker.redis.requests import MOST_REQUESTS

PAGE = (Path(__file__).parents[2] / "docs" / "workers.md").read_text()
TEXT = " ".join(PAGE.split())


@pytest.mark.parametrize(
    "said",
    [
        f"up to {BATCH_EVENTS} events or {BATCH_BYTES >> 20} MiB.",
        f"Up to {BUFFERED_EVENTS:,} events or {BUFFERED_BYTES >> 20} MiB wait",
        f"newest {MOST_REQUESTS:,} requests",
        f"About {MOST_COMMANDS:,} are kept",
        f"`retry_seconds` ({PublishingSettings().retry_seconds:.0f} s)",
    ],
)
def test_a_limit_is_as_it_is_said(said: str) -> None:
    assert said in TEXT


@pytest.mark.parametrize("name", ["claim_seconds", "most_attempts", "grace_seconds"])
def test_a_default_of_the_worker_is_as_it_is_said(name: str) -> None:
    default = inspect.signature(worker).parameters[name].default
    assert f"`{name}` ({default:.0f})" in TEXT


def test_the_lease_is_as_it_is_said() -> None:
    default = inspect.signature(RunPublisher.run).parameters["lease_seconds"].default
    assert f"`lease_seconds` ({default:.0f};" in TEXT


def test_what_ends_a_run_is_as_it_is_said() -> None:
    settings = PublishingSettings()
    assert all(f"`{name}`" in TEXT for name in settings.events.terminal_types)
    ends = (settings.succeeded_type, settings.failed_type, settings.cancelled_type)
    assert all(f"| `{name}` |" in PAGE for name in ends)
