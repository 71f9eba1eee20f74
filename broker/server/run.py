"""Running an edge until it is told to leave, and leaving in order.

On SIGTERM or SIGINT: readiness off, streams ended whole and spread out, uvicorn out, Redis closed.
uvicorn alone would wait for open streams before it tells the app, so the signals are ours. A
second signal leaves at once.
"""

import asyncio
import contextlib
import gc
import signal
import socket
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager
from typing import Final, Protocol

import structlog
import uvicorn

from broker.app import Edge
from broker.server.connection_limits import ConnectionLimiter
from broker.server.protocol import Reception, protocol_for
from broker.server.slow_headers import SlowHeaders

__all__ = ["Leaver", "new_event_loop", "serve", "signals_to"]

logger = structlog.get_logger("runcast.server")

_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)
_GARBAGE_THRESHOLDS: Final = (20_000, 50, 100)
"""New objects before a look at the youngest; such looks before one at the older; and so on."""
_LAST_SECONDS: Final = 1
"""What uvicorn may take for connections that are still open after the drain."""


class Leaver(Protocol):
    """What can be told to leave."""

    def leave(self, why: str) -> None:
        """In order. Idempotent."""

    def leave_at_once(self, why: str) -> None:
        """Without waiting for anyone."""


@contextlib.contextmanager
def signals_to(leaver: Leaver) -> Iterator[None]:
    """Passes signals on while the context lasts: the first leaves, the second leaves at once."""
    loop = asyncio.get_running_loop()
    seen = False

    def on_signal(number: signal.Signals) -> None:
        nonlocal seen
        if seen:
            leaver.leave_at_once(number.name)
        else:
            seen = True
            leaver.leave(number.name)

    for number in _SIGNALS:
        loop.add_signal_handler(number, on_signal, number)
    try:
        yield
    finally:
        for number in _SIGNALS:
            loop.remove_signal_handler(number)


async def serve(
    edge: Edge,
    listener: socket.socket,
    *,
    drain_seconds: float,
    on_listening: Callable[[], None],
    orders_to: Callable[[Leaver], AbstractContextManager[None]] = signals_to,
) -> None:
    """Serves until it is told to leave, then drains.

    Args:
        edge: what is served.
        listener: a bound socket, which is closed at the end.
        drain_seconds: the time over which viewers are sent elsewhere.
        on_listening: called once it accepts connections.
        orders_to: who tells it to leave.
    """
    limits = edge.connection_limits
    reception = Reception(
        limits,
        ConnectionLimiter(limits, edge.refusals, time.monotonic),
        SlowHeaders(limits.headers_seconds, time.monotonic),
        edge.refusals,
    )
    config = uvicorn.Config(
        edge.app,
        http=protocol_for(reception),
        ws="none",
        lifespan="on",
        access_log=False,
        log_config=None,
        server_header=False,
        # The app does it, so that it is the same with any server.
        proxy_headers=False,
        timeout_graceful_shutdown=_LAST_SECONDS,
    )
    server = _Server(config, edge, drain_seconds, on_listening, orders_to)
    async with reception.slow_headers:
        await server.serve(sockets=[listener])


def new_event_loop() -> asyncio.AbstractEventLoop:
    """uvloop's event loop where it is installed (CPython), else asyncio's own."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


class _Server(uvicorn.Server):
    """uvicorn's server with our signals and our order of leaving."""

    def __init__(
        self,
        config: uvicorn.Config,
        edge: Edge,
        drain_seconds: float,
        on_listening: Callable[[], None],
        orders_to: Callable[[Leaver], AbstractContextManager[None]],
    ) -> None:
        super().__init__(config)
        self._edge = edge
        self._drain_seconds = drain_seconds
        self._on_listening = on_listening
        self._orders_to = orders_to
        self._leaving: asyncio.Task[None] | None = None

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Takes orders from elsewhere; unlike uvicorn's, does not raise signals again at the end,
        which would kill the process before its embedded server is stopped."""
        with self._orders_to(self):
            yield

    def leave(self, why: str) -> None:
        """Leaves in order. Idempotent."""
        if not self.should_exit:
            logger.info("leaving", why=why, viewers=self._edge.hub.subscriber_count)
            self.should_exit = True

    def leave_at_once(self, why: str) -> None:
        """Leaves without waiting for viewers."""
        logger.warning("leaving at once", why=why)
        self.should_exit = self.force_exit = True
        if self._leaving is not None:
            self._leaving.cancel()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Also says that the server listens."""
        await super().startup(sockets)
        if self.started:
            _calm_garbage_collector()
            self._on_listening()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Drains while connections are still accepted, and only then lets uvicorn close."""
        if not self.force_exit:
            self._leaving = asyncio.create_task(
                self._edge.hub.drain(self._drain_seconds), name="drain"
            )
            with contextlib.suppress(asyncio.CancelledError):
                await self._leaving
        await super().shutdown(sockets)


def _calm_garbage_collector() -> None:
    """Has it look less often, and never at what the process began with.

    Events are made by the ten thousand and die by reference count; looking for cycles among them
    stopped the loop for tens of milliseconds at a time during a long replay (docs/performance.md).
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_GARBAGE_THRESHOLDS)
