"""How long to wait before the next try: doubling, with jitter, up to a bound."""

import random

__all__ = ["backoff_seconds"]

_MOST_DOUBLINGS = 16


def backoff_seconds(
    failures: int, *, base: float, longest: float, random_source: random.Random
) -> float:
    """Seconds to wait after so many failures in a row, at least one.

    Between half and all of the doubled time, so that who failed together does not return together.

    Args:
        failures: how many there were.
        base: seconds, half of the most to wait after the first.
        longest: seconds, never exceeded.
        random_source: for the jitter.
    """
    most = min(longest, base * 2 ** min(failures, _MOST_DOUBLINGS))
    return random_source.uniform(most / 2, most)
