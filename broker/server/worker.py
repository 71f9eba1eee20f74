"""A worker: a whole edge in a process of its own, which leaves when its supervisor says so.

Also when the supervisor is gone, and on SIGTERM; after that one the supervisor starts another.
"""

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from functools import partial

import structlog

from broker.app import make_edge
from broker.logging import configure_logging
from broker.server.colleagues import Colleagues
from broker.server.handover import ALIVE, ALIVE_SECONDS, LEAVE, LEAVE_AT_ONCE, LISTENING, Handover
from broker.server.offices import Office
from broker.server.run import Leaver, new_event_loop, serve

__all__ = ["main"]

_READ_BYTES = 4096


def main() -> None:
    """Runs the process."""
    handover = Handover.parse(_first_line())
    settings = handover.settings
    configure_logging(settings.log_level, settings.log_format)
    structlog.contextvars.bind_contextvars(worker=handover.number)
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(_run(handover))


async def _run(handover: Handover) -> None:
    settings = handover.settings
    colleagues = Colleagues(handover.directory, handover.number, settings.workers)
    office = Office(handover.directory, handover.number, settings.workers)

    def tidy_up() -> None:
        colleagues.tidy_up()
        office.tidy_up()

    edge = make_edge(
        settings,
        handover.redis_url,
        background=colleagues,
        exposition=colleagues.exposition,
        processes=office.open,
        worker=handover.number,
    )
    await serve(
        edge,
        socket.socket(fileno=handover.listener),
        drain_seconds=settings.drain_seconds,
        on_listening=partial(_say, LISTENING),
        orders_to=partial(_orders_to, tidy_up),
    )


def _first_line() -> bytes:
    """Not a byte more: what follows is read by the event loop."""
    with open(sys.stdin.fileno(), "rb", buffering=0, closefd=False) as unbuffered:
        return unbuffered.readline()


@contextlib.contextmanager
def _orders_to(on_orphaned: Callable[[], None], leaver: Leaver) -> Iterator[None]:
    """Passes on what the supervisor says while the context lasts, and tells it that we live.

    Args:
        on_orphaned: called when the supervisor is gone.
        leaver: who is told to leave.
    """
    loop = asyncio.get_running_loop()
    orders = sys.stdin.fileno()
    heard = b""

    def hear() -> None:
        nonlocal heard
        data = os.read(orders, _READ_BYTES)
        if not data:
            loop.remove_reader(orders)
            on_orphaned()
            leaver.leave("the supervisor has ended")
            return
        *words, heard = (heard + data).split(b"\n")
        for word in words:
            if word == LEAVE.strip():
                leaver.leave("the supervisor")
            elif word == LEAVE_AT_ONCE.strip():
                leaver.leave_at_once("the supervisor")

    loop.add_reader(orders, hear)
    loop.add_signal_handler(signal.SIGTERM, leaver.leave, signal.SIGTERM.name)
    try:
        with _every(ALIVE_SECONDS, partial(_say, ALIVE)):
            yield
    finally:
        loop.remove_signal_handler(signal.SIGTERM)
        loop.remove_reader(orders)


@contextlib.contextmanager
def _every(seconds: float, act: Callable[[], None]) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    timer: asyncio.TimerHandle

    def again() -> None:
        nonlocal timer
        act()
        timer = loop.call_later(seconds, again)

    timer = loop.call_later(seconds, again)
    try:
        yield
    finally:
        timer.cancel()


def _say(word: bytes) -> None:
    # A supervisor that is gone is noticed where its orders are read. One that is stopped lets the
    # pipe fill up: it will find enough words in it.
    os.set_blocking(sys.stdout.fileno(), False)
    with contextlib.suppress(BrokenPipeError, BlockingIOError):
        os.write(sys.stdout.fileno(), word)
