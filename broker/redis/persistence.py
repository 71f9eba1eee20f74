"""Asking Redis again after what may pass: for commands that do no harm when they are done twice."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

from redis.exceptions import (
    AuthenticationError,
    ClusterDownError,
    MasterDownError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TryAgainError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from broker.engine.backoff import backoff_seconds
from broker.redis.connections import describe

__all__ = ["RETRY_SECONDS", "AppendError", "NotAppended", "insist"]

RETRY_SECONDS: Final = 60.0
"""Longer than Sentinel and Cluster take to replace a primary as they are usually set up."""

_BACKOFF_BASE_SECONDS: Final = 0.025
_BACKOFF_LONGEST_SECONDS: Final = 1.0
_RANDOM: Final = random.Random()

_PASSING_KINDS: Final = (
    RedisConnectionError,
    RedisTimeoutError,
    OSError,
    ReadOnlyError,
    ClusterDownError,
    TryAgainError,
    MasterDownError,
)
_PASSING: Final = ("NOREPLICAS", "BUSY ", "MISCONF", "READONLY")
"""Words of errors that say: not now. Before 7.0, Redis puts them into one about the script."""
_HALF_WAY: Final = ("in script", "executing the script")
"""What Redis says of a right that is missing in a script's midst; the second before 7.0."""


class AppendError(Exception):
    """Not acknowledged, although tried again; the message says whether it may have happened."""


class NotAppended(AppendError):
    """It has certainly not happened."""


async def insist(ask: Callable[[], Awaitable[Any]], *, retry_seconds: float) -> Any:
    """The answer, however often it takes, within bounds.

    Args:
        ask: sends the command.
        retry_seconds: for how long it is sent again; the last attempt may take longer by its own
            timeout. Zero: it is sent once.

    Raises:
        AppendError: see there.
    """
    give_up_at = time.monotonic() + retry_seconds
    failures, unsure = 0, False
    while True:
        try:
            return await ask()
        except (RedisError, OSError, TimeoutError) as error:
            unsure = unsure or not _is_certain(error)
            failures += 1
            pause = backoff_seconds(
                failures,
                base=_BACKOFF_BASE_SECONDS,
                longest=_BACKOFF_LONGEST_SECONDS,
                random_source=_RANDOM,
            )
            if not _may_pass(error) or time.monotonic() + pause > give_up_at:
                raise _failure(error, unsure) from error
        await asyncio.sleep(pause)


def _may_pass(error: Exception) -> bool:
    """Whether the next attempt may go better."""
    if isinstance(error, AuthenticationError):
        return False
    if isinstance(error, _PASSING_KINDS):
        return True
    return any(word in str(error) for word in _PASSING)


def _is_certain(error: Exception) -> bool:
    """Whether it was refused before anything was written."""
    if isinstance(error, AuthenticationError):
        return True
    # A right that is missing half-way shows after the event is there.
    return isinstance(error, ResponseError) and not any(word in str(error) for word in _HALF_WAY)


def _failure(error: Exception, unsure: bool) -> AppendError:
    if unsure:
        return AppendError(
            f"not acknowledged by Redis, and may or may not have happened: {describe(error)}"
        )
    return NotAppended(f"refused by Redis: {describe(error)}")
