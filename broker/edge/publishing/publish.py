"""`POST /v1/runs/{run_id}/events`: appends one event, or lines of events as they come."""

import asyncio
import re
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, aclosing
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from broker.edge.auth.permit import Permit
from broker.edge.publishing.anonymous import AnonymousProducers
from broker.edge.publishing.batches import Batch, Batches
from broker.edge.publishing.body import RequestBody
from broker.edge.publishing.documents import parse_event
from broker.edge.publishing.intake import (
    JSON,
    NDJSON,
    Intake,
    IntakeEndpoint,
    json_response,
    media_type,
    refusal,
    run_over,
    run_permitted,
)
from broker.edge.publishing.lines import Lines
from broker.edge.publishing.origin import (
    IDEMPOTENCY_KEY,
    PRODUCER,
    SEQUENCE,
    Origin,
    stated_origin,
)
from broker.redis.appending import Appended, Appender, NewEvent, RunEnded
from broker.redis.persistence import AppendError, NotAppended
from broker.wire.event import TRACEPARENT
from broker.wire.ids import RunId, StreamId
from broker.wire.problem import BadHeader, Problem

__all__ = ["GREATEST_LEASE_SECONDS", "LEASE", "PublishEndpoint", "Tracing"]

Tracing = Callable[[RunId, str, int], AbstractContextManager[str]]
"""Makes the span in which so many events are appended to a run, within what the request says of its
own; gives the `traceparent` that they are to have, or nothing."""

LEASE: Final = "Runcast-Lease"
GREATEST_LEASE_SECONDS: Final = 3600
_LEASE: Final = re.compile(r"[1-9][0-9]{0,3}")
_NOT_APPENDED: Final = "Redis did not take it: what is not among the appended is not in the run."
_UNKNOWN: Final = (
    "Redis did not say that it has the events after those that are counted as appended: they may "
    "be in the run, or not. Sent again by the same producer with the same sequence, they come once."
)


class PublishEndpoint(IntakeEndpoint):
    """Takes events."""

    def __init__(
        self,
        appender: Appender,
        ends_run: Callable[[NewEvent], bool],
        intake: Intake,
        tracing: Tracing | None = None,
    ) -> None:
        """
        Args:
            appender: appends to runs.
            ends_run: whether an event ends its run.
            intake: the bounds, and what is counted.
            tracing: traces appends; `None`: nobody does.
        """
        super().__init__(intake)
        self._appender = appender
        self._ends_run = ends_run
        self._tracing = tracing
        self._anonymous = AnonymousProducers()

    async def __call__(self, permit: Permit, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request."""
        await self._intake.serve(scope, receive, send, partial(self._publish, permit))

    async def _publish(self, permit: Permit, headers: Headers, body: RequestBody) -> Response:
        run_id = run_permitted(permit)
        media = media_type(headers, JSON, NDJSON)
        origin = stated_origin(
            headers.getlist(IDEMPOTENCY_KEY), headers.getlist(PRODUCER), headers.getlist(SEQUENCE)
        )
        lease = _lease_seconds(headers.getlist(LEASE))
        self._intake.check_rate(run_id)
        with self._anonymous.one() as producer:
            writing = _Writing(permit, run_id, lease, producer, _traceparent(headers))
            try:
                with self._intake.until_the_server_ends():
                    if media == JSON:
                        await self._take_event(writing, origin, body)
                    else:
                        await self._take_lines(writing, origin, body)
            except Problem as problem:
                problem.members |= writing.account()
                raise
        return json_response(writing.document(), 200)

    async def _take_event(
        self, writing: "_Writing", stated: Origin | None, body: RequestBody
    ) -> None:
        text = await self._intake.whole(body)
        published = parse_event(text)
        batch = Batch(published.origin or stated)
        batch.add(published, len(text))
        await self._append(writing, batch)

    async def _take_lines(
        self, writing: "_Writing", stated: Origin | None, body: RequestBody
    ) -> None:
        limits = self._intake.limits
        lines = Lines(limits.event_bytes)
        batches = Batches(stated, limits, self._ends_run)
        async with aclosing(body.pieces(limits.body_bytes, limits.idle_seconds)) as pieces:
            async for piece in pieces:
                appended = await self._append_all(writing, batches.of(lines.feed(piece)))
                if b"\n" in piece:
                    if not appended:
                        await self._touch(writing)
                    body.progressed()
        if not await self._append_all(writing, batches.of(lines.end())) and not writing.count:
            await self._touch(writing)

    async def _append_all(self, writing: "_Writing", batches: Iterable[Batch]) -> bool:
        """Appends them; whether there were any."""
        any_there = False
        for batch in batches:
            await self._until_taken(writing.run_id)
            await self._append(writing, batch)
            any_there = True
        return any_there

    async def _until_taken(self, run_id: RunId) -> None:
        """Slows down a body that is too fast: it is not read meanwhile."""
        limits, rates = self._intake.limits, self._intake.rates
        waited = 0.0
        while (wait := rates.wait_seconds(run_id)) > 0:
            if waited + wait > limits.patience_seconds:
                self._intake.check_rate(run_id)
            waited += wait
            await asyncio.sleep(wait)

    async def _append(self, writing: "_Writing", batch: Batch) -> None:
        # A body may be longer than a right lasts.
        writing.permit.check()
        count = len(batch.events)
        self._intake.rates.take(writing.run_id, count)
        origin = batch.origin or Origin(writing.anonymous, self._anonymous.take(count))
        writing.unknown = count
        try:
            appended = await self._append_traced(writing, batch, origin)
        except RunEnded as error:
            writing.unknown = 0
            raise run_over(error, writing.run_id) from None
        except NotAppended as error:
            writing.unknown = 0
            raise refusal(error, writing.run_id, _NOT_APPENDED) from error
        except AppendError as error:
            raise refusal(error, writing.run_id, _UNKNOWN) from error
        writing.add(appended)
        fresh = sum(not one.duplicate for one in appended)
        stats = self._intake.stats
        stats.appended += fresh
        stats.duplicates += count - fresh
        if fresh:
            stats.appended_bytes += batch.size

    async def _append_traced(
        self, writing: "_Writing", batch: Batch, origin: Origin
    ) -> Sequence[Appended]:
        if self._tracing is None:
            return await self._append_events(writing, batch, batch.events, origin)
        with self._tracing(writing.run_id, writing.traceparent, len(batch.events)) as traceparent:
            events = [event._replace(traceparent=traceparent) for event in batch.events]
            return await self._append_events(writing, batch, events, origin)

    async def _append_events(
        self, writing: "_Writing", batch: Batch, events: Sequence[NewEvent], origin: Origin
    ) -> Sequence[Appended]:
        return await self._appender.append(
            writing.run_id,
            events,
            producer=origin.producer,
            sequence=origin.sequence,
            lease_seconds=writing.lease_seconds,
            status=batch.status,
            phase=batch.phase,
        )

    async def _touch(self, writing: "_Writing") -> None:
        """Renews the lease of who has nothing to say."""
        if writing.lease_seconds is None:
            return
        await self._until_taken(writing.run_id)
        self._intake.rates.take(writing.run_id, 1)
        try:
            await self._appender.touch(writing.run_id, lease_seconds=writing.lease_seconds)
        except RunEnded as error:
            raise run_over(error, writing.run_id) from None
        except AppendError as error:
            raise refusal(error, writing.run_id, "Redis did not renew the lease.") from error


@dataclass(slots=True)
class _Writing:
    """One request, and what has come of it so far."""

    permit: Permit
    run_id: RunId
    lease_seconds: float | None
    anonymous: str
    """The producer of events that come from nobody in particular."""
    traceparent: str
    """As the request has it; empty for none."""
    count: int = 0
    last: StreamId | None = None
    unknown: int = 0
    """Events that were sent to Redis, and of which it has not said that it has them."""
    answers: bytearray = field(default_factory=bytearray)
    """What is said of each event, as JSON: of ten thousand, a tenth of what objects take."""

    def add(self, appended: Iterable[Appended]) -> None:
        """Takes note of events that are in the run."""
        self.unknown = 0
        for event_id, duplicate in appended:
            if self.count:
                self.answers += b","
            self.count += 1
            shown = "null" if event_id is None else f'"{event_id}"'
            self.answers += b'{"id":%b,"duplicate":%b}' % (
                shown.encode(),
                b"true" if duplicate else b"false",
            )
            self.last = event_id

    def account(self) -> dict[str, Any]:
        """What is said beside a problem: so many of the request's first events are in the run."""
        account: dict[str, Any] = {
            "appended": self.count,
            "last_id": None if self.last is None else str(self.last),
        }
        if self.unknown:
            account["unknown"] = self.unknown
        return account

    def document(self) -> bytes:
        """The answer."""
        last = "null" if self.last is None else f'"{self.last}"'
        return b'{"events":[%b],"last_id":%b}' % (bytes(self.answers), last.encode())


def _traceparent(headers: Headers) -> str:
    """The request's; with several of them nobody knows which (W3C Trace Context, section 3.2)."""
    values = headers.getlist(TRACEPARENT)
    return values[0] if len(values) == 1 else ""


def _lease_seconds(values: list[str]) -> float | None:
    if not values:
        return None
    text = ", ".join(values)
    if not _LEASE.fullmatch(text) or int(text) > GREATEST_LEASE_SECONDS:
        raise BadHeader(LEASE, text, f"give whole seconds from 1 to {GREATEST_LEASE_SECONDS}")
    return float(text)
