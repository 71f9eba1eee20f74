"""A program that takes up what it can of a server without being a viewer.

    python -m benchmarks.load.attackers slowloris|flood PORT

It writes a line when it begins, goes on until its standard input ends, and then writes how many
connections it has opened, in how many seconds, as JSON. Its connections come from addresses that no
viewer has.
"""

import asyncio
import contextlib
import itertools
import json
import os
import select
import socket
import struct
import sys
import time
from collections import deque
from typing import Final

__all__ = ["ADDRESSES", "SLOW_CONNECTIONS"]

ADDRESSES: Final = ("127.0.1.2", "127.0.1.3")
SLOW_CONNECTIONS: Final = 2000
_BYTE_SECONDS: Final = 1.0
_PORT_AT_CONNECT: Final = 24
"""IP_BIND_ADDRESS_NO_PORT: an address has 28,000 ports for each server, not for all."""
_CONNECTING: Final = 64
_OPEN: Final = 400
_WORDS: Final = (
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"GET /v1/runs/siege/events HTTP/1.1\r\nhost:",
    b"GET /v1/runs/siege/events?ticket=none HTTP/1.1\r\nhost: x\r\nauthorization: Bearer x\r\n\r\n",
)
"""Not HTTP; half a request; one from somebody unknown."""


def _opened(address: str) -> socket.socket:
    connection = socket.socket()
    connection.setblocking(False)
    connection.setsockopt(socket.IPPROTO_IP, _PORT_AT_CONNECT, 1)
    # Closed with a reset: nothing of it stays behind here.
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.bind((address, 0))
    return connection


class _Attack:
    """What has been done."""

    def __init__(self) -> None:
        self.connections = 0


async def _slowloris(port: int, attack: _Attack) -> None:
    """Connections that send a byte of a header each second, opened anew as they are closed."""
    async with asyncio.TaskGroup() as group:
        for number in range(SLOW_CONNECTIONS):
            address = ADDRESSES[number % len(ADDRESSES)]
            group.create_task(_slow_ones(address, port, attack), name=f"slow {number}")


async def _slow_ones(address: str, port: int, attack: _Attack) -> None:
    loop = asyncio.get_running_loop()
    while True:
        connection = _opened(address)
        try:
            await loop.sock_connect(connection, ("127.0.0.1", port))
            attack.connections += 1
            await loop.sock_sendall(connection, b"GET / HTTP/1.1\r\nx-slow: ")
            while True:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_BYTE_SECONDS):
                        await loop.sock_recv(connection, 4096)
                        break
                await loop.sock_sendall(connection, b"x")
        except OSError:
            pass
        finally:
            connection.close()
        await asyncio.sleep(_BYTE_SECONDS)


def _flood(port: int, attack: _Attack) -> None:
    """As many connections as can be opened: every other says nothing, the rest nothing useful."""
    words = itertools.cycle(_WORDS)
    addresses = itertools.cycle(ADDRESSES)
    connecting: deque[socket.socket] = deque()
    idle: deque[socket.socket] = deque()
    for number in itertools.count():
        if number % _CONNECTING == 0 and _is_over():
            return
        connection = _opened(next(addresses))
        with contextlib.suppress(BlockingIOError):
            connection.connect(("127.0.0.1", port))
        attack.connections += 1
        connecting.append(connection)
        if len(connecting) > _CONNECTING:
            connected = connecting.popleft()
            if number % 2:
                with contextlib.suppress(OSError):
                    connected.send(next(words))
            idle.append(connected)
        if len(idle) > _OPEN:
            idle.popleft().close()


def _is_over() -> bool:
    return bool(select.select([sys.stdin], [], [], 0)[0])


def main() -> None:
    """Runs the program."""
    kind, port = sys.argv[1], int(sys.argv[2])
    attack = _Attack()
    os.write(1, b"begins\n")
    began = time.monotonic()
    if kind == "flood":
        _flood(port, attack)
    else:
        asyncio.run(_until_over(port, attack))
    seconds = time.monotonic() - began
    os.write(1, json.dumps({"connections": attack.connections, "seconds": seconds}).encode())


async def _until_over(port: int, attack: _Attack) -> None:
    over = asyncio.Event()
    asyncio.get_running_loop().add_reader(sys.stdin, over.set)
    attacking = asyncio.create_task(_slowloris(port, attack), name="slowloris")
    try:
        await over.wait()
    finally:
        asyncio.get_running_loop().remove_reader(sys.stdin)
        attacking.cancel()
        await asyncio.wait([attacking])


if __name__ == "__main__":
    main()
