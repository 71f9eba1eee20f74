"""Lines of a body that comes in pieces. Pure: bytes in, numbered lines out."""

from collections.abc import Iterator

from broker.wire.problem import TooLarge

__all__ = ["Lines"]


class Lines:
    """Cuts pieces into lines, and keeps no more than one line that is not complete yet."""

    def __init__(self, longest_bytes: int) -> None:
        self._longest = longest_bytes
        self._number = 1
        # Not a list: of pieces of a byte each, that would hold forty times as much.
        self._begun = bytearray()

    def feed(self, piece: bytes) -> Iterator[tuple[int, bytes]]:
        """The lines that `piece` completes, without their line feed, with their numbers from 1.

        Raises:
            TooLarge: a line is too long; those before it came first.
        """
        begun, *others = piece.split(b"\n")
        self._add(begun)
        for other in others:
            yield self._take()
            self._add(other)

    def end(self) -> Iterator[tuple[int, bytes]]:
        """The last line, where the body does not end in a line feed."""
        if self._begun:
            yield self._take()

    def _add(self, piece: bytes) -> None:
        if len(self._begun) + len(piece) > self._longest:
            raise TooLarge(f"Line {self._number}", self._longest, "bytes", self._number)
        self._begun += piece

    def _take(self) -> tuple[int, bytes]:
        number, line = self._number, bytes(self._begun)
        self._number += 1
        self._begun.clear()
        return number, line
