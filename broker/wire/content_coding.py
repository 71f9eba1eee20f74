"""Content codings (RFC 9110, 8.4) for streams that many viewers share.

A body is made of parts that stand for themselves, so that the same part can be sent to viewers who
had other ones before, and no viewer needs a compressor of their own:

- gzip: blocks that end at a byte and refer to nothing before them. One stream of deflate may be put
  together from such (RFC 1951); only the trailer is a viewer's own.
- zstd: a frame each (RFC 8878, section 3: a body may have any number).

Small events have little in themselves that could be compressed. Viewers who get the same events
live share a `History`, too: what it encodes refers to what it has encoded before.
"""

import sys
import zlib
from collections.abc import Hashable, Sequence
from typing import Final, Protocol

from broker.wire.checksum import Checksum

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

__all__ = ["ContentCoding", "Gzip", "History", "Zstd", "chosen"]

_STORED_UP_TO: Final = 64
"""Data of up to so many bytes is not worth a compressor."""
_SMALL: Final = 4096
_GZIP_HEADER: Final = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
"""Deflate, no name, no time, of no known system."""
_LAST_BLOCK: Final = b"\x03\x00"
_ZSTD_LEVEL: Final = 3


class History(Protocol):
    """Encodes events one after the other, for those who get all of them and nothing between."""

    def encode(self, data: bytes) -> bytes:
        """What follows everything since `forget`."""

    def forget(self) -> None:
        """To be called when someone comes who lacks it, or gets something of their own."""


class ContentCoding(Hashable, Protocol):
    """One way to encode a body, by its name in `Content-Encoding`."""

    name: str
    beginning: bytes
    """What each body begins with."""

    def encode(self, data: bytes) -> bytes:
        """A part of a body, whatever is before it."""

    def ending(self, body: Checksum) -> bytes:
        """What a body of this checksum ends with."""

    def history(self) -> History:
        """A new one."""


class Gzip:
    """RFC 1952. Understood by everyone."""

    name = "gzip"
    beginning = _GZIP_HEADER

    def __init__(self, most_histories: int = 256) -> None:
        """
        Args:
            most_histories: how many are kept at a time, of 32 KiB each; the one that was not used
                for longest is forgotten, which costs bytes, but nothing else.
        """
        self._most_histories = most_histories
        self._kept: dict[_GzipHistory, None] = {}

    def encode(self, data: bytes) -> bytes:
        """Blocks of deflate that refer to nothing before them."""
        size = len(data)
        if size <= _STORED_UP_TO:
            return b"\x00%b%b%b" % (
                size.to_bytes(2, "little"),
                (size ^ 0xFFFF).to_bytes(2, "little"),
                data,
            )
        # Small windows are made in a tenth of the time.
        window, memory = (-12, 5) if size <= _SMALL else (-15, 8)
        return _flushed(zlib.compressobj(1, zlib.DEFLATED, window, memory), data)

    def ending(self, body: Checksum) -> bytes:
        """The last block, which is empty, and the trailer."""
        return _LAST_BLOCK + body.trailer()

    def history(self) -> History:
        """One with a window of 4 KiB."""
        return _GzipHistory(self)

    def keep(self, history: "_GzipHistory") -> None:
        """Counts the history as used just now."""
        self._kept.pop(history, None)
        self._kept[history] = None
        if len(self._kept) > self._most_histories:
            next(iter(self._kept)).forget()

    def drop(self, history: "_GzipHistory") -> None:
        """Counts it as forgotten."""
        self._kept.pop(history, None)


class _GzipHistory:
    def __init__(self, gzip: Gzip) -> None:
        self._gzip = gzip
        self._compressor: zlib._Compress | None = None

    def encode(self, data: bytes) -> bytes:
        """Blocks that may refer to the last 4 KiB."""
        if self._compressor is None:
            self._compressor = zlib.compressobj(6, zlib.DEFLATED, -12, 5)
        self._gzip.keep(self)
        return _flushed(self._compressor, data)

    def forget(self) -> None:
        """See `History.forget`."""
        if self._compressor is not None:
            self._compressor = None
            self._gzip.drop(self)


def _flushed(compressor: "zlib._Compress", data: bytes) -> bytes:
    return compressor.compress(data) + compressor.flush(zlib.Z_SYNC_FLUSH)


class Zstd:
    """RFC 8878. Quicker, and smaller for what is replayed; small events gain nothing by it."""

    name = "zstd"
    beginning = b""

    def encode(self, data: bytes) -> bytes:
        """A frame."""
        return zstd.compress(data, _ZSTD_LEVEL)

    def ending(self, body: Checksum) -> bytes:
        """Nothing: each frame has ended."""
        return b""

    def history(self) -> History:
        """None that remembers anything: a frame can't be left for a while and gone on with."""
        return _NoHistory(self)


class _NoHistory:
    def __init__(self, zstd_coding: Zstd) -> None:
        self._coding = zstd_coding

    def encode(self, data: bytes) -> bytes:
        """A frame."""
        return self._coding.encode(data)

    def forget(self) -> None:
        """Nothing to forget."""


def chosen(accept_encoding: str, offered: Sequence[ContentCoding]) -> ContentCoding | None:
    """The coding that the client likes best (RFC 9110, 12.5.3).

    Args:
        accept_encoding: the header, its fields joined by commas; empty if absent.
        offered: what there is; of those that the client likes alike, the first is taken.

    Returns:
        `None` for no coding: if that is liked better, or nothing else is taken.
    """
    qualities: dict[str, float] = {}
    for part in accept_encoding.lower().split(","):
        name, *parameters = (piece.strip() for piece in part.split(";"))
        if name:
            qualities[name] = _quality(parameters)
    anything = qualities.get("*", 0.0)
    plain = qualities.get("identity", 0.0)
    best, best_quality = None, 0.0
    for coding in offered:
        quality = qualities.get(coding.name, anything)
        if quality > best_quality and quality >= plain:
            best, best_quality = coding, quality
    return best


def _quality(parameters: Sequence[str]) -> float:
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            return _number(value.strip())
    return 1.0


def _number(text: str) -> float:
    """A weight; what is none counts as "not acceptable", which is right for everyone."""
    digits = text.replace(".", "", 1)
    if not (digits.isascii() and digits.isdigit() and len(text) <= 5):
        return 0.0
    return float(text)
