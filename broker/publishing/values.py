"""What workers give as data, as text."""

from typing import Any

import orjson

__all__ = ["as_text"]


def as_text(data: Any) -> str:
    """A string as it is; anything else as compact JSON, `None` as an empty object.

    Raises:
        TypeError: JSON has nothing for it.
    """
    if isinstance(data, str):
        return data
    return orjson.dumps({} if data is None else data).decode()
