"""The portable sink: a subscriber's bytes go out through ASGI `send`, on any ASGI server."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from starlette.types import Receive, Scope, Send

from broker.edge.connection import abort_of
from broker.engine.cancelling import cancel
from broker.engine.delivery import Joined, OneByOne

__all__ = ["AsgiSink"]


class AsgiSink:
    """A bounded queue before `send`; the bound is the subscriber's to keep."""

    fan = OneByOne

    def __init__(self, scope: Scope) -> None:
        self.unsent_bytes = 0
        self.taken_bytes = 0
        self._abort_connection = abort_of(scope)
        self._queue: list[bytes] = []
        self._wake = asyncio.Event()
        self._finishing = False
        self._aborted = asyncio.Event()
        self._on_drained: Callable[[], None] = _nothing

    def write(self, data: bytes) -> None:
        """Queues whole frames."""
        self._queue.append(data)
        self.unsent_bytes += len(data)
        self._wake.set()

    def send(self, joined: Joined) -> int:
        """Queues a batch."""
        self.write(joined.data)
        return self.unsent_bytes

    def finish(self) -> None:
        """Ends the response after what is queued."""
        self._finishing = True
        self._wake.set()

    def abort(self) -> None:
        """Drops the connection."""
        self._aborted.set()

    async def run(self, receive: Receive, send: Send, on_drained: Callable[[], None]) -> None:
        """Sends until the stream is finished, aborted, or the client has gone.

        Args:
            receive: the request's; only its disconnect matters.
            send: the response's, after its start was sent.
            on_drained: called each time that everything queued has been sent.
        """
        self._on_drained = on_drained
        writer = asyncio.create_task(self._write_out(send), name="sink writer")
        watcher = asyncio.create_task(_disconnected(receive), name="sink watcher")
        aborted = asyncio.create_task(self._aborted.wait(), name="sink abort")
        tasks: tuple[asyncio.Task[Any], ...] = (writer, watcher, aborted)
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if writer.done():
                # Some servers raise when the client has gone (ASGI 2.4); that is no defect.
                with suppress(OSError):
                    writer.result()
            elif not watcher.done():
                self._abort_connection()
                # Let the server see that the connection is gone before we return, if it can.
                await asyncio.wait({watcher}, timeout=_ABORT_NOTICE_SECONDS)
        finally:
            await cancel(tasks)

    async def _write_out(self, send: Send) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._queue:
                data = b"".join(self._queue)
                self._queue.clear()
                await send({"type": "http.response.body", "body": data, "more_body": True})
                self.unsent_bytes -= len(data)
                self.taken_bytes += len(data)
            if self._finishing:
                await send({"type": "http.response.body", "body": b"", "more_body": False})
                return
            self._on_drained()


_ABORT_NOTICE_SECONDS: Final = 1.0


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _nothing() -> None:
    """Nobody is told yet."""
