"""The target: an edge of each way to a client."""

from collections.abc import Iterator
from typing import Any

import pytest
import redis

from tests.fuzz.effort import LONG
from tests.fuzz.target import Target, running_target
from tests.support.servers import available_kinds

_LONG_SECONDS = 3600


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Gives long runs the time that they take."""
    if LONG:
        for item in items:
            if item.nodeid.startswith("tests/fuzz/"):
                item.add_marker(pytest.mark.timeout(_LONG_SECONDS))


@pytest.fixture(scope="session")
def redis_kind() -> str:
    """Strangers don't care which Redis an edge reads, so one kind is enough here."""
    return available_kinds()[0]


@pytest.fixture(scope="session")
def target(redis_url: str, edge_settings: dict[str, Any]) -> Iterator[Target]:
    """The edge that things are sent to, one for each way to a client."""
    with running_target(redis_url, **edge_settings) as target:
        yield target


@pytest.fixture(scope="session")
def writable(redis_url: str) -> Iterator[Target]:
    """An edge that takes events, commands and new runs, as much of them as comes."""
    with running_target(redis_url, publish=True, publish_run_events_per_second=1_000_000) as target:
        yield target


@pytest.fixture(scope="session")
def producer(redis_url: str) -> Iterator[redis.Redis]:
    """A client of the target's Redis that leaves bytes as they are."""
    with redis.Redis.from_url(redis_url) as client:
        yield client
