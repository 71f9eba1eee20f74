"""Waits double, have jitter, and are bounded."""

import random

import pytest

from broker.engine.backoff import backoff_seconds


@pytest.mark.parametrize(
    ("failures", "least", "most"),
    [(1, 0.1, 0.2), (2, 0.2, 0.4), (5, 1.6, 3.2), (6, 2.5, 5), (1_000_000, 2.5, 5)],
)
def test_it_doubles_up_to_the_longest(failures: int, least: float, most: float) -> None:
    source = random.Random(1)
    waits = [
        backoff_seconds(failures, base=0.1, longest=5, random_source=source) for _ in range(300)
    ]
    assert least <= min(waits) < max(waits) <= most
    assert max(waits) - min(waits) > (most - least) * 0.8
