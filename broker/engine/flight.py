"""Shared work: what many want at once is done once."""

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from typing import Any, Generic, TypeVar

from broker.engine.cancelling import cancel

__all__ = ["FreshFlight", "SingleFlight"]

Key = TypeVar("Key", bound=Hashable)
Result = TypeVar("Result")


class SingleFlight(Generic[Key, Result]):
    """Shares the running work for a key. Owns its tasks, so one caller's leaving ends no wait."""

    def __init__(self) -> None:
        self._running: dict[Key, asyncio.Task[Result]] = {}

    def __contains__(self, key: Key) -> bool:
        return key in self._running

    async def do(self, key: Key, work: Callable[[], Coroutine[Any, Any, Result]]) -> Result:
        """The result of `work`, or of the work that is under way for `key`."""
        task = self._running.get(key)
        if task is None:
            task = asyncio.create_task(work(), name=f"flight {key}")
            self._running[key] = task
            task.add_done_callback(lambda done: self._landed(key, done))
        return await asyncio.shield(task)

    async def aclose(self) -> None:
        """Cancels what is under way and waits for it."""
        await cancel(list(self._running.values()))

    def _landed(self, key: Key, task: asyncio.Task[Result]) -> None:
        if self._running.get(key) is task:
            del self._running[key]
        if not task.cancelled():
            # Whoever waits gets the exception; where all have left, it is not an unseen one.
            task.exception()


class FreshFlight:
    """Work of which each caller needs a run that began after they asked.

    One run at a time; all who ask during a run share the next.
    """

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._started = 0
        self._succeeded = 0

    async def do(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Returns once a run of `work` has succeeded that began after this call."""
        wanted = self._started + 1
        async with self._lock:
            if self._succeeded >= wanted:
                return
            self._started += 1
            run = self._started
            await work()
            self._succeeded = run
