"""How hard the fuzzers try."""

import os
from typing import Final

from hypothesis import HealthCheck, settings

__all__ = ["LONG", "effort"]

LONG: Final = os.environ.get("RUNCAST_TEST_FUZZ") == "long"
_TIMES: Final = 20


def effort(examples: int) -> settings:
    """Hypothesis' settings for a test that tries so many examples by default.

    Then they are always the same ones, so that a failure is of the change at hand; what is printed
    with it (`@reproduce_failure`) runs the one that failed.
    """
    tried = settings(
        max_examples=examples * _TIMES if LONG else examples,
        derandomize=not LONG,
        deadline=None,
        print_blob=True,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    # A default run leaves nothing behind.
    return tried if LONG else settings(tried, database=None)
