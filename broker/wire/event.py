"""From a stream entry to an event: which fields matter, what is repaired, what ends a run."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final, NamedTuple

import orjson

from broker.wire.ids import StreamId

__all__ = ["TRACEPARENT", "Event", "EventFormat", "TerminalRule", "is_event_type"]

TRACEPARENT: Final = "traceparent"
"""The entry field that says which trace the event belongs to (W3C Trace Context)."""

_FORBIDDEN_IN_TYPE: Final = str.maketrans("", "", "\r\n\0")
_RESERVED_PREFIX: Final = "runcast."
_TRACEPARENT_KEY: Final = TRACEPARENT.encode()
_SHORT_TYPE_BYTES: Final = 256
"""Types of up to this size are decoded once."""


class Event(NamedTuple):
    """One entry of a run's stream, ready to be framed."""

    id: StreamId
    type: str
    """The SSE event type; empty where the entry has none. Never has CR, LF or NUL."""
    data: bytes
    """UTF-8 text, normally JSON; byte for byte what the producer wrote."""
    final: bool = False
    """Whether it ends the run."""
    repaired: bool = False
    """Whether type or data had to be changed to be sendable as SSE."""
    traceparent: bytes = b""
    """As the producer wrote it, well-formed or not; empty where nobody traces. Never sent."""


def is_event_type(text: str) -> bool:
    """Whether a publisher may use `text` as an event type.

    CR, LF and NUL could break out of the frame; ``runcast.`` names our control events.
    """
    return text.translate(_FORBIDDEN_IN_TYPE) == text and not text.startswith(_RESERVED_PREFIX)


@dataclass(frozen=True, slots=True)
class TerminalRule:
    """A rule on the event's data: a top-level JSON key with one of these values ends the run."""

    key: str
    values: frozenset[str]

    @classmethod
    def parse(cls, text: str) -> "TerminalRule":
        """The rule written ``KEY in VALUE,VALUE``, e.g. ``state in succeeded,failed``.

        Raises:
            ValueError: `text` has another shape.
        """
        key, separator, values = text.partition(" in ")
        names = frozenset(name.strip() for name in values.split(",") if name.strip())
        if not separator or not key.strip() or not names:
            raise ValueError("write it as KEY in VALUE,VALUE (state in succeeded,failed)")
        return cls(key.strip(), names)

    def matches(self, data: bytes) -> bool:
        """Whether `data` is a JSON object that the rule holds for."""
        if self.key.encode() not in data:
            return False
        try:
            document = orjson.loads(data)
        except orjson.JSONDecodeError:
            return False
        value = document.get(self.key) if isinstance(document, dict) else None
        return isinstance(value, str) and value in self.values


@dataclass(frozen=True, slots=True)
class EventFormat:
    """How entries are read as events: field names and what ends a run."""

    type_field: str = "type"
    data_field: str = "data"
    final_field: str = "final"
    terminal_types: frozenset[str] = frozenset()
    terminal_rule: TerminalRule | None = None
    _type_key: bytes = field(init=False, repr=False)
    _data_key: bytes = field(init=False, repr=False)
    _final_key: bytes = field(init=False, repr=False)

    def __post_init__(self) -> None:
        # Redis answers in bytes; the keys are encoded once rather than per entry.
        object.__setattr__(self, "_type_key", self.type_field.encode())
        object.__setattr__(self, "_data_key", self.data_field.encode())
        object.__setattr__(self, "_final_key", self.final_field.encode())

    def decode(self, entry_id: StreamId, fields: Mapping[bytes, bytes]) -> Event:
        """The event that the entry stands for.

        SSE is UTF-8 only (WHATWG HTML 9.2.5), so other bytes become U+FFFD, and CR, LF and NUL
        are stripped from the type; both set `repaired`. An entry without a data field becomes a
        JSON object of its other fields, less the one for traces.
        """
        raw_type = fields.get(self._type_key, b"")
        decode_type = _decode_short_type if len(raw_type) <= _SHORT_TYPE_BYTES else _decode_type
        event_type, type_repaired = decode_type(raw_type)
        raw = fields.get(self._data_key)
        if raw is None:
            data, data_repaired = self._other_fields(fields)
        else:
            data, data_repaired = _decode_data(raw)
        final = fields.get(self._final_key) == b"1" or self.ends_run(event_type, data)
        return Event(entry_id, event_type, data, final, type_repaired or data_repaired)

    def decode_traced(self, entry_id: StreamId, fields: Mapping[bytes, bytes]) -> Event:
        """The same, with its `traceparent`."""
        event = self.decode(entry_id, fields)
        traceparent = fields.get(_TRACEPARENT_KEY)
        return event if traceparent is None else Event(*event[:-1], traceparent=traceparent)

    def ends_run(self, event_type: str, data: bytes) -> bool:
        """Whether an event of this type and data ends the run, its final field apart."""
        return event_type in self.terminal_types or (
            self.terminal_rule is not None and self.terminal_rule.matches(data)
        )

    def _other_fields(self, fields: Mapping[bytes, bytes]) -> tuple[bytes, bool]:
        envelope = (self._type_key, self._final_key, _TRACEPARENT_KEY)
        document = {
            name.decode("utf-8", "replace"): value.decode("utf-8", "replace")
            for name, value in fields.items()
            if name not in envelope
        }
        repaired = not all(_is_utf8(part) for pair in fields.items() for part in pair)
        return orjson.dumps(document), repaired


def _is_utf8(raw: bytes) -> bool:
    if raw.isascii():
        return True
    try:
        raw.decode()
    except UnicodeDecodeError:
        return False
    return True


def _decode_type(raw: bytes) -> tuple[str, bool]:
    text = raw.decode("utf-8", "replace")
    stripped = text.translate(_FORBIDDEN_IN_TYPE)
    return stripped, stripped != text or not _is_utf8(raw)


# A type may be as large as an entry: a thousand of those are not kept.
_decode_short_type = lru_cache(maxsize=1024)(_decode_type)


def _decode_data(raw: bytes) -> tuple[bytes, bool]:
    if _is_utf8(raw):
        return raw, False
    return raw.decode("utf-8", "replace").encode(), True
