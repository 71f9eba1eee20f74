"""Appending one event at a time, for whoever counts nothing: `runcast publish` and the demo."""

import asyncio
from typing import Final
from uuid import uuid4

from broker.redis.appending import (
    RETENTION_AFTER_END_SECONDS,
    RETENTION_SECONDS,
    Appender,
    NewEvent,
)
from broker.redis.deployment import Deployment
from broker.redis.streams import KeyTemplate
from broker.wire.event import EventFormat
from broker.wire.ids import RunId, StreamId

__all__ = ["Publisher"]

RETRY_SECONDS: Final = 5.0
"""Whoever types a command waits for so long, no longer."""


class Publisher:
    """A producer. Its appends happen one after the other, in the order in which they are asked."""

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
        self._appender = Appender(
            deployment,
            keys,
            events,
            retention_seconds=retention_seconds,
            retention_after_end_seconds=retention_after_end_seconds,
            retry_seconds=RETRY_SECONDS,
        )
        self._producer = uuid4().hex
        # One count for all runs: in each of them it grows, which is enough.
        self._sequence = 0
        self._turn = asyncio.Lock()

    async def publish(self, run_id: RunId, event_type: str, data: str) -> StreamId:
        """Appends one event, once; tries again for `RETRY_SECONDS`.

        Raises:
            ValueError: the type can't be an event type.
            RunEnded: the run has had its terminal event.
            AppendError: it was not appended, or may or may not have been; see there.
        """
        async with self._turn:
            self._sequence += 1
            appended = await self._appender.append(
                run_id,
                [NewEvent(event_type, data)],
                producer=self._producer,
                sequence=self._sequence,
            )
        entry_id = appended[0].id
        assert entry_id is not None, "the id of a producer's last event is known"
        return entry_id
