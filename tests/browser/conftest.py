"""Browsers don't care which Redis an edge reads, so one kind is enough here."""

import pytest

from tests.support.servers import available_kinds


@pytest.fixture(scope="session")
def redis_kind() -> str:
    """The kind that every machine has."""
    return available_kinds()[0]
