"""What a producer may write to a run, and what viewers are to get for it by docs/wire.md."""

import json
import re
from dataclasses import dataclass
from typing import Any, Final

from hypothesis import strategies as st

from tests.fuzz.parsers import Seen

__all__ = ["ENTRIES", "Entry", "ends_run", "expected_event", "expected_item"]

_TERMINAL_TYPES: Final = {"done", "succeeded", "failed", "cancelled", "timed_out"}
_PIECES: Final = (
    b"\n", b"\r", b"\r\n", b"\n\n", b"\r\r", b"\n\r\n", b"\0", b"\t", b" ", b":", b": ",
    b"data: injected", b"\ndata: injected\n\n", b"\nid: 9-9\n\n", b"\rid: 9-9\r\r", b"\nid\n",
    b"event: injected", b"\nevent: injected\n\n", b"\r\nevent: runcast.gap\r\n\r\n",
    b"\nretry: 0\n",
    b"\n: comment\n", b"data", b"id", b"\ndata\n",
    b"\x0b", b"\x0c", b"\x1c", b"\x1d", b"\x1e", b"\xc2\x85", b"\xe2\x80\xa8", b"\xe2\x80\xa9",
    b"\xef\xbb\xbf", b"\xff\xfe", b"\xed\xa0\x80", b"\xed\xb0\x80", b"\xc0\x80", b"\xc0\x8a",
    b"\xf4\x90\x80\x80", b"\xf0\x9f\x92", b"\xf0\x9f\x92\xa9", b"\xe2\x80", b"\x80",
    b"runcast.gap", b"runcast.caught-up", b"heartbeat", b"message", b"done", b"0\r\n\r\n",
    b'{"text":"hi"}', b"\xc3\xa4", b"</script>", b"x" * 40_000,
)  # fmt: skip
"""Every way to end a line, or what some take for one; what would be a field; what is no UTF-8."""
_TEXT: Final = st.lists(
    st.one_of(st.sampled_from(_PIECES), st.sampled_from(_PIECES), st.binary(max_size=10)),
    max_size=6,
).map(b"".join)
_NAMES: Final = st.one_of(
    st.sampled_from((b"type", b"data", b"final", b"", b"id", b"event", b"Type", b"data ")), _TEXT
)
_FLAGS: Final = st.sampled_from((b"1", b"0", b"", b"true", b"01", b"1\n"))


@dataclass(frozen=True, slots=True, repr=False)
class Entry:
    """The fields of one entry, in order; names may come twice."""

    fields: tuple[tuple[bytes, bytes], ...]

    def __repr__(self) -> str:
        shown = repr(self.fields)
        return f"Entry({shown if len(shown) <= 2000 else f'{shown[:2000]}… {len(shown)}'})"

    @property
    def arguments(self) -> list[bytes]:
        """As XADD takes them."""
        return [part for field in self.fields for part in field]


def _entry(*fields: tuple[bytes, bytes] | None) -> Entry:
    return Entry(tuple(field for field in fields if field is not None) or ((b"data", b""),))


def _field(name: bytes, values: st.SearchStrategy[bytes]) -> st.SearchStrategy[Any]:
    """The field with one of these values, mostly."""
    return st.one_of(values, values, values, st.none()).map(
        lambda value: None if value is None else (name, value)
    )


_FIELDS: Final = st.lists(st.tuples(_NAMES, _TEXT), min_size=1, max_size=5)
ENTRIES: Final = st.one_of(
    st.builds(_entry, _field(b"type", _TEXT), _field(b"data", _TEXT)),
    st.builds(_entry, _field(b"data", _TEXT), _field(b"type", _TEXT)),
    st.builds(
        _entry, _field(b"type", _TEXT), _field(b"data", _TEXT), st.tuples(st.just(b"final"), _FLAGS)
    ),
    _FIELDS.map(lambda fields: Entry(tuple(fields))),
)


def ends_run(entry: Entry) -> bool:
    """Whether it ends the run."""
    fields = dict(entry.fields)
    return _type_of(fields) in _TERMINAL_TYPES or fields.get(b"final") == b"1"


def expected_event(entry_id: str, entry: Entry) -> Seen:
    """What a viewer of the stream gets."""
    fields = dict(entry.fields)
    # Line breaks become several lines, and a parser joins lines with LF.
    data = re.sub("\r\n|\r", "\n", _data_of(fields))
    return Seen(entry_id, _type_of(fields) or "message", data)


def expected_item(entry_id: str, entry: Entry) -> tuple[str, str | None, str]:
    """What a reader of the page gets: id, type, data."""
    fields = dict(entry.fields)
    return entry_id, _type_of(fields) or None, _data_of(fields)


def _type_of(fields: dict[bytes, bytes]) -> str:
    return re.sub("[\r\n\0]", "", _text(fields.get(b"type", b"")))


def _data_of(fields: dict[bytes, bytes]) -> str:
    if b"data" in fields:
        return _text(fields[b"data"])
    others = {
        _text(name): _text(value)
        for name, value in fields.items()
        if name not in (b"type", b"final")
    }
    return json.dumps(others, ensure_ascii=False, separators=(",", ":"))


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")
