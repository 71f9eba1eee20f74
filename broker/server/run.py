"""Running an edge until it is told to leave, and leaving in order.

On SIGTERM or SIGINT: readiness off, streams ended whole and spread out, uvicorn out, Redis closed.
uvicorn alone would wait for open streams before it tells the app, so the signals are ours. A
second signal leaves at once.
"""

import asyncio
import contextlib
import signal
import socket
from collections.abc import Callable, Generator
from typing import Final

import structlog
import uvicorn

from broker.app import Edge
from broker.server.protocol import EdgeProtocol

__all__ = ["AddressInUse", "new_event_loop", "serve"]

logger = structlog.get_logger("runcast.server")

_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)
_LAST_SECONDS: Final = 1
"""What uvicorn may take for connections that are still open after the drain."""


class AddressInUse(RuntimeError):
    """The address can't be listened on; the message says what to change."""


async def serve(
    edge: Edge,
    *,
    host: str,
    port: int,
    drain_seconds: float,
    on_listening: Callable[[str], None],
) -> None:
    """Serves until a signal comes, then drains.

    Args:
        edge: what is served.
        host: the address.
        port: its port; 0 takes a free one.
        drain_seconds: the time over which viewers are sent elsewhere.
        on_listening: called with the server's URL once it accepts connections.

    Raises:
        AddressInUse: the address is taken, or not ours.
    """
    listener = _bind(host, port)
    config = uvicorn.Config(
        edge.app,
        http=EdgeProtocol,
        ws="none",
        lifespan="on",
        access_log=False,
        log_config=None,
        server_header=False,
        timeout_graceful_shutdown=_LAST_SECONDS,
    )
    server = _Server(config, edge, drain_seconds)
    family = "[{}]" if listener.family is socket.AF_INET6 else "{}"
    server.when_started = lambda: on_listening(
        f"http://{family.format(host)}:{listener.getsockname()[1]}"
    )
    await server.serve(sockets=[listener])


def new_event_loop() -> asyncio.AbstractEventLoop:
    """uvloop's event loop where it is installed (CPython), else asyncio's own."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


def _bind(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        raise AddressInUse(
            f"can't listen on {host}:{port} ({error.strerror or error}): choose another --port"
        ) from error
    return listener


class _Server(uvicorn.Server):
    """uvicorn's server with our signals and our order of leaving."""

    when_started: Callable[[], None]

    def __init__(self, config: uvicorn.Config, edge: Edge, drain_seconds: float) -> None:
        super().__init__(config)
        self._edge = edge
        self._drain_seconds = drain_seconds
        self._leaving: asyncio.Task[None] | None = None

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Takes the signals for the loop; unlike uvicorn's, does not raise them again at the end,
        which would kill the process before its embedded server is stopped."""
        loop = asyncio.get_running_loop()
        for number in _SIGNALS:
            loop.add_signal_handler(number, self._on_signal, number)
        try:
            yield
        finally:
            for number in _SIGNALS:
                loop.remove_signal_handler(number)

    def _on_signal(self, number: signal.Signals) -> None:
        if self.should_exit:
            logger.warning("second signal, leaving at once", signal=number.name)
            self.force_exit = True
            if self._leaving is not None:
                self._leaving.cancel()
        else:
            logger.info("leaving", signal=number.name, viewers=self._edge.hub.subscriber_count)
            self.should_exit = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Also says that the server listens."""
        await super().startup(sockets)
        if self.started:
            self.when_started()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Drains while connections are still accepted, and only then lets uvicorn close."""
        if not self.force_exit:
            self._leaving = asyncio.create_task(
                self._edge.hub.drain(self._drain_seconds), name="drain"
            )
            with contextlib.suppress(asyncio.CancelledError):
                await self._leaving
        await super().shutdown(sockets)
