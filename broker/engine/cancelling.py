"""Ending tasks for certain."""

import asyncio
from collections.abc import Iterable
from typing import Any

__all__ = ["cancel"]

_AGAIN_SECONDS = 0.25


async def cancel(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancels tasks and waits until they have ended; what they raise is theirs to report.

    Asks again where a cancellation got lost: until Python 3.12 `asyncio.wait_for` swallows one
    that arrives as its inner work completes (python/cpython#86296), and redis-py sends every
    command through it.
    """
    pending = {task for task in tasks if not task.done()}
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=_AGAIN_SECONDS)
