"""A logical viewer: connects, is cut, resumes elsewhere with Last-Event-ID, as an EventSource does;
and logs all it sees.
"""

import asyncio
import json
import random
import socket
import struct
import time
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Protocol
from urllib.parse import urlsplit

from tests.faults.history import (
    FROM_LATEST,
    FROM_START,
    CaughtUp,
    Connected,
    Ended,
    Frame,
    GapSaid,
    Label,
    ViewerLog,
)
from tests.faults.response import Response
from tests.support.sse import Message

__all__ = ["TERMINAL_TYPE", "Door", "Temper", "Watcher"]

TERMINAL_TYPE: Final = "done"
_NO_CONTENT: Final = 204
_CONNECT_SECONDS: Final = 3.0
_SILENT_SECONDS: Final = 4.0
"""Heartbeats come every second: whoever hears nothing for so long takes the line for dead."""
_SMALL_BUFFER: Final = 8 << 10
_STALLS: Final = 0.1
"""The share of reads after which a stalling viewer stalls."""
_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)


class Temper(StrEnum):
    """How a viewer behaves until it is asked to be calm."""

    STEADY = "steady"
    RESTLESS = "restless"
    """Drops its connection every second or so."""
    SLOW = "slow"
    """Takes a few kilobytes at a time."""
    STALLING = "stalling"
    """Takes nothing for seconds."""
    TRICKLING = "trickling"
    """Takes a few bytes at a time."""


class Door(Protocol):
    """Where viewers get in: an edge, or the line before it."""

    name: str

    @property
    def url(self) -> str:
        """Its base URL now."""


@dataclass(frozen=True, slots=True)
class _Pace:
    """How a temper reads."""

    bytes_at_once: int = 1 << 16
    pause_seconds: float = 0.0
    small_buffer: bool = False


_CALM: Final = _Pace()
_PACES: Final = {
    Temper.SLOW: _Pace(4096, 0.03, small_buffer=True),
    Temper.STALLING: _Pace(small_buffer=True),
    Temper.TRICKLING: _Pace(64, 0.02, small_buffer=True),
}


class Watcher:
    """One viewer. `watch` runs until the run is over for it."""

    def __init__(
        self, log: ViewerLog, temper: Temper, doors: Sequence[Door], source: random.Random
    ) -> None:
        """
        Args:
            log: where everything goes that it sees.
            temper: how it behaves.
            doors: where it may connect; another one each time, by chance.
            source: of all chance.
        """
        self.log = log
        self.temper = temper
        self.connections = 0
        self.seen: dict[Label, float] = {}
        """When each event came for the first time."""
        self.over = False
        self._doors = doors
        self._source = source
        self._calm = asyncio.Event()
        self._cursor = None if log.beginning in (FROM_START, FROM_LATEST) else log.beginning

    def calm_down(self) -> None:
        """From now on it reads as fast as it can and drops nothing."""
        self._calm.set()

    async def watch(self) -> None:
        """Watches until the end of the run."""
        while not self.over:
            self.connections += 1
            door = self._source.choice(self._doors)
            how = await self._connect(door)
            self.log.entries.append(Ended(time.monotonic(), self.connections, how))
            if not self.over:
                await asyncio.sleep(self._source.uniform(0.02, 0.2))

    async def _connect(self, door: Door) -> str:
        """One connection; how it ended."""
        host, port = urlsplit(door.url).hostname, urlsplit(door.url).port
        loop = asyncio.get_running_loop()
        with socket.socket() as connection:
            connection.setblocking(False)
            if self._pace.small_buffer:
                # Else the kernel takes megabytes on behalf of a viewer that reads nothing.
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _SMALL_BUFFER)
            if self._source.random() < 0.5:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            try:
                async with asyncio.timeout(_CONNECT_SECONDS):
                    await loop.sock_connect(connection, (host, port))
                    await loop.sock_sendall(connection, self._request())
                async with asyncio.timeout(self._patience):
                    return await self._read(connection, door)
            except TimeoutError:
                return "dropped"
            except OSError as error:
                return type(error).__name__

    @property
    def _pace(self) -> _Pace:
        return _CALM if self._calm.is_set() else _PACES.get(self.temper, _CALM)

    @property
    def _patience(self) -> float | None:
        """Seconds until it drops the connection by itself."""
        if self.temper is Temper.RESTLESS and not self._calm.is_set():
            return self._source.choice((0.02, 0.1, 0.5, 1.0, 2.0))
        return None

    def _request(self) -> bytes:
        query = ["from=latest"] if self.log.beginning == FROM_LATEST else []
        headers = ["Host: runcast", "Accept: text/event-stream"]
        if self.log.types is not None:
            query.append(f"types={','.join(sorted(self.log.types))}")
        if self._cursor is not None:
            headers.append(f"Last-Event-ID: {self._cursor}")
        target = f"/v1/runs/{self.log.run}/events" + (f"?{'&'.join(query)}" if query else "")
        return "\r\n".join([f"GET {target} HTTP/1.1", *headers, "", ""]).encode()

    async def _read(self, connection: socket.socket, door: Door) -> str:
        loop = asyncio.get_running_loop()
        response = Response()
        while not response.complete:
            try:
                async with asyncio.timeout(_SILENT_SECONDS):
                    data = await loop.sock_recv(connection, self._pace.bytes_at_once)
            except TimeoutError:
                return "silent"
            now = time.monotonic()
            known = response.status
            messages = response.feed(data) if data else []
            if response.status and not known:
                self._connected(door, response.status, now)
            for message in messages:
                self._take(message, now)
            self._cursor = response.decoder.last_event_id or self._cursor
            if not data:
                return "closed"
            await self._rest()
        return "ended"

    def _connected(self, door: Door, status: int, now: float) -> None:
        self.log.entries.append(Connected(now, self.connections, door.name, self._cursor, status))
        if status == _NO_CONTENT:
            self.over = True

    def _take(self, message: Message, now: float) -> None:
        entries, connection = self.log.entries, self.connections
        if message.of_run:
            label = Label.read(message.data)
            entries.append(Frame(now, connection, message.id, label))
            if label is not None:
                self.seen.setdefault(label, now)
            self.over = self.over or message.type == TERMINAL_TYPE
        elif message.type == "runcast.gap":
            gap = json.loads(message.data)
            entries.append(
                GapSaid(now, connection, gap["requested"], gap["resumed_at"], gap["reason"])
            )
        elif message.type == "runcast.caught-up":
            entries.append(CaughtUp(now, connection, json.loads(message.data)["id"]))

    async def _rest(self) -> None:
        """Takes its time before it reads on, unless it is calm."""
        if self._calm.is_set():
            return
        pause = self._pace.pause_seconds
        if self.temper is Temper.STALLING and self._source.random() < _STALLS:
            pause = self._source.uniform(1.0, 4.0)
        if pause:
            try:
                async with asyncio.timeout(pause):
                    await self._calm.wait()
            except TimeoutError:
                return
