"""A worker: takes requests for runs, has each handled, and leaves none undone.

The requests' stream has a consumer group, of which each process is a consumer. Every third of
`claim_seconds` it says what it is at work on; what nobody has been at work on for the whole of them
was a dead one's, and is claimed by another. A request is acknowledged once its run has ended.
"""

import asyncio
import contextlib
import os
import signal
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Final
from uuid import uuid4

import structlog

from broker.engine.cancelling import cancel
from broker.publishing.blocked import BLOCK_SECONDS
from broker.publishing.publisher import LEASE_SECONDS, RunPublisher
from broker.publishing.requests import BadRequest, Request, RequestGroup, parse_request
from broker.publishing.run import Run
from broker.publishing.settings import PublishingSettings
from broker.redis.appending import RunEnded
from broker.redis.persistence import AppendError
from broker.wire.ids import is_run_id

__all__ = ["Handler", "worker"]

logger = structlog.get_logger("runcast.worker")

Handler = Callable[[Request, Run], Awaitable[object]]
"""Does the work of a request, and emits its events to the run."""

_READ_ENDS_SECONDS: Final = BLOCK_SECONDS + 4.0
"""For the read that is under way when it is told to stop."""


async def worker(
    url: str,
    handler: Handler,
    *,
    group: str = "agents",
    concurrency: int = 10,
    settings: PublishingSettings | None = None,
    dense: bool = False,
    lease_seconds: float | None = LEASE_SECONDS,
    claim_seconds: float = 30.0,
    most_attempts: int = 3,
    grace_seconds: float = 30.0,
    handle_signals: bool = True,
) -> None:
    """Works until it is told to stop, by SIGTERM or SIGINT or by being cancelled.

    Each request has one call of the handler, with its run entered: so the run ends with the call,
    as `Run` says. If this process dies, another calls its own handler for the same run, with
    `Request.attempt` one higher. If it is only thought to be dead, both may be at work for a
    moment.

    On a signal it takes no more requests, gives the handlers `grace_seconds`, and then cancels
    them; cancelled itself, it cancels them at once. Their runs end with ``cancelled``.

    Args:
        url: of Redis, as for an edge.
        handler: does the work. What it raises is logged, and ends its run with ``failed``.
        group: shared by all workers that share the work.
        concurrency: the most handlers at a time.
        settings: names and times, where they are not the defaults.
        dense: whether the runs' ids are dense; see `RunPublisher.run`.
        lease_seconds: see `RunPublisher.run`.
        claim_seconds: after so long without a sign of life another worker takes a request over.
            Below the lease, a run survives its worker; above, an edge ends it.
        most_attempts: the run of a request that so many workers have died of ends with ``failed``.
        grace_seconds: what handlers are given to end by themselves.
        handle_signals: whether to listen to SIGTERM and SIGINT; only in the main thread.

    Raises:
        RedisUrlError: the URL is none of ours.
        AppendError: Redis can't be reached at the beginning; later, that is waited for.
    """
    chosen = settings or PublishingSettings()
    publisher = RunPublisher(url, chosen)
    async with publisher:
        group_of_ours = RequestGroup(
            publisher.deployment,
            chosen.requests_key,
            group,
            f"{socket.gethostname()}-{os.getpid()}-{uuid4().hex[:8]}",
            retry_seconds=chosen.retry_seconds,
        )
        at_work = _Worker(
            publisher,
            group_of_ours,
            handler,
            concurrency=concurrency,
            claim_seconds=claim_seconds,
            most_attempts=most_attempts,
            options={"dense": dense, "lease_seconds": lease_seconds},
        )
        with _stopping(at_work.stop) if handle_signals else contextlib.nullcontext():
            await at_work.run(grace_seconds)


class _Worker:
    """The requests in hand, and the tasks that take and keep them."""

    def __init__(
        self,
        publisher: RunPublisher,
        group: RequestGroup,
        handler: Handler,
        *,
        concurrency: int,
        claim_seconds: float,
        most_attempts: int,
        options: dict[str, Any],
    ) -> None:
        self._publisher = publisher
        self._group = group
        self._handler = handler
        self._concurrency = concurrency
        self._claim_seconds = claim_seconds
        self._most_attempts = most_attempts
        self._options = options
        settings = publisher.settings
        self._ending_seconds = 2 * (settings.retry_seconds + settings.timeout_seconds)
        self._in_hand: dict[bytes, asyncio.Task[None]] = {}
        self._runs: dict[bytes, Run] = {}
        self._lost: set[bytes] = set()
        self._stop = asyncio.Event()

    def stop(self) -> None:
        """Has it take nothing more, and end."""
        self._stop.set()

    async def run(self, grace_seconds: float) -> None:
        """Works until it is stopped."""
        keeper = asyncio.create_task(self._keep(), name="worker keeps requests")
        reader = asyncio.create_task(self._read(), name="worker reads requests")
        stopped = asyncio.create_task(self._stop.wait(), name="worker works")
        try:
            # Neither ends by itself, but for a defect.
            await asyncio.wait((reader, keeper, stopped), return_when=asyncio.FIRST_COMPLETED)
            self._stop.set()
            # What is read while it is stopped is in hand too.
            await asyncio.wait((reader,), timeout=_READ_ENDS_SECONDS)
            if self._in_hand:
                await asyncio.wait(self._in_hand.values(), timeout=grace_seconds)
        finally:
            self._stop.set()
            await cancel([reader, stopped])
            await self._cancel_handlers()
            await cancel([keeper])
            await self._leave()
        for task in (reader, keeper):
            if not task.cancelled():
                task.result()

    # ---- taking requests

    async def _read(self) -> None:
        loop = asyncio.get_running_loop()
        claim_at = loop.time()
        await self._group.join()
        reads = self._group.reads(self._free, min(BLOCK_SECONDS, self._claim_seconds / 3))
        async with contextlib.aclosing(reads):
            while not self._stop.is_set():
                await self._until_free()
                if not self._stop.is_set() and loop.time() >= claim_at:
                    claim_at = loop.time() + self._claim_seconds / 3
                    await self._claim()
                if not self._stop.is_set() and self._free():
                    for entry_id, fields in await anext(reads):
                        self._begin(entry_id, fields, 1)

    def _free(self) -> int:
        return self._concurrency - len(self._in_hand)

    async def _until_free(self) -> None:
        while not self._free() and not self._stop.is_set():
            await asyncio.wait(self._in_hand.values(), return_when=asyncio.FIRST_COMPLETED)

    async def _claim(self) -> None:
        try:
            claimed = await self._group.claim(self._free(), self._claim_seconds)
        except AppendError as error:
            logger.warning("can't claim requests", error=str(error))
            return
        for entry_id, fields, attempt in claimed:
            if entry_id not in self._in_hand:
                self._begin(entry_id, fields, attempt)

    async def _keep(self) -> None:
        while True:
            await asyncio.sleep(self._claim_seconds / 3)
            if not self._in_hand:
                continue
            try:
                lost = await self._group.keep(list(self._in_hand))
            except AppendError as error:
                logger.warning("can't keep requests", error=str(error))
                continue
            for entry_id in lost:
                self._give_up(entry_id)

    def _give_up(self, entry_id: bytes) -> None:
        """Another worker has the request: the run is its own now."""
        task = self._in_hand.get(entry_id)
        if task is None:
            return
        logger.warning("another worker has taken a request over", request=entry_id.decode())
        self._lost.add(entry_id)
        if entry_id in self._runs:
            self._runs[entry_id].abandon()
        task.cancel()

    # ---- doing them

    def _begin(self, entry_id: bytes, fields: Any, attempt: int) -> None:
        task = asyncio.create_task(
            self._answer(entry_id, fields, attempt), name=f"request {entry_id.decode()}"
        )
        self._in_hand[entry_id] = task
        task.add_done_callback(lambda task: self._done(entry_id, task))

    def _done(self, entry_id: bytes, task: asyncio.Task[None]) -> None:
        del self._in_hand[entry_id]
        self._runs.pop(entry_id, None)
        self._lost.discard(entry_id)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("request can't be answered", request=entry_id.decode(), exc_info=error)

    async def _answer(self, entry_id: bytes, fields: Any, attempt: int) -> None:
        try:
            await self._do(entry_id, fields, attempt)
        except AppendError as error:
            # Not done with: somebody claims it once Redis is there again.
            logger.warning("run can't be published", request=entry_id.decode(), error=str(error))
            return
        except asyncio.CancelledError:
            if entry_id not in self._lost:
                await self._group.acknowledge(entry_id)
            raise
        await self._group.acknowledge(entry_id)

    async def _do(self, entry_id: bytes, fields: Any, attempt: int) -> None:
        try:
            request = parse_request(entry_id, fields, attempt)
        except BadRequest as error:
            logger.warning("bad request", request=entry_id.decode(), error=str(error))
            return
        try:
            # A name that can't be one has no pointer.
            agent = request.agent if is_run_id(request.agent) else None
            opened = self._publisher.run(
                request.run_id, agent=agent, owner=request.owner, **self._options
            )
            async with opened as run:
                self._runs[entry_id] = run
                if attempt > self._most_attempts:
                    raise _TooManyAttempts(f"workers have died of it {attempt - 1} times")
                await self._handler(request, run)
        except RunEnded as error:
            # Such as one that was lost, or was cancelled, before its turn came.
            logger.info("run had ended", run=request.run_id, error=str(error))
        except AppendError:
            raise
        except Exception:
            logger.exception("run failed", run=request.run_id)

    async def _cancel_handlers(self) -> None:
        """Cancels them once, and gives their runs the time that it may take to be ended."""
        tasks = list(self._in_hand.values())
        try:
            for task in tasks:
                task.cancel()
            if tasks:
                await asyncio.wait(tasks, timeout=self._ending_seconds)
        finally:
            await cancel(tasks)

    async def _leave(self) -> None:
        try:
            await self._group.leave()
        except AppendError as error:
            logger.warning("can't leave the group of workers", error=str(error))


class _TooManyAttempts(Exception):
    """Nobody shall try again."""


@contextlib.contextmanager
def _stopping(stop: Callable[[], None]) -> Iterator[None]:
    """Has SIGTERM and SIGINT call this while the context lasts."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()
    signals = (signal.SIGTERM, signal.SIGINT)
    for one in signals:
        loop.add_signal_handler(one, stop)
    try:
        yield
    finally:
        for one in signals:
            loop.remove_signal_handler(one)
