"""Ending tasks for certain."""

import asyncio
from collections.abc import Iterable
from typing import Any

import structlog

__all__ = ["cancel"]

logger = structlog.get_logger("runcast.engine")

_AGAIN_SECONDS = 0.25


async def cancel(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancels tasks and waits until they have ended.

    What one raises on its way out, such as a connection's error, is logged for debugging only; so
    is what one has raised that had ended before, together with the one whose error the owner took.

    Asks again where a cancellation got lost: until Python 3.12 `asyncio.wait_for` swallows one
    that arrives as its inner work completes (python/cpython#86296), and redis-py sends every
    command through it. For the same reason the caller may be cancelled more than once: the wait
    goes on all the same, so that no task is left without its owner.
    """
    pending = set(tasks)
    for task in pending:
        _note_failure(task)
    pending = {task for task in pending if not task.done()}
    interruption: asyncio.CancelledError | None = None
    while pending:
        for task in pending:
            task.cancel()
        try:
            await asyncio.wait(pending, timeout=_AGAIN_SECONDS)
        except asyncio.CancelledError as interrupted:
            interruption = interrupted
        for task in pending:
            _note_failure(task)
        pending = {task for task in pending if not task.done()}
    if interruption is not None:
        raise interruption


def _note_failure(task: asyncio.Task[Any]) -> None:
    if task.done() and not task.cancelled() and (error := task.exception()) is not None:
        logger.debug("task failed while ending", task=task.get_name(), exc_info=error)
