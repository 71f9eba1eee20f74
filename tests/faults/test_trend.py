"""A climb is told from noise, from a peak, and from what fills up at first."""

import random

import pytest

from tests.faults.trend import Quantity, trend

MEMORY = Quantity("memory", "MB", 4)


def noisy(count: int, slope: float, unrest: float = 2.0) -> list[float]:
    source = random.Random(7)
    return [100 + slope * number + source.gauss(0, unrest) for number in range(count)]


def test_what_stays_does_not_climb() -> None:
    assert not trend(MEMORY, noisy(300, slope=0)).climbs


def test_what_climbs_slowly_but_surely() -> None:
    assert trend(MEMORY, noisy(300, slope=0.1)).climbs


def test_a_peak_is_no_climb() -> None:
    samples = noisy(300, slope=0)
    samples[250:270] = [500.0] * 20
    assert not trend(MEMORY, samples).climbs


def test_a_warm_up_is_no_climb() -> None:
    samples = noisy(300, slope=0)
    samples[:50] = [20.0] * 50
    assert not trend(MEMORY, samples).climbs


def test_what_swings_widely_must_climb_more() -> None:
    assert not trend(MEMORY, noisy(300, slope=0.05, unrest=30)).climbs


def test_small_numbers_may_differ_by_the_slack() -> None:
    connections = Quantity("connections", "", 4)
    assert not trend(connections, [3.0] * 30 + [6.0] * 15).climbs
    assert trend(connections, [3.0] * 30 + [12.0] * 15).climbs


def test_too_few_samples() -> None:
    with pytest.raises(ValueError, match="too few"):
        trend(MEMORY, [1.0, 2.0])
