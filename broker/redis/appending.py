"""Appending events to runs: each exactly once, however often Redis has to be asked.

One script does it, over the run's stream and its meta key (see ``meta``): it knows each producer's
last sequence number, so that what is sent again is not appended again. Therefore a lost answer, a
timeout or a failover only means to ask once more.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple

import orjson

from broker.redis.deployment import Deployment
from broker.redis.meta import meta_key, producer_field
from broker.redis.persistence import RETRY_SECONDS, AppendError, NotAppended, insist
from broker.redis.scripts import APPEND, ENDED
from broker.redis.streams import KeyTemplate, parse_id
from broker.wire.event import TRACEPARENT, EventFormat, is_event_type
from broker.wire.ids import RunId, StreamId

__all__ = [
    "MOST_EVENTS",
    "RETENTION_AFTER_END_SECONDS",
    "RETENTION_SECONDS",
    "AppendError",
    "Appended",
    "Appender",
    "LostReason",
    "NewEvent",
    "NotAppended",
    "OtherOwner",
    "RunEnded",
    "format_words",
]

RETENTION_SECONDS: Final = 24 * 3600
RETENTION_AFTER_END_SECONDS: Final = 3600
MOST_EVENTS: Final = 1000
"""In one call: Redis does nothing else meanwhile, a few milliseconds."""
_MOST_PRODUCER_BYTES: Final = 256
_MOST_OWNER_BYTES: Final = 1024
_GREATEST_SEQUENCE: Final = 2**53 - 1
"""Lua's numbers are exact up to here."""

LostReason = Literal["worker_lost", "no_worker"]
"""Why a run is lost when its lease runs out."""


class NewEvent(NamedTuple):
    """An event that is to be appended."""

    type: str
    """Empty for an event without one."""
    data: str
    """Text, normally JSON."""
    final: bool = False
    """Whether it ends the run. The types and the rule of the settings do so as well."""
    traceparent: str = ""
    """The span that it is appended in (W3C Trace Context); empty for none."""


class Appended(NamedTuple):
    """What became of an event."""

    id: StreamId | None
    """`None` for a duplicate whose id is not known any more."""
    duplicate: bool
    """Whether it was there already."""


class RunEnded(Exception):
    """The run has had its terminal event; nothing was appended."""

    def __init__(self, final: StreamId | None) -> None:
        super().__init__(f"the run has ended{'' if final is None else f', with {final}'}")
        self.final = final
        """The terminal event's id."""


class OtherOwner(Exception):
    """The run is another subject's; nothing was appended."""

    def __init__(self) -> None:
        super().__init__("the run is somebody else's")


class Appender:
    """Appends to runs. Stateless: sequences are its callers'."""

    def __init__(
        self,
        deployment: Deployment,
        keys: KeyTemplate,
        events: EventFormat,
        *,
        retention_seconds: int = RETENTION_SECONDS,
        retention_after_end_seconds: int = RETENTION_AFTER_END_SECONDS,
        retry_seconds: float = RETRY_SECONDS,
        most_entries: int | None = None,
    ) -> None:
        """
        Args:
            deployment: where the runs are.
            keys: how keys are made.
            events: the field names, and what ends a run.
            retention_seconds: how long a run is kept after its newest event.
            retention_after_end_seconds: the same after its terminal event.
            retry_seconds: for how long an append is tried again; the last attempt may take the
                deployment's timeout longer. Zero: never.
            most_entries: about how many entries a stream keeps at most (``MAXLEN ~``); the oldest
                go. `None`: all.
        """
        self._deployment = deployment
        self._keys = keys
        self._events = events
        self._words = format_words(events)
        self._retention = retention_seconds
        self._retention_after_end = retention_after_end_seconds
        self._retry_seconds = retry_seconds
        self._limit = "" if most_entries is None else str(most_entries)

    async def append(
        self,
        run_id: RunId,
        events: Sequence[NewEvent],
        *,
        producer: str,
        sequence: int,
        dense: bool = False,
        above: int = 0,
        lease_seconds: float | None = None,
        lost: LostReason = "worker_lost",
        status: str | None = None,
        phase: str | None = None,
        owner: str | None = None,
    ) -> Sequence[Appended]:
        """Appends the events together, all or none of those that are new.

        Cancelled, or failed with another error than `NotAppended`, it may have happened: to ask
        again with the same sequence is always safe.

        Args:
            run_id: the run.
            events: at most `MOST_EVENTS`; one that ends the run must be the last.
            producer: who appends; one call at a time for each producer of a run.
            sequence: of the first event, from 1; the next has the next one. What is at or below
                the producer's last is a duplicate, is not appended again, and is no error even
                after the run's end.
            dense: whether ids are to be 0-1, 0-2, …; every producer of the run must want it.
            above: the number that dense ids begin above, where the run has none yet.
            lease_seconds: how long from now the worker is taken to be alive; `None` leaves that
                as it is.
            lost: what is said when the lease runs out.
            status: a short text for viewers; `None` leaves it as it is.
            phase: the same.
            owner: the subject whose run it is; kept from the first time that it is said until
                the run is gone. `None` says nothing of it.

        Returns:
            For each event, in order. The ids of duplicates are known for the producer's last call.

        Raises:
            ValueError: a type can't be an event type, or an argument has no sense.
            RunEnded: the run has had its terminal event. One appended by a plain XADD is seen if
                it is the stream's last entry.
            OtherOwner: it is the run of another one.
            AppendError: see there.
        """
        _check(events, producer, sequence)
        if owner is not None and not 1 <= len(owner.encode()) <= _MOST_OWNER_BYTES:
            raise ValueError(f"an owner has 1 to {_MOST_OWNER_BYTES} bytes")
        words: list[str | int] = []
        for index, event in enumerate(events):
            final = self.is_final(event)
            if final and index < len(events) - 1:
                raise ValueError("an event follows the one that ends the run")
            words += (event.type, event.data, f"{int(final)}{event.traceparent}")
        fields: list[str] = []
        for name, text in (("status", status), ("phase", phase)):
            if text is not None:
                fields += (name, text)
        lease = "" if lease_seconds is None else max(1, int(lease_seconds * 1000))
        arguments: list[str | int] = [
            producer_field(producer),
            sequence,
            above if dense else "",
            self._retention,
            self._retention_after_end,
            lease,
            lost,
            self._limit,
            owner or "",
            len(fields),
            *fields,
            *words,
        ]
        answer = await self._insist(run_id, arguments)
        state = answer[0]
        if state == b"ended":
            raise RunEnded(parse_id(answer[1]))
        if state == b"other owner":
            raise OtherOwner
        if state == b"not dense":
            raise NotAppended(
                "this run's ids begin with a time: it can't go on with dense ones (0-1, 0-2, …)"
            )
        already = int(answer[1])
        return [
            Appended(parse_id(raw) if raw else None, index < already)
            for index, raw in enumerate(answer[2:])
        ]

    async def touch(
        self,
        run_id: RunId,
        *,
        lease_seconds: float | None = None,
        lost: LostReason = "worker_lost",
        status: str | None = None,
        phase: str | None = None,
        owner: str | None = None,
    ) -> None:
        """The same without an event: renews the lease, and how long the run is kept.

        Raises:
            RunEnded, OtherOwner, AppendError: as for `append`.
        """
        await self.append(
            run_id,
            (),
            producer="-",
            sequence=1,
            lease_seconds=lease_seconds,
            lost=lost,
            status=status,
            phase=phase,
            owner=owner,
        )

    async def ended(self, run_id: RunId) -> StreamId | None:
        """The id of the event that has ended the run; `None` for one that is open, or not begun.

        Raises:
            RedisError, OSError: Redis says no, or does not answer.
        """
        key = self._keys.key(run_id)
        answer = await ENDED.run(self._deployment, (key, meta_key(key)), self._words)
        return parse_id(answer) if answer else None

    def is_final(self, event: NewEvent) -> bool:
        """Whether the event ends the run: by its own word, or by the settings' types and rule."""
        return event.final or self._events.ends_run(event.type, event.data.encode())

    # ---- inside

    async def _insist(self, run_id: RunId, arguments: Sequence[str | int]) -> Any:
        """The script's answer, however often it takes, within bounds."""
        key = self._keys.key(run_id)
        keys = (key, meta_key(key))
        return await insist(
            lambda: APPEND.run(self._deployment, keys, self._words, *arguments),
            retry_seconds=self._retry_seconds,
        )


def format_words(events: EventFormat) -> bytes:
    """How entries are read, for the scripts."""
    document: dict[str, Any] = {
        "type_field": events.type_field,
        "data_field": events.data_field,
        "final_field": events.final_field,
        "trace_field": TRACEPARENT,
        "terminal_types": _as_set(events.terminal_types),
    }
    if events.terminal_rule is not None:
        rule = events.terminal_rule
        document["terminal_rule"] = {"key": rule.key, "values": _as_set(rule.values)}
    return orjson.dumps(document)


def _as_set(values: frozenset[str]) -> Mapping[str, bool]:
    return dict.fromkeys(sorted(values), True)


def _check(events: Sequence[NewEvent], producer: str, sequence: int) -> None:
    if not producer or len(producer.encode()) > _MOST_PRODUCER_BYTES:
        raise ValueError(f"a producer's name has 1 to {_MOST_PRODUCER_BYTES} bytes")
    if not 1 <= sequence <= _GREATEST_SEQUENCE - len(events):
        raise ValueError("a sequence is 1 or more, and below 2^53")
    if len(events) > MOST_EVENTS:
        raise ValueError(f"more than {MOST_EVENTS} events in one call")
    for event in events:
        if not is_event_type(event.type):
            raise ValueError(
                f"{event.type!r} can't be an event type: no CR, LF or NUL, not runcast.…"
            )
