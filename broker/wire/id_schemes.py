"""How stream ids are written for clients that expect other cursors than Redis' own ids.

Integer cursors stand for stream ids both ways, without anything kept in mind:

- `0-N`, as Redis numbers entries that are added with `0-*`, is `N`;
- `<ms>-<seq>`, as it makes ids from its clock, is `ms * 4096 + seq`, a whole number that every
  JSON reader takes exactly (below 2^53 until the year 2039).

An id that fits neither has no number: that of the 4,097th entry and on within one millisecond, or
of a time before 4 January 1970. Its event is sent without an id, so that a reconnect begins at the
last one that has one.
"""

from typing import Final, Protocol

from broker.wire.ids import START, StreamId

__all__ = ["ID_SCHEMES", "IdScheme", "IntegerIds", "StreamIds"]

_PER_MILLISECOND: Final = 4096
_LEAST_MS: Final = 1 << 28
"""From here on a number is a time; below, one that a producer has counted up."""
_LEAST_TIME: Final = _LEAST_MS * _PER_MILLISECOND
_GREATEST: Final = (1 << 63) - 1


class IdScheme(Protocol):
    """Stream ids as clients see them."""

    @property
    def example(self) -> str:
        """One, for messages to people."""

    def write(self, stream_id: StreamId) -> str | None:
        """The id in this form; `None` if it has none."""

    def read(self, text: str) -> StreamId:
        """The id that this stands for.

        Raises:
            ValueError: it is none; the message says what one looks like.
        """


class StreamIds:
    """Redis' own ids, unchanged."""

    example = "1718900000000-0"

    def write(self, stream_id: StreamId) -> str | None:
        """`<ms>-<seq>`."""
        return str(stream_id)

    def read(self, text: str) -> StreamId:
        """See `StreamId.parse`."""
        return StreamId.parse(text)


class IntegerIds:
    """Whole numbers, growing along the run."""

    example = "42"

    def number(self, stream_id: StreamId) -> int | None:
        """The id's number; `None` if it has none."""
        ms, seq = stream_id
        if ms == 0:
            return seq if seq < _LEAST_TIME else None
        if ms < _LEAST_MS or seq >= _PER_MILLISECOND:
            return None
        number = ms * _PER_MILLISECOND + seq
        return number if number <= _GREATEST else None

    def write(self, stream_id: StreamId) -> str | None:
        """The number in digits."""
        number = self.number(stream_id)
        return None if number is None else str(number)

    def read(self, text: str) -> StreamId:
        """The id of a number, `0` standing for the beginning."""
        canonical = text == "0" or not text.startswith("0")
        if not (text.isascii() and text.isdigit() and canonical and len(text) <= 19):
            raise ValueError("not a whole number")
        number = int(text)
        if number > _GREATEST:
            raise ValueError("above 2^63 - 1")
        if number == 0:
            return START
        if number < _LEAST_TIME:
            return StreamId(0, number)
        return StreamId(*divmod(number, _PER_MILLISECOND))


class NoIds:
    """None: the client always begins at the start."""

    example = "0"

    def write(self, stream_id: StreamId) -> str | None:
        """Nothing."""
        return None

    def read(self, text: str) -> StreamId:
        """The beginning, whatever was sent: the client can't have it from us."""
        return START


ID_SCHEMES: Final[dict[str, IdScheme]] = {
    "stream": StreamIds(),
    "integer": IntegerIds(),
    "none": NoIds(),
}
"""By the name that a profile gives."""
