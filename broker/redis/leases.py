"""Ending runs whose worker is gone: what a lease says, and the terminal event when it runs out."""

from typing import Final, NamedTuple

import orjson

from broker.redis.appending import RETENTION_AFTER_END_SECONDS, LostReason, format_words
from broker.redis.deployment import Deployment
from broker.redis.meta import ANNOUNCER, meta_key, producer_field
from broker.redis.scripts import END_IF_LOST
from broker.redis.streams import Keys, parse_id
from broker.wire.event import EventFormat
from broker.wire.ids import RunId, StreamId

__all__ = ["LeaseState", "Leases"]

_SAID: Final[dict[LostReason, str]] = {
    "worker_lost": "the worker of this run has not been heard of in time",
    "no_worker": "no worker has taken up this run in time",
}


class LeaseState(NamedTuple):
    """What there is to know of a run's lease."""

    seconds: float | None
    """How long it lasts, by Redis' clock; `None` where there is none to wait for: the run has no
    lease, has ended, or has not begun. One may be given later."""
    ended: StreamId | None
    """The id of the run's terminal event."""
    by_us: bool = False
    """Whether this very call has appended it."""


class Leases:
    """Looks at leases, and ends the runs of those that have run out."""

    def __init__(
        self,
        deployment: Deployment,
        keys: Keys,
        events: EventFormat,
        *,
        retention_after_end_seconds: int = RETENTION_AFTER_END_SECONDS,
    ) -> None:
        """
        Args:
            deployment: where the runs are.
            keys: how keys are made.
            events: the field names, and what ends a run.
            retention_after_end_seconds: how long a run is kept after it was ended.
        """
        self._deployment = deployment
        self._keys = keys
        self._words = format_words(events)
        self._retention = retention_after_end_seconds
        self._said = orjson.dumps(_SAID)

    async def end_if_lost(self, run_id: RunId) -> LeaseState:
        """Ends the run if its lease has run out, once, however many ask.

        The terminal event has the lease's reason for its type (``worker_lost`` or ``no_worker``),
        the field ``final``, and as data ``{"reason", "error", "last_heard_ms"}``, the last in
        milliseconds since 1970 by Redis' clock. It is appended in the run's own kind of ids. A run
        that waits for a worker and has an event besides the one that announced it has a worker.

        Safe to ask again at any time; to be asked again when the lease is over.

        Raises:
            RedisError, OSError: Redis says no, or does not answer.
        """
        key = self._keys.key(run_id)
        answer = await END_IF_LOST.run(
            self._deployment,
            (key, meta_key(key)),
            self._words,
            self._retention,
            self._said,
            producer_field(ANNOUNCER),
        )
        state = answer[0]
        if state == b"none":
            return LeaseState(None, None)
        if state == b"alive":
            return LeaseState(int(answer[1]) / 1000, None)
        return LeaseState(None, parse_id(answer[1]), by_us=state == b"ended")
