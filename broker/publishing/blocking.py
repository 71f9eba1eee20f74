"""The same without asyncio: a thread with an event loop of its own does the work.

The thread begins when the publisher is entered, so a process that was forked before that has its
own. One that is forked while it is in use can't use it.
"""

import asyncio
import contextlib
import os
import threading
from collections.abc import Coroutine, Iterator
from types import TracebackType
from typing import Any, Final, Self, TypeVar

from broker.publishing.commands import Command
from broker.publishing.publisher import LEASE_SECONDS, RunPublisher
from broker.publishing.run import Run
from broker.publishing.settings import PublishingSettings
from broker.wire.ids import RunId, StreamId

__all__ = ["BlockingRun", "BlockingRunPublisher"]

Result = TypeVar("Result")

_THREAD_ENDS_SECONDS: Final = 10.0


class _Loop:
    """An event loop in a thread."""

    def __init__(self) -> None:
        self._process = os.getpid()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="runcast", daemon=True)
        self._thread.start()

    def do(self, work: Coroutine[Any, Any, Result]) -> Result:
        """What the work returns. It is cancelled if the wait for it is interrupted."""
        if os.getpid() != self._process:
            work.close()
            raise RuntimeError("made in another process: enter a publisher after the fork")
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            # Each has a bound of its own.
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def close(self) -> None:
        """Ends the thread."""
        self.do(self._loop.shutdown_asyncgens())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_THREAD_ENDS_SECONDS)
        self._loop.close()


class BlockingRun:
    """See `Run`. Its methods may be called from any thread."""

    def __init__(self, run: Run, loop: _Loop) -> None:
        self._run = run
        self._loop = loop

    def __enter__(self) -> Self:
        self._loop.do(self._run.__aenter__())
        return self

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._loop.do(self._run.__aexit__(exception_type, exception, traceback))

    @property
    def run_id(self) -> RunId:
        """Its id."""
        return self._run.run_id

    def emit(self, type: str, data: Any = None, *, final: bool = False) -> None:
        """See `Run.emit`."""
        self._loop.do(self._run.emit(type, data, final=final))

    def progress(self, *, status: str | None = None, phase: str | None = None) -> None:
        """See `Run.progress`."""
        self._loop.do(self._run.progress(status=status, phase=phase))

    def flush(self) -> StreamId | None:
        """See `Run.flush`."""
        return self._loop.do(self._run.flush())

    def finish(self, type: str = "", data: Any = None, *, status: str | None = None) -> None:
        """See `Run.finish`."""
        self._loop.do(self._run.finish(type, data, status=status))

    def command(self, timeout_seconds: float) -> Command | None:
        """The next command, once there is one; `None` if none comes in time."""
        return self._loop.do(self._command(timeout_seconds))

    async def _command(self, timeout_seconds: float) -> Command | None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_seconds):
                async with contextlib.aclosing(self._run.commands()) as commands:
                    return await anext(commands, None)
        return None


class BlockingRunPublisher:
    """See `RunPublisher`. A context manager; may be used from many threads.

    .. code:: python

        with BlockingRunPublisher("redis://127.0.0.1:6379/0") as publisher:
            with publisher.run("42") as run:
                run.emit("chunk", {"text": "hi"})
    """

    def __init__(self, url: str, settings: PublishingSettings | None = None) -> None:
        """See `RunPublisher`."""
        self._publisher = RunPublisher(url, settings)
        self._loop: _Loop | None = None

    def __enter__(self) -> Self:
        loop = _Loop()
        try:
            loop.do(self._publisher.__aenter__())
        except BaseException:
            loop.close()
            raise
        self._loop = loop
        return self

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._loop is not None
        try:
            self._loop.do(self._publisher.__aexit__(exception_type, exception, traceback))
        finally:
            self._loop.close()
            self._loop = None

    @contextlib.contextmanager
    def run(
        self,
        run_id: str | None = None,
        *,
        agent: str | None = None,
        dense: bool = False,
        lease_seconds: float | None = LEASE_SECONDS,
        owner: str | None = None,
    ) -> Iterator[BlockingRun]:
        """See `RunPublisher.run`."""
        if self._loop is None:
            raise RuntimeError("use it as a context manager")
        opened = self._publisher.run(
            run_id, agent=agent, dense=dense, lease_seconds=lease_seconds, owner=owner
        )
        with BlockingRun(opened, self._loop) as run:
            yield run
