"""Revocations, in Redis: one stream for all edges.

Each entry has a field ``mark`` (``subject:…``, ``key:…``, ``token:…``); its id says when, by Redis'
clock.
"""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from redis.exceptions import RedisError

from broker.engine.log import LogUnavailable
from broker.redis.connections import describe
from broker.redis.deployment import Deployment
from broker.redis.persistence import insist
from broker.redis.streams import parse_id
from broker.wire.ids import StreamId

__all__ = ["MOST_REVOCATIONS", "RedisRevocations", "Revocation", "Revocations"]

MOST_REVOCATIONS: Final = 100_000
"""That are read; of more, the newest."""
_PAGE: Final = 5_000
_RETRY_SECONDS: Final = 10.0
_MARK: Final = "mark"


class Revocation(NamedTuple):
    """One of them."""

    mark: str
    """What is revoked: all credentials with this mark that were made until then."""
    at: int
    """Whole seconds since 1970, rounded down."""


class Revocations(NamedTuple):
    """What was found at a look."""

    found: Sequence[Revocation]
    """The oldest first."""
    newest: StreamId | None
    """Where to go on from; `None` where the stream has no entry."""
    complete: bool
    """Whether there were no more than are read."""


class RedisRevocations:
    """Reads them (XREVRANGE), and appends (XADD, XTRIM)."""

    def __init__(self, deployment: Deployment, key: str) -> None:
        """
        Args:
            deployment: where the stream is.
            key: the stream.
        """
        self._deployment = deployment
        self._key = key

    async def append(self, mark: str, keep_seconds: int) -> StreamId:
        """Appends one, and drops those that are older than is kept. Done twice, it does no harm.

        Args:
            mark: what is revoked.
            keep_seconds: how long a revocation is kept; longer than any credential lasts, or one
                that is revoked would be good again.

        Returns:
            Its id, which has the time by Redis' clock.

        Raises:
            AppendError: see there.
        """
        raw = await self._insist("XADD", self._key, "*", _MARK, mark)
        entry_id = parse_id(raw)
        oldest = max(0, entry_id.ms - 1000 * keep_seconds)
        await self._insist("XTRIM", self._key, "MINID", "~", str(oldest))
        return entry_id

    async def since(self, known: StreamId | None) -> Revocations:
        """Those after `known`; all, where that is not in the stream (any more).

        One command that answers one entry, while nothing is revoked.

        Raises:
            LogUnavailable: they can't be read now.
        """
        try:
            found = await self._down_to(known)
            if known is not None and (not found or found[-1][0] != known):
                # The stream is another one, or was emptied.
                found = await self._down_to(None)
        except (RedisError, OSError, TimeoutError) as error:
            raise LogUnavailable(describe(error)) from error
        newest = found[0][0] if found else None
        complete = len(found) <= MOST_REVOCATIONS
        revocations = [
            Revocation(mark, entry_id.ms // 1000)
            for entry_id, mark in reversed(found[:MOST_REVOCATIONS])
            if entry_id != known and mark
        ]
        return Revocations(revocations, newest, complete)

    async def _down_to(self, known: StreamId | None) -> list[tuple[StreamId, str]]:
        """Ids and marks from the newest one to `known`, or to the first one; up to one more than
        are read."""
        found: list[tuple[StreamId, str]] = []
        end = "+"
        start = "-" if known is None else str(known)
        while len(found) <= MOST_REVOCATIONS:
            count = min(_PAGE, MOST_REVOCATIONS + 1 - len(found))
            page = await self._deployment.ask(
                self._key, "XREVRANGE", self._key, end, start, "COUNT", count
            )
            found += ((parse_id(raw), _mark(fields)) for raw, fields in page)
            if len(page) < count:
                break
            end = f"({found[-1][0]}"
        return found

    async def _insist(self, *words: bytes | str | int) -> Any:
        return await insist(
            lambda: self._deployment.ask(self._key, *words), retry_seconds=_RETRY_SECONDS
        )


def _mark(fields: Any) -> str:
    """What the entry revokes; empty for one that is not of this kind."""
    items = iter(fields)
    pairs = fields if isinstance(fields, dict) else dict(zip(items, items, strict=True))
    return bytes(pairs.get(_MARK.encode(), b"")).decode("utf-8", "replace")
