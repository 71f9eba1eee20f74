"""The supervisor of several workers: starts them, starts another where one ends, and has all of
them leave together.

It accepts no connection itself. It keeps the sockets open, so that what waits to be accepted
survives a worker. The words that it exchanges with workers are in `handover`.
"""

import asyncio
import contextlib
import random
import signal
import socket
import sys
import tempfile
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final

import structlog

from broker.engine.backoff import backoff_seconds
from broker.engine.cancelling import cancel
from broker.server.handover import LEAVE, LEAVE_AT_ONCE, LISTENING, Handover
from broker.server.run import signals_to
from broker.settings import Settings

__all__ = ["WorkersFailed", "supervise"]

logger = structlog.get_logger("runcast.workers")

_ATTEMPTS: Final = 3
"""How often a worker may end before one has ever listened in its place."""
_STEADY_SECONDS: Final = 30
"""A worker that lived so long is not one of a row of failures."""
_BACKOFF_SECONDS: Final = 0.25
_BACKOFF_MAX_SECONDS: Final = 5
"""New connections of its place wait meanwhile, so it is short."""
_SILENT_SECONDS: Final = 15
"""A worker that says nothing for so long, twice, hangs. Twice, since after Ctrl-Z and fg all
timers of this process are overdue before any worker could speak."""
_BEYOND_DRAIN_SECONDS: Final = 3
"""What a worker may take to leave besides twice its drain."""
_AT_ONCE_SECONDS: Final = 2
_EXIT_SECONDS: Final = 5
"""How long a process may take to end once it has closed its output, or was killed."""


class WorkersFailed(RuntimeError):
    """The edge can't be run, or did not leave in order; the message says which worker and how."""


async def supervise(
    settings: Settings,
    redis_url: str,
    listeners: Sequence[socket.socket],
    *,
    on_listening: Callable[[], None],
) -> None:
    """Runs a worker for each socket until a signal comes, then has all leave at the same time.

    Args:
        settings: every worker's.
        redis_url: the settings' own, or that of the embedded server.
        listeners: one for each worker; closed at the end.
        on_listening: called once all accept connections.

    Raises:
        WorkersFailed: one ends again and again before it listens, or did not leave in order.
    """
    with tempfile.TemporaryDirectory(prefix="runcast-") as directory:
        supervisor = _Supervisor(settings.drain_seconds, on_listening)
        for number, listener in enumerate(listeners, 1):
            handover = Handover(number, listener.fileno(), Path(directory), redis_url, settings)
            supervisor.add(handover, listener)
        await supervisor.run()


class _Supervisor:
    """All places, and the one order of leaving."""

    def __init__(self, drain_seconds: float, on_listening: Callable[[], None]) -> None:
        self._leave_seconds = 2 * drain_seconds + _BEYOND_DRAIN_SECONDS
        self._on_listening = on_listening
        self._places: list[_Place] = []
        self._leaving = asyncio.Event()
        self._at_once = asyncio.Event()

    def add(self, handover: Handover, listener: socket.socket) -> None:
        """Adds a place; before `run`."""
        self._places.append(_Place(handover, listener, self._leaving, self._listened))

    async def run(self) -> None:
        """Keeps all places until it is told to leave."""
        keeping = [
            asyncio.create_task(place.keep(), name=f"worker {place.number}")
            for place in self._places
        ]
        try:
            with signals_to(self):
                await self._leaving.wait()
                await self._see_all_out(keeping)
        finally:
            await cancel(keeping)
        failures = [task.exception() for task in keeping if not task.cancelled()]
        for failure in filter(None, failures):
            raise failure

    def leave(self, why: str) -> None:
        """Leaves in order. Idempotent."""
        logger.info("leaving", why=why, workers=len(self._places))
        self._leaving.set()

    def leave_at_once(self, why: str) -> None:
        """Leaves without waiting for viewers."""
        logger.warning("leaving at once", why=why)
        self._leaving.set()
        self._at_once.set()

    def _listened(self) -> None:
        if all(place.has_listened for place in self._places):
            self._on_listening()

    async def _see_all_out(self, keeping: Iterable[asyncio.Task[None]]) -> None:
        self._tell(LEAVE)
        gone = asyncio.create_task(_all_done(keeping), name="workers leave")
        hurry = asyncio.create_task(self._at_once.wait(), name="second signal")
        try:
            await asyncio.wait(
                {gone, hurry}, timeout=self._leave_seconds, return_when=asyncio.FIRST_COMPLETED
            )
            if not gone.done():
                self._tell(LEAVE_AT_ONCE)
                await asyncio.wait({gone}, timeout=_AT_ONCE_SECONDS)
            if not gone.done():
                for place in self._places:
                    place.kill("it did not leave in time")
                await asyncio.wait({gone}, timeout=2 * _EXIT_SECONDS)
        finally:
            await cancel({gone, hurry})

    def _tell(self, word: bytes) -> None:
        for place in self._places:
            place.tell(word)


class _Place:
    """One place among the workers: a process, and after it the next."""

    def __init__(
        self,
        handover: Handover,
        listener: socket.socket,
        leaving: asyncio.Event,
        on_first_listening: Callable[[], None],
    ) -> None:
        self.number = handover.number
        self.has_listened = False
        self._listens = False
        self._handover = handover
        self._listener = listener
        self._leaving = leaving
        self._on_first_listening = on_first_listening
        self._process: Process | None = None
        self._random = random.Random()

    async def keep(self) -> None:
        """Has a process here until all leave.

        Raises:
            WorkersFailed: none ever listened, or the last did not leave in order.
        """
        loop = asyncio.get_running_loop()
        failures = 0
        try:
            while not self._leaving.is_set():
                began = loop.time()
                code = await self._employ()
                if self._leaving.is_set():
                    if code and self._listens:
                        raise WorkersFailed(
                            f"worker {self.number} did not leave in order ({_said(code)}): "
                            "see the log"
                        )
                    return
                failures = 1 if loop.time() - began >= _STEADY_SECONDS else failures + 1
                if not self.has_listened and failures >= _ATTEMPTS:
                    raise WorkersFailed(
                        f"worker {self.number} ended {failures} times before it listened "
                        f"({_said(code)}): see the log"
                    )
                await self._pause(code, failures)
        finally:
            # What still waits here is sent away; new connections go to who is still there.
            self._listener.close()
            # A place is given up only when all are.
            self._leaving.set()

    def tell(self, word: bytes) -> None:
        """Says a word to the process, if there is one."""
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.write(word)

    def kill(self, why: str) -> None:
        """Ends the process, if there is one, whatever it does."""
        if self._process is not None and self._process.returncode is None:
            logger.error("worker killed", number=self.number, pid=self._process.pid, why=why)
            self._process.kill()

    async def _employ(self) -> int:
        """Runs a process until it ends; its exit code."""
        process = await asyncio.create_subprocess_exec(
            *_COMMAND,
            stdin=PIPE,
            stdout=PIPE,
            pass_fds=(self._handover.listener,),
            # Ctrl-C goes to the group of the terminal; when workers leave is decided here.
            process_group=0,
        )
        self._process = process
        self._listens = False
        logger.info("worker started", number=self.number, pid=process.pid)
        try:
            self.tell(self._handover.line())
            if self._leaving.is_set():
                self.tell(LEAVE)
            await self._listen_to(process)
        except asyncio.CancelledError:
            self.kill("the supervisor ends")
            raise
        finally:
            code = await self._exit_code(process)
            self._process = None
        return code

    async def _listen_to(self, process: Process) -> None:
        """Returns when the process has closed its output, or was killed for its silence."""
        assert process.stdout is not None
        silent = False
        while True:
            try:
                async with asyncio.timeout(_SILENT_SECONDS):
                    word = await process.stdout.readline()
            except TimeoutError:
                if silent:
                    self.kill("it hangs")
                    return
                silent = True
                continue
            silent = False
            if word == LISTENING:
                self._listens = True
                logger.info("worker listens", number=self.number, pid=process.pid)
                if not self.has_listened:
                    self.has_listened = True
                    self._on_first_listening()
            elif not word:
                return

    async def _exit_code(self, process: Process) -> int:
        try:
            async with asyncio.timeout(_EXIT_SECONDS):
                return await process.wait()
        except TimeoutError:
            self.kill("it does not end")
            async with asyncio.timeout(_EXIT_SECONDS):
                return await process.wait()

    async def _pause(self, code: int, failures: int) -> None:
        seconds = backoff_seconds(
            failures,
            base=_BACKOFF_SECONDS,
            longest=_BACKOFF_MAX_SECONDS,
            random_source=self._random,
        )
        logger.warning(
            "worker ended, starting another",
            number=self.number,
            how=_said(code),
            seconds=round(seconds, 2),
        )
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._leaving.wait()


_COMMAND: Final = (
    sys.executable,
    "-c",
    # The packages that this process found, wherever it was started from.
    f"import sys; sys.path[:] = {sys.path!r}; from broker.server.worker import main; main()",
)


async def _all_done(tasks: Iterable[asyncio.Task[None]]) -> None:
    await asyncio.wait(tasks)


def _said(code: int) -> str:
    return f"exit code {code}" if code >= 0 else signal.Signals(-code).name
