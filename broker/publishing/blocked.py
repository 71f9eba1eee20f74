"""Reads that wait in Redis, on a connection of their own, over every outage."""

import asyncio
import random
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any, Final

import structlog
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

from broker.engine.backoff import backoff_seconds
from broker.redis.connections import describe
from broker.redis.deployment import Deployment
from broker.redis.server import Server

__all__ = ["BLOCK_SECONDS", "blocked_reads"]

logger = structlog.get_logger("runcast.publishing")

BLOCK_SECONDS: Final = 2.0
_MARGIN_SECONDS: Final = 3.0
"""How much later than that an answer may come."""
_BACKOFF_BASE_SECONDS: Final = 0.05
_BACKOFF_LONGEST_SECONDS: Final = 2.0
_RANDOM: Final = random.Random()


async def blocked_reads(
    deployment: Deployment,
    key: str,
    prepare: Callable[[], Awaitable[Any]],
    words: Callable[[int], tuple[str | int, ...]],
    *,
    block_seconds: float = BLOCK_SECONDS,
) -> AsyncGenerator[Any, None]:
    """The answers to one read after the other, also empty ones.

    Args:
        deployment: where the key is.
        key: what is read.
        prepare: does what must be before the first read, and after each failure; by `ask`, which
            finds the key wherever it is then.
        words: makes the next read, of how many milliseconds it may wait.
        block_seconds: the longest that a read waits.
    """
    failures = 0
    while True:
        try:
            await prepare()
            async with _server(deployment, key).link() as link:
                while True:
                    # Zero would be for ever.
                    read = words(max(1, int(block_seconds * 1000)))
                    answer = await link.ask(*read, timeout=block_seconds + _MARGIN_SECONDS)
                    failures = 0
                    yield answer
        except (RedisError, OSError, TimeoutError) as error:
            failures += 1
            if failures == 1:
                logger.warning("can't read", key=key, error=describe(error))
        pause = backoff_seconds(
            failures,
            base=_BACKOFF_BASE_SECONDS,
            longest=_BACKOFF_LONGEST_SECONDS,
            random_source=_RANDOM,
        )
        await asyncio.sleep(pause)


def _server(deployment: Deployment, key: str) -> Server:
    server = deployment.server_of(key)
    if server is None:
        raise RedisConnectionError("nobody has this key")
    return server
