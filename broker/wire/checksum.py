"""The CRC-32 of bytes that are known by parts (RFC 1952, section 8).

At the end of a gzip body stands the checksum of all of it. Many viewers get the same bytes, after
beginnings of their own; so what they share is summed up once, and put behind what each has had.
"""

import zlib
from functools import lru_cache
from typing import Final

__all__ = ["Checksum", "combined"]

_POLYNOMIAL: Final = 0xEDB88320
"""Bits are reflected: the highest is the coefficient of x^0."""
_ONE: Final = 1 << 31
_SIZE_MASK: Final = 0xFFFFFFFF


class Checksum:
    """Of the bytes so far."""

    __slots__ = ("crc", "size")

    def __init__(self) -> None:
        self.crc = 0
        self.size = 0
        """How many bytes there were."""

    def add(self, data: bytes) -> None:
        """Takes what follows."""
        self.crc = zlib.crc32(data, self.crc)
        self.size += len(data)

    def add_known(self, crc: int, size: int) -> None:
        """Takes `size` bytes that follow and whose own checksum is `crc`."""
        self.crc = combined(self.crc, crc, size)
        self.size += size

    def copy(self) -> "Checksum":
        """One that stays as it is."""
        copy = Checksum()
        copy.crc, copy.size = self.crc, self.size
        return copy

    def since(self, before: "Checksum") -> tuple[int, int]:
        """The checksum and the number of the bytes since `before` was copied from this."""
        size = self.size - before.size
        # The sum of a whole is linear in its parts: what the beginning gave it can be taken away.
        return combined(before.crc, self.crc, size), size

    def trailer(self) -> bytes:
        """As it stands at the end of a gzip body."""
        return b"".join(value.to_bytes(4, "little") for value in (self.crc, self.size & _SIZE_MASK))


def combined(first: int, second: int, size: int) -> int:
    """The checksum of two things in a row, by the checksum of each and the size of the second."""
    return _product(_shift(size), first) ^ second


def _product(left: int, right: int) -> int:
    """Of two polynomials over GF(2), modulo that of the checksum."""
    product = 0
    bit = _ONE
    while left:
        if left & bit:
            product ^= right
            left ^= bit
        bit >>= 1
        right = (right >> 1) ^ _POLYNOMIAL if right & 1 else right >> 1
    return product


@lru_cache(maxsize=1024)
def _shift(size: int) -> int:
    """x^(8 * size): what so many bytes behind it do to a checksum."""
    shift, power = _ONE, _BYTE
    while size:
        if size & 1:
            shift = _product(shift, power)
        power = _product(power, power)
        size >>= 1
    return shift


_BYTE: Final = _ONE >> 8
"""x^8."""
