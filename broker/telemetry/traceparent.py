"""`traceparent`: which trace something belongs to, as W3C Trace Context writes it. Pure."""

import re
from typing import Final, NamedTuple

__all__ = ["TraceParent", "parse_traceparent"]

_FORM: Final = re.compile(
    rb"(?P<version>[0-9a-f]{2})-(?P<trace>[0-9a-f]{32})-(?P<span>[0-9a-f]{16})-(?P<flags>[0-9a-f]{2})"
    rb"(?P<rest>-[\x20-\x7e]*)?"
)
_SAMPLED: Final = 0x01
_MOST_BYTES: Final = 256
"""Of a version that is not known yet; of version 00 they are 55."""


class TraceParent(NamedTuple):
    """A span of a trace, somewhere else."""

    trace_id: int
    span_id: int
    sampled: bool
    """Whether the trace is recorded."""

    def __str__(self) -> str:
        return f"00-{self.trace_id:032x}-{self.span_id:016x}-{int(self.sampled):02x}"


def parse_traceparent(raw: bytes) -> TraceParent | None:
    """What it says; `None` for what has not its form (section 3.2), which is then ignored."""
    if len(raw) > _MOST_BYTES:
        return None
    found = _FORM.fullmatch(raw)
    if found is None or found["version"] == b"ff":
        return None
    if found["version"] == b"00" and found["rest"] is not None:
        return None
    trace_id, span_id = int(found["trace"], 16), int(found["span"], 16)
    if not trace_id or not span_id:
        return None
    return TraceParent(trace_id, span_id, bool(int(found["flags"], 16) & _SAMPLED))
