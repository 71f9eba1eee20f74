"""Run ids and stream ids: their syntax, their order, and their neighbours.

A stream id is Redis' ``<ms>-<seq>``, both unsigned 64-bit. It is also the SSE ``id`` and the
cursor that a viewer sends back, unchanged.
"""

import re
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple, NewType

__all__ = [
    "GREATEST_PART",
    "RUN_ID_PATTERN",
    "START",
    "RunId",
    "StreamId",
    "id_time",
    "is_run_id",
]

RunId = NewType("RunId", str)

RUN_ID_PATTERN: Final = r"[A-Za-z0-9_-]{1,128}"
GREATEST_PART: Final = 2**64 - 1
"""Of each of an id's two numbers."""

_RUN_ID: Final = re.compile(RUN_ID_PATTERN)
_STREAM_ID: Final = re.compile(r"(0|[1-9][0-9]{0,19})-(0|[1-9][0-9]{0,19})")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LAST_TIME_MS: Final = 253_402_214_400_000
"""A day before the year 10000: what comes after can't be written in every zone's local time."""


def is_run_id(text: str) -> bool:
    """Whether `text` may name a run. Checked before any key is made from it."""
    return _RUN_ID.fullmatch(text) is not None


class StreamId(NamedTuple):
    """The id of an entry in a Redis stream; compares in stream order."""

    ms: int
    seq: int

    @classmethod
    def parse(cls, text: str) -> "StreamId":
        """The id written as `text`, in Redis' own spelling (no signs, no leading zeros).

        Raises:
            ValueError: `text` is not ``<ms>-<seq>`` with two unsigned 64-bit numbers.
        """
        match = _STREAM_ID.fullmatch(text)
        if match is None:
            raise ValueError("not <milliseconds>-<sequence>")
        ms, seq = int(match[1]), int(match[2])
        if ms > GREATEST_PART or seq > GREATEST_PART:
            raise ValueError("a part is above 2^64 - 1")
        return cls(ms, seq)

    def predecessor(self) -> "StreamId":
        """The greatest id below this one. A read after it yields this id's own entry first.

        Raises:
            ValueError: `0-0` has none.
        """
        if self.seq:
            return StreamId(self.ms, self.seq - 1)
        if self.ms:
            return StreamId(self.ms - 1, GREATEST_PART)
        raise ValueError("0-0 has no predecessor")

    def successor(self) -> "StreamId":
        """The least id above this one; no entry can lie between the two."""
        if self.seq < GREATEST_PART:
            return StreamId(self.ms, self.seq + 1)
        return StreamId(self.ms + 1, 0)

    def time(self) -> datetime | None:
        """When Redis took the entry; `None` for ids that producers count up by themselves."""
        if not 0 < self.ms <= _LAST_TIME_MS:
            return None
        return _EPOCH + timedelta(milliseconds=self.ms)

    def __str__(self) -> str:
        return f"{self.ms}-{self.seq}"


def id_time(stream_id: StreamId) -> str | None:
    """When Redis took the entry, as RFC 3339 with milliseconds; see `StreamId.time`."""
    moment = stream_id.time()
    if moment is None:
        return None
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


START: Final = StreamId(0, 0)
"""The position before every entry. Redis never gives this id to one."""
