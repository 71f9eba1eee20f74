"""One run, as the worker that does it sees it.

Events go out in batches without delay: the first is sent at once, and what is emitted while it is
under way goes together, next. One task sends; it also renews the lease, with each batch and at a
third of the lease while there is none.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncGenerator, Callable
from types import TracebackType
from typing import Any, Final, Self
from uuid import uuid4

import structlog

from broker.engine.cancelling import cancel
from broker.publishing.agents import Agents
from broker.publishing.commands import Command, CommandReader
from broker.publishing.settings import PublishingSettings
from broker.publishing.values import as_text
from broker.redis.appending import Appender, NewEvent, OtherOwner, RunEnded
from broker.redis.deployment import Deployment
from broker.redis.persistence import AppendError
from broker.telemetry.run_spans import spans_of
from broker.wire.event import is_event_type
from broker.wire.ids import RunId, StreamId

__all__ = ["Run"]

logger = structlog.get_logger("runcast.publishing")

BUFFERED_EVENTS: Final = 1024
BUFFERED_BYTES: Final = 4 << 20
"""What may wait to be sent; with more, `emit` waits."""
BATCH_EVENTS: Final = 256
BATCH_BYTES: Final = 1 << 20
"""What is sent at once."""
_CLOSING_MARGIN_SECONDS: Final = 5.0


class Run:
    """Made by `RunPublisher.run`; an async context manager, of one task's.

    Left in order, it appends the event that says so (``succeeded``), left by an exception the one
    for that (``failed``, with the exception's type and text), left by being cancelled another
    (``cancelled``); unless one that ends the run was emitted before.
    """

    def __init__(
        self,
        run_id: RunId,
        deployment: Deployment,
        appender: Appender,
        settings: PublishingSettings,
        *,
        agent: str | None,
        dense: bool,
        lease_seconds: float | None,
        owner: str | None,
    ) -> None:
        """See `RunPublisher.run`."""
        self.run_id = run_id
        """Its id."""
        self._deployment = deployment
        self._appender = appender
        self._settings = settings
        self._agents = Agents(deployment, appender, settings)
        self._agent = agent
        self._dense = dense
        self._above = 0
        self._lease_seconds = lease_seconds
        self._owner = owner
        self._producer = uuid4().hex
        self._appended = 0
        self._emitted = 0
        self._waiting: deque[NewEvent] = deque()
        self._waiting_bytes = 0
        self._spans = spans_of(run_id)
        self._progress: dict[str, str] = {}
        self._newest: StreamId | None = None
        self._final = False
        self._failure: Exception | None = None
        self._wake = asyncio.Event()
        self._moved = asyncio.Condition()
        self._sender: asyncio.Task[None] | None = None
        self._reader: CommandReader | None = None

    async def __aenter__(self) -> Self:
        """Begins: takes the lease, and becomes the agent's current run.

        Raises:
            RunEnded: it has had its terminal event already.
            OtherOwner: it is the run of another one.
            AppendError: Redis can't be reached.
        """
        await self._appender.touch(
            self.run_id,
            lease_seconds=self._lease_seconds,
            status="running",
            owner=self._owner,
        )
        if self._agent is not None:
            self._above = await self._agents.begin(self._agent, self.run_id, dense=self._dense)
        self._sender = asyncio.create_task(self._send(), name=f"run {self.run_id}")
        return self

    async def __aexit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Ends it, within the time for which an append is tried again and a little more.

        Raises:
            RunEnded, OtherOwner, AppendError: the terminal event was not appended; said only where
                nothing else goes wrong.
        """
        try:
            # What ended badly is told by that, not by what follows from it.
            follows = () if exception is None else (RunEnded, OtherOwner, AppendError)
            with contextlib.suppress(*follows):
                await self._end(exception)
        finally:
            if self._reader is not None:
                await self._reader.aclose()
            if self._sender is not None:
                await cancel([self._sender])

    # ---- what it is for

    async def emit(self, type: str, data: Any = None, *, final: bool = False) -> None:
        """Has an event appended, after those before it. Waits only while too many are waiting.

        That it is in the run is certain after the next `flush`, `finish`, or the end of the block.
        Emitted within a recorded span of OpenTelemetry's, it belongs to that trace.

        Args:
            type: its type; may be empty.
            data: text, or anything that JSON has; `None` is an empty object.
            final: whether it ends the run. So do the types that settings have for terminal.

        Raises:
            ValueError: the type can't be one, or the text is not fit for UTF-8.
            TypeError: JSON has nothing for the data.
            RunEnded: the run has had its terminal event, from here or elsewhere.
            OtherOwner: it was deleted, and another subject's has its place.
            AppendError: an earlier event was not appended; nor will be any other.
        """
        event = NewEvent(type, as_text(data), final)
        if not is_event_type(type):
            raise ValueError(f"{type!r} can't be an event type: no CR, LF or NUL, not runcast.…")
        size = len(type.encode()) + len(event.data.encode())
        await self._until(lambda: self._has_room(size))
        if self._final:
            raise RunEnded(None)
        self._final = self._appender.is_final(event)
        self._emitted += 1
        traceparent = self._spans.begin(self._emitted, type)
        self._waiting.append(event._replace(traceparent=traceparent) if traceparent else event)
        self._waiting_bytes += size
        self._wake.set()

    async def progress(self, *, status: str | None = None, phase: str | None = None) -> None:
        """Says how the run goes, to viewers that ask for that rather than for events. The newest
        word counts; it goes out with the next events, or at once.

        Args:
            status: such as ``running``.
            phase: such as ``planning``.

        Raises:
            RunEnded, AppendError: as for `emit`.
        """
        self._check()
        if self._final:
            raise RunEnded(None)
        for name, text in (("status", status), ("phase", phase)):
            if text is not None:
                self._progress[name] = text
        self._wake.set()

    async def flush(self) -> StreamId | None:
        """Waits until all that was emitted is in the run.

        Returns:
            The newest one's id.

        Raises:
            RunEnded, AppendError: as for `emit`.
        """
        wanted = self._emitted
        await self._until(lambda: self._appended >= wanted)
        return self._newest

    async def finish(self, type: str = "", data: Any = None, *, status: str | None = None) -> None:
        """Ends the run with this event, and waits until it is there. Nothing can follow.

        Args:
            type: its type; empty for that of success.
            data: as for `emit`.
            status: the run's from now on; else the event's type.

        Raises:
            ValueError, TypeError, RunEnded, AppendError: as for `emit`.
        """
        chosen = type or self._settings.succeeded_type
        await self.progress(status=status or chosen)
        await self.emit(chosen, data, final=True)
        await self.flush()

    def commands(self) -> AsyncGenerator[Command, None]:
        """The commands to this run, the first ones first, also those from before it began, as they
        come; until the block is left. For one reader."""
        if self._reader is None:
            key = self._settings.keys.key(self.run_id)
            self._reader = CommandReader(self._deployment, key)
        return self._reader.commands()

    def abandon(self) -> None:
        """Leaves the run to somebody else: from now on nothing is appended, no end either."""
        self._fail(RunEnded(None))

    # ---- inside

    async def _end(self, exception: BaseException | None) -> None:
        limit = self._settings.retry_seconds + self._settings.timeout_seconds
        try:
            async with asyncio.timeout(limit + _CLOSING_MARGIN_SECONDS):
                await self._append_end(exception)
        except TimeoutError:
            raise AppendError("not all that was emitted has been acknowledged in time") from None
        if self._agent is not None and self._dense and self._newest is not None:
            await self._agents.end(self._agent, self.run_id, self._newest)

    async def _append_end(self, exception: BaseException | None) -> None:
        if self._final:
            await self.flush()
        elif exception is None:
            await self.finish()
        elif isinstance(exception, Exception):
            said = {"error": str(exception), "type": type(exception).__name__}
            await self.finish(self._settings.failed_type, said)
        else:
            await self.finish(self._settings.cancelled_type)

    def _has_room(self, size: int) -> bool:
        return len(self._waiting) < BUFFERED_EVENTS and (
            not self._waiting or self._waiting_bytes + size <= BUFFERED_BYTES
        )

    async def _until(self, condition: Callable[[], bool]) -> None:
        self._check()
        if condition():
            return
        async with self._moved:
            await self._moved.wait_for(lambda: self._failure is not None or condition())
        self._check()

    def _check(self) -> None:
        if self._sender is None:
            raise RuntimeError("use it as an async context manager")
        if self._failure is not None:
            raise self._failure

    def _fail(self, error: Exception) -> None:
        if self._failure is None:
            self._failure = error
        self._waiting.clear()
        self._wake.set()

    async def _send(self) -> None:
        """Sends batches until the run has ended, or can't be appended to."""
        try:
            while not (self._final and self._appended == self._emitted) and self._failure is None:
                await self._until_due()
                if self._failure is None:
                    await self._append(self._take())
                async with self._moved:
                    self._moved.notify_all()
        except Exception as error:
            # To be raised where the worker next asks for something, which may be its own fault.
            self._fail(error)
            if not isinstance(error, RunEnded):
                logger.warning("run can't be published", run=self.run_id, error=str(error))
        finally:
            if self._failure is None and not self._final:
                self._fail(RunEnded(None))
            self._spans.given_up(self._failure)
            async with self._moved:
                self._moved.notify_all()

    async def _until_due(self) -> None:
        """Waits for something to send, or for the lease to need renewal."""
        renewal = None if self._lease_seconds is None else self._lease_seconds / 3
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(renewal):
                await self._wake.wait()
        self._wake.clear()

    def _take(self) -> list[NewEvent]:
        """The next batch. What is left has the sender called again at once."""
        batch: list[NewEvent] = []
        size = 0
        while self._waiting and len(batch) < BATCH_EVENTS:
            event = self._waiting[0]
            size += len(event.type.encode()) + len(event.data.encode())
            if batch and size > BATCH_BYTES:
                break
            batch.append(self._waiting.popleft())
        if self._waiting:
            self._wake.set()
        return batch

    async def _append(self, batch: list[NewEvent]) -> None:
        status, phase = self._progress.pop("status", None), self._progress.pop("phase", None)
        appended = await self._appender.append(
            self.run_id,
            batch,
            producer=self._producer,
            sequence=self._appended + 1,
            dense=self._dense,
            above=self._above,
            lease_seconds=self._lease_seconds,
            status=status,
            phase=phase,
            # If another's run has this place by now, nothing of this one may get there.
            owner=self._owner,
        )
        self._appended += len(batch)
        self._spans.appended(self._appended)
        self._waiting_bytes -= sum(
            len(event.type.encode()) + len(event.data.encode()) for event in batch
        )
        if appended:
            self._newest = appended[-1].id
