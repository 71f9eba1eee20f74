"""Appending events to runs, and how long they are kept."""

from typing import Final

import structlog
from redis.exceptions import RedisError

from broker.redis.connections import describe
from broker.redis.deployment import Deployment
from broker.redis.streams import KeyTemplate, parse_id
from broker.wire.event import EventFormat, is_event_type
from broker.wire.ids import RunId, StreamId

__all__ = ["PublishError", "Publisher"]

logger = structlog.get_logger("runcast.publisher")

RETENTION_SECONDS: Final = 24 * 3600
RETENTION_AFTER_END_SECONDS: Final = 3600


class PublishError(Exception):
    """The append failed, or its outcome is not known; the message says which."""


class Publisher:
    """XADD, then EXPIRE. Never sent twice: that would be two events.

    Not in one transaction: it would go on after an XADD to a key of another type, and have
    somebody else's key expire.
    """

    def __init__(
        self,
        deployment: Deployment,
        keys: KeyTemplate,
        events: EventFormat,
        *,
        retention_seconds: int = RETENTION_SECONDS,
        retention_after_end_seconds: int = RETENTION_AFTER_END_SECONDS,
    ) -> None:
        """
        Args:
            deployment: where the runs are.
            keys: how keys are made.
            events: the field names, and what ends a run.
            retention_seconds: how long a run is kept after its newest event.
            retention_after_end_seconds: the same after its terminal event.
        """
        self._deployment = deployment
        self._keys = keys
        self._events = events
        self._retention = retention_seconds
        self._retention_after_end = retention_after_end_seconds
        self.retention_error: str | None = None
        """Why the newest append has not set how long its run is kept; `None` if it has."""

    async def publish(self, run_id: RunId, event_type: str, data: str) -> StreamId:
        """Appends one event.

        Raises:
            ValueError: the type can't be an event type.
            PublishError: it was not appended, or may or may not have been.
        """
        if not is_event_type(event_type):
            raise ValueError(
                f"{event_type!r} can't be an event type: no CR, LF or NUL, not runcast.…"
            )
        fields = {self._events.type_field: event_type} if event_type else {}
        fields[self._events.data_field] = data
        encoded = {name.encode(): value.encode() for name, value in fields.items()}
        final = self._events.decode(StreamId(0, 1), encoded).final
        key = self._keys.key(run_id)
        words = [part for pair in encoded.items() for part in pair]
        try:
            entry_id = await self._deployment.ask(key, "XADD", key, "*", *words)
        except (RedisError, OSError, TimeoutError) as error:
            raise PublishError(f"not acknowledged by Redis: {describe(error)}") from error
        await self._expire(key, self._retention_after_end if final else self._retention)
        return parse_id(entry_id)

    async def _expire(self, key: str, seconds: int) -> None:
        try:
            await self._deployment.ask(key, "EXPIRE", key, seconds)
        except (RedisError, OSError, TimeoutError) as error:
            # The event is in the run, and must not be taken for one that is not; the next append
            # sets the time again.
            logger.warning("retention not set", key=key, error=describe(error))
            self.retention_error = describe(error)
        else:
            self.retention_error = None
