"""Ends streams whose right has ended, and says of an identity whether it still stands.

A right ends at the credential's own time, which the stream knows (`Term`); when what it rests on is
taken away, which a `Source` notices; or when it is asked for again and refused.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final, Protocol, Self

import structlog

from broker.edge.auth.identity import Identity
from broker.engine.cancelling import cancel
from broker.engine.ending import Ending
from broker.engine.subscriber import Subscriber
from broker.engine.wheel import TimerWheel
from broker.wire.problem import Problem, Unavailable

__all__ = ["Source", "Standing"]

logger = structlog.get_logger("runcast.auth")

_WHEEL_SECONDS: Final = 0.25
_CHECKS: Final = 256
"""How many rights are asked for anew at a time."""


class Source(Protocol):
    """Something that rights rest on, and that may change."""

    async def look(self) -> bool:
        """Whether it has changed since the last look. Raises nothing that can be expected."""

    def revoked(self, identity: Identity) -> bool:
        """Whether what this identity rests on has been taken away."""


class Standing:
    """Of one process. Use it as an async context manager."""

    def __init__(
        self, sources: Sequence[Source], *, look_seconds: float, recheck_seconds: float
    ) -> None:
        """
        Args:
            sources: what rights rest on.
            look_seconds: how often each is looked at.
            recheck_seconds: how often a right is asked for anew that may end without a sign.
        """
        self._sources = sources
        self._look_seconds = look_seconds
        self._recheck_seconds = recheck_seconds
        self._present: dict[Subscriber, Identity] = {}
        self._due: TimerWheel[Subscriber] = TimerWheel(_WHEEL_SECONDS)
        self._checks: set[asyncio.Task[None]] = set()
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        for source in self._sources:
            # What is revoked already is known before the first request.
            await source.look()
        for source in self._sources:
            await self._stack.enter_async_context(_running(self._watch(source), "rights"))
        await self._stack.enter_async_context(_running(self._recheck(), "rights asked anew"))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()
        await cancel(list(self._checks))

    @property
    def present(self) -> int:
        """How many streams it looks after."""
        return len(self._present)

    def stands(self, identity: Identity) -> bool:
        """Whether it has neither expired nor been revoked."""
        return time.time() < identity.until and not self._revoked(identity)

    def began(self, subscriber: Subscriber, identity: Identity) -> None:
        """A stream has begun for somebody."""
        self._present[subscriber] = identity
        if self._revoked(identity):
            # Since it was let in: nobody looks at it again before the next revocation.
            subscriber.end(Ending.RIGHT_ENDED)
        if identity.again is not None:
            self._due.put(subscriber, time.monotonic() + self._rest(identity))

    def left(self, subscriber: Subscriber) -> None:
        """Its connection is over."""
        self._present.pop(subscriber, None)
        self._due.discard(subscriber)

    # ---- inside

    def _rest(self, identity: Identity) -> float:
        """How long it need not be asked for anew. From when it was proved, which may be a while
        ago: so all who rest on the same proof are due at once, and can share the next."""
        if identity.issued_at is None:
            return self._recheck_seconds
        age = time.time() - identity.issued_at
        return min(max(self._recheck_seconds - age, 0), self._recheck_seconds)

    def _revoked(self, identity: Identity) -> bool:
        return any(source.revoked(identity) for source in self._sources)

    async def _watch(self, source: Source) -> None:
        while True:
            await asyncio.sleep(self._look_seconds)
            try:
                changed = await source.look()
            except Exception:
                # Nobody would be revoked any more if this ended here.
                logger.exception("rights can't be looked at", source=type(source).__name__)
                continue
            if changed:
                self._end_revoked()

    def _end_revoked(self) -> None:
        verdicts: dict[Identity, bool] = {}
        for subscriber, identity in list(self._present.items()):
            revoked = verdicts.get(identity)
            if revoked is None:
                revoked = verdicts[identity] = self._revoked(identity)
            if revoked:
                subscriber.end(Ending.RIGHT_ENDED)

    async def _recheck(self) -> None:
        while True:
            await asyncio.sleep(_WHEEL_SECONDS)
            for subscriber in self._due.due(time.monotonic()):
                if len(self._checks) >= _CHECKS:
                    break
                self._due.discard(subscriber)
                task = asyncio.create_task(self._check(subscriber), name="right asked anew")
                self._checks.add(task)
                task.add_done_callback(self._checked)

    def _checked(self, task: asyncio.Task[None]) -> None:
        self._checks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("right not checked", error=type(error).__name__)

    async def _check(self, subscriber: Subscriber) -> None:
        identity = self._present.get(subscriber)
        if identity is None or identity.again is None:
            return
        ending = Ending.RIGHT_UNKNOWN
        try:
            identity = await identity.again()
        except Unavailable:
            pass
        except Problem:
            ending = Ending.RIGHT_ENDED
        else:
            if self.stands(identity):
                if subscriber in self._present:
                    self.began(subscriber, identity)
                return
            ending = Ending.RIGHT_ENDED
        subscriber.end(ending)


@asynccontextmanager
async def _running(work: Coroutine[None, None, None], name: str) -> AsyncIterator[None]:
    task = asyncio.create_task(work, name=name)
    try:
        yield
    finally:
        await cancel([task])
