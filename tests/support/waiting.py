"""Waiting for conditions, with a limit; never for time alone."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, overload

__all__ = ["eventually", "eventually_sync"]

Result = TypeVar("Result")

_POLL_SECONDS = 0.02


@overload
async def eventually(
    condition: Callable[[], Awaitable[Result]], *, within: float = 10
) -> Result: ...
@overload
async def eventually(condition: Callable[[], Result], *, within: float = 10) -> Result: ...
async def eventually(condition: Callable[[], Any], *, within: float = 10) -> Any:
    """The condition's first true value; fails the test after `within` seconds."""
    deadline = time.monotonic() + within
    while True:
        value = condition()
        result = await value if isinstance(value, Awaitable) else value
        if result:
            return result
        assert time.monotonic() < deadline, f"not within {within} s: last value {result!r}"
        await asyncio.sleep(_POLL_SECONDS)


def eventually_sync(condition: Callable[[], Result], *, within: float = 10) -> Result:
    """As `eventually`, outside of a loop."""
    deadline = time.monotonic() + within
    while True:
        result = condition()
        if result:
            return result
        assert time.monotonic() < deadline, f"not within {within} s: last value {result!r}"
        time.sleep(_POLL_SECONDS)
