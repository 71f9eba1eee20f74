"""The body of `POST /admin/drain`: what it may say. Pure."""

from typing import Final

import orjson

from broker.wire.problem import BadBody

__all__ = ["LONGEST_DRAIN_SECONDS", "parse_drain"]

LONGEST_DRAIN_SECONDS: Final = 3600


def parse_drain(text: bytes, usual_seconds: float) -> float:
    """Over how many seconds viewers are to leave.

    Args:
        text: the body; may be empty.
        usual_seconds: how many where it does not say.

    Raises:
        BadBody: it says something else.
    """
    try:
        document = orjson.loads(text) if text else {}
    except orjson.JSONDecodeError:
        raise BadBody("it is not JSON") from None
    if not isinstance(document, dict) or document.keys() - {"seconds"}:
        raise BadBody('it may be {"seconds": 30}, and nothing else')
    seconds = document.get("seconds", usual_seconds)
    known = isinstance(seconds, (int, float)) and not isinstance(seconds, bool)
    if not known or not 0 < seconds <= LONGEST_DRAIN_SECONDS:
        raise BadBody(f"seconds is to be a number above 0, up to {LONGEST_DRAIN_SECONDS}")
    return float(seconds)
