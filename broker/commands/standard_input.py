"""Lines of a file descriptor as they come: the loop is never blocked, nothing is held for later.

A regular file can't be waited for and need not be. Anything else is read only when the loop says
that it can be, so the descriptor, which a shell may share with others, stays in blocking mode.
"""

import asyncio
import os
import stat
from collections.abc import AsyncGenerator
from typing import Final

__all__ = ["LONGEST_LINE_BYTES", "UnreadableInput", "numbered_lines"]

LONGEST_LINE_BYTES: Final = 16 << 20
"""An event is one line, and one value in Redis: beyond this it is surely not meant as such, and
a stream without line breaks must not fill the memory."""
_CHUNK_BYTES: Final = 64 << 10


class UnreadableInput(Exception):
    """The input can't be read on; the message says why."""


async def numbered_lines(descriptor: int) -> AsyncGenerator[tuple[int, bytes], None]:
    """Each line without its line feed, with its number from 1, as soon as it is complete.

    Raises:
        UnreadableInput: reading fails, or a line is too long.
    """
    number = 1
    pieces: list[bytes] = []
    size = 0
    while chunk := await _read(descriptor):
        begun, *others = chunk.split(b"\n")
        pieces.append(begun)
        size += len(begun)
        if others:
            yield number, b"".join(pieces)
            number += 1
            *complete, rest = others
            for line in complete:
                yield number, line
                number += 1
            pieces, size = [rest], len(rest)
        if size > LONGEST_LINE_BYTES:
            raise UnreadableInput(f"line {number} is longer than {LONGEST_LINE_BYTES >> 20} MiB")
    if size:
        yield number, b"".join(pieces)


async def _read(descriptor: int) -> bytes:
    """What is there, at least a byte; nothing at the end."""
    try:
        always_ready = stat.S_ISREG(os.fstat(descriptor).st_mode)
        while True:
            if not always_ready:
                await _readable(descriptor)
            try:
                return os.read(descriptor, _CHUNK_BYTES)
            except BlockingIOError:
                # Someone made the shared descriptor non-blocking, and was faster.
                continue
    except OSError as error:
        raise UnreadableInput(f"standard input can't be read: {error.strerror}") from error


async def _readable(descriptor: int) -> None:
    """Waits for input, without a limit: how long a producer thinks is its own business."""
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    try:
        loop.add_reader(descriptor, ready.set)
    except PermissionError:
        # epoll refuses what is always ready, such as /dev/null.
        return
    try:
        await ready.wait()
    finally:
        loop.remove_reader(descriptor)
