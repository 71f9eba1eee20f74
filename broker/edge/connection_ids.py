"""What a viewer's connection is called, in logs and by operators: `2-9f3c01a` is worker 2's."""

import re
from typing import Final

__all__ = ["CONNECTION_ID_PATTERN", "connection_id", "parse_connection_id"]

CONNECTION_ID_PATTERN: Final = r"[1-9][0-9]{0,3}-[0-9a-f]{1,16}"

_CONNECTION_ID: Final = re.compile(CONNECTION_ID_PATTERN)


def connection_id(worker: int, number: int) -> str:
    """The id of a worker's connection."""
    return f"{worker}-{number:x}"


def parse_connection_id(text: str) -> tuple[int, int] | None:
    """The worker and the number; `None` for what no connection is called."""
    if not _CONNECTION_ID.fullmatch(text):
        return None
    worker, _, number = text.partition("-")
    return int(worker), int(number, 16)
