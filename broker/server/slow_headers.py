"""Clients that do not send the head of a request: each is given the same time, and then closed.

Since all have equally long, those who wait stand in the order in which their time is up, and one
task for the process looks at the first of them: two operations of a dict for each request, where
a timer for each would cost several times as much.
"""

import asyncio
from collections.abc import Callable
from itertools import islice
from types import TracebackType
from typing import Final, Protocol, Self

import structlog

from broker.engine.cancelling import cancel

__all__ = ["SlowHeaders", "Waiting"]

logger = structlog.get_logger("runcast.server")

_LOOKS: Final = 20
"""How often within the time that each has; so much later than due, one is closed."""
_LONGEST_LOOK_SECONDS: Final = 1.0
_AT_ONCE: Final = 32
"""Closed in one turn of the loop, so that thousands who came together don't hold up the others."""


class Waiting(Protocol):
    """A connection whose client owes a head."""

    def head_overdue(self) -> None:
        """The time is up."""


class SlowHeaders:
    """Of one process. Use it as an async context manager."""

    def __init__(self, seconds: float, clock: Callable[[], float]) -> None:
        """
        Args:
            seconds: how long each may take.
            clock: monotonic seconds.
        """
        self._seconds = seconds
        self._clock = clock
        # By who came first, and so is due first.
        self._due: dict[Waiting, float] = {}
        self._task: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        return len(self._due)

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._look(), name="slow headers")
        return self

    async def __aexit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._task is not None:
            await cancel([self._task])

    def expect(self, waiting: Waiting) -> None:
        """From now on its time runs; it must not run already."""
        self._due[waiting] = self._clock() + self._seconds

    def came(self, waiting: Waiting) -> None:
        """The head is there, or the connection is over. Idempotent."""
        self._due.pop(waiting, None)

    def close_overdue(self) -> bool:
        """Tells some of those whose time is up; whether there may be more."""
        now = self._clock()
        for waiting, due in list(islice(self._due.items(), _AT_ONCE)):
            if due > now:
                return False
            del self._due[waiting]
            waiting.head_overdue()
        return bool(self._due)

    async def _look(self) -> None:
        seconds = min(_LONGEST_LOOK_SECONDS, self._seconds / _LOOKS)
        while True:
            try:
                more = self.close_overdue()
            except Exception:
                # Nobody would be closed any more if this ended here.
                logger.exception("connection not closed")
                continue
            await asyncio.sleep(0 if more else seconds)
