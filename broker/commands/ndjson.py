"""Events as lines of JSON, the input of `runcast publish`. Pure: bytes in, events out."""

from dataclasses import dataclass
from typing import Any, Final

import orjson

from broker.wire.event import is_event_type

__all__ = ["BadEvent", "NewEvent", "new_event", "parse_line"]

_NO_DATA: Final = "{}"
_SHOWN: Final = 64


class BadEvent(ValueError):
    """It can't be an event; the message says why."""


@dataclass(frozen=True, slots=True)
class NewEvent:
    """An event that is to be appended."""

    type: str
    """Empty for an event without one."""
    data: str


def new_event(event_type: str | None, data: str | None) -> NewEvent:
    """The event of this type and data; data defaults to an empty JSON object.

    Raises:
        BadEvent: the type can't be one, or either is not text that UTF-8 can carry.
    """
    kind = event_type or ""
    if not is_event_type(kind):
        shown = ascii(kind if len(kind) <= _SHOWN else kind[:_SHOWN] + "…")
        raise BadEvent(
            f"{shown} can't be an event type: no line breaks, no NUL, and no runcast.… names"
        )
    text = _NO_DATA if data is None else data
    # Bytes of the command line that were not UTF-8 arrive as lone surrogates.
    for name, value in (("type", kind), ("data", text)):
        try:
            value.encode()
        except UnicodeEncodeError:
            raise BadEvent(f"the {name} is not UTF-8") from None
    return NewEvent(kind, text)


def parse_line(line: bytes) -> NewEvent | None:
    """The event that a line stands for; `None` for a blank one.

    `data` that is a string is sent as that text, anything else as compact JSON, whose integers
    beyond 64 bits become floats. Without `data`, the object itself, less its `type`, is the data.

    Raises:
        BadEvent: it is not a JSON object, or its type can't be one.
    """
    if not line.strip():
        return None
    try:
        document = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise BadEvent(f"not JSON ({error.msg}, column {error.colno})") from None
    if not isinstance(document, dict):
        raise BadEvent('not a JSON object: write {"type": "chunk", "data": {"text": "hi"}}')
    event_type = document.pop("type", None)
    if event_type is not None and not isinstance(event_type, str):
        raise BadEvent("the type is not a string")
    return new_event(event_type, _text(document.get("data", document)))


def _text(data: Any) -> str:
    if isinstance(data, str):
        return data
    try:
        return orjson.dumps(data).decode()
    except TypeError as error:
        # It reads what it does not write: JSON nested deeper than 254 levels.
        raise BadEvent(f"the data can't be written again: {error}") from None
