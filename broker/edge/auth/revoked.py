"""What has been revoked by `runcast revoke`."""

import asyncio
from typing import Final

import structlog

from broker.edge.auth.identity import Identity
from broker.engine.log import LogUnavailable
from broker.redis.revocations import MOST_REVOCATIONS, RedisRevocations
from broker.wire.ids import StreamId

__all__ = ["Revoked"]

logger = structlog.get_logger("runcast.auth")

_LOOK_SECONDS: Final = 10.0
"""The longest that a look may take."""


class Revoked:
    """Knows what was revoked, as of the last look: a `Source`.

    While Redis is away it keeps what it knows. It also keeps what is not in the stream any more,
    so that one that was lost or deleted does not give anybody their rights back.
    """

    def __init__(self, log: RedisRevocations) -> None:
        """
        Args:
            log: where revocations are.
        """
        self._log = log
        self._newest: StreamId | None = None
        self._at: dict[str, int] = {}
        """When, in whole seconds, each mark was last revoked; the oldest first."""
        self._failing = False
        self._incomplete = False

    async def look(self) -> bool:
        """See `Source.look`."""
        try:
            async with asyncio.timeout(_LOOK_SECONDS):
                looked = await self._log.since(self._newest)
        except (LogUnavailable, TimeoutError) as error:
            if not self._failing:
                self._failing = True
                logger.warning(
                    "revocations can't be read: what is known of them holds",
                    error=str(error) or type(error).__name__,
                )
            return False
        if self._failing:
            self._failing = False
            logger.info("revocations are read again")
        self._newest = looked.newest
        changed = False
        for mark, at in looked.found:
            known = self._at.pop(mark, -1)
            self._at[mark] = max(known, at)
            changed = changed or at > known
        self._forget_the_oldest(complete=looked.complete)
        return changed

    def revoked(self, identity: Identity) -> bool:
        """See `Source.revoked`."""
        issued_at = identity.issued_at
        for mark in identity.marks:
            at = self._at.get(mark)
            # Both are known to the second only: whoever may have been before is.
            if at is not None and (issued_at is None or not issued_at >= at + 1):
                return True
        return False

    def _forget_the_oldest(self, *, complete: bool) -> None:
        excess = len(self._at) - MOST_REVOCATIONS
        for mark in list(self._at)[: max(0, excess)]:
            del self._at[mark]
        if (excess > 0 or not complete) and not self._incomplete:
            self._incomplete = True
            logger.error(
                "more was revoked than is remembered: the oldest revocations are forgotten",
                remembered=MOST_REVOCATIONS,
            )
