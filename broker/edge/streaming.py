"""Answers with a run's stream: the last step of every route that serves one."""

import itertools
import math
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from starlette.datastructures import Headers
from starlette.types import Receive, Scope, Send

from broker.edge.admission import Admission, Place
from broker.edge.asgi_sink import AsgiSink
from broker.edge.auth.identity import Identity
from broker.edge.auth.permit import Permit
from broker.edge.client_address import unmapped
from broker.edge.compression import Compression
from broker.edge.connection import Detach, detach_of
from broker.engine.delivery import Sink, View
from broker.engine.ending import Ending
from broker.engine.hub import Hub, Opening
from broker.engine.subscriber import Subscriber
from broker.engine.term import UNLIMITED, Term
from broker.engine.visitor import Visitor
from broker.wire.content_coding import ContentCoding

__all__ = ["STREAM_HEADERS", "Answer", "Streamer"]

STREAM_HEADERS: Final = {
    "content-type": "text/event-stream; charset=utf-8",
    "cache-control": "no-store, no-transform",
    "x-accel-buffering": "no",
    "x-content-type-options": "nosniff",
}


@dataclass(frozen=True, slots=True)
class Answer:
    """A stream that is about to begin."""

    permit: Permit
    """That whoever asked may have it."""
    opening: Opening
    view: View
    first: bytes
    """The stream's first bytes."""
    profile: str
    """In whose words it is."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Besides those of every stream."""
    compress: bool = False
    """Whether to compress it, where the client accepts that."""
    began: Callable[[Subscriber], None] | None = None
    """Told of the subscriber once it is connected."""


_NUMBER_BITS: Final = 28
_LEAST_AGE: Final = 0.8
"""Of the longest that a connection may last: from here on it may end."""


class Streamer:
    """Begins streams."""

    def __init__(
        self,
        hub: Hub,
        compression: Compression,
        admission: Admission,
        *,
        detach: bool,
        max_age_seconds: float | None = None,
        on_began: Callable[[Subscriber, Identity], None] = lambda subscriber, identity: None,
    ) -> None:
        """
        Args:
            hub: where the viewers are.
            compression: what is offered.
            admission: whether there may be one more.
            detach: whether connections are taken over from the server, where it lets us: cheaper
                for the same.
            max_age_seconds: how long a connection may last; each lasts a little less, so that
                those that came together don't come back together. `None`: for ever.
            on_began: told of each viewer, and who it is.
        """
        self._hub = hub
        self._compression = compression
        self._admission = admission
        self._detach = detach
        self._max_age = math.inf if max_age_seconds is None else max_age_seconds
        # From anywhere, so that ids of a process that was here before are not those of others now.
        self._numbers = itertools.count(random.getrandbits(_NUMBER_BITS))
        self._on_began = on_began

    async def serve(self, answer: Answer, scope: Scope, receive: Receive, send: Send) -> None:
        """Begins the stream. Where the connection was taken over, it goes on after this has
        returned; elsewhere this returns at its end.

        Raises:
            TooManyStreams: there are as many as there may be; nothing was sent.
        """
        headers = {**STREAM_HEADERS, **answer.headers}
        coding = None
        if answer.compress:
            accepted = Headers(scope=scope).getlist("accept-encoding")
            coding = self._compression.chosen(accepted)
            headers |= self._compression.headers(coding)
        detach = detach_of(scope) if self._detach else None
        run_id = answer.opening.feed.run_id
        with self._admission.take(scope, answer.permit.subject, run_id) as place:
            if detach is not None:
                self._detached(answer, place, coding, detach, headers, scope)
            else:
                await self._through_asgi(answer, place, coding, headers, scope, receive, send)

    def _detached(
        self,
        answer: Answer,
        place: Place,
        coding: ContentCoding | None,
        detach: Detach,
        headers: Mapping[str, str],
        scope: Scope,
    ) -> None:
        """Hands the connection to the engine; the request's task ends here."""
        connection = detach(headers)
        if connection is None:
            return
        subscriber = self._subscriber(answer, connection, coding, scope)
        connection.attach(subscriber)
        self._begin(answer, place, subscriber)
        connection.release()

    async def _through_asgi(
        self,
        answer: Answer,
        place: Place,
        coding: ContentCoding | None,
        headers: Mapping[str, str],
        scope: Scope,
        receive: Receive,
        send: Send,
    ) -> None:
        """Holds the request's task for as long as the stream goes on; works on any server."""
        await send(
            {
                "type": "http.response.start",
                "status": 200,
                "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
            }
        )
        sink = AsgiSink(scope)
        subscriber = self._subscriber(answer, sink, coding, scope)
        self._begin(answer, place, subscriber)
        try:
            await sink.run(receive, send, subscriber.drained)
        finally:
            subscriber.closed()

    def _subscriber(
        self, answer: Answer, sink: Sink, coding: ContentCoding | None, scope: Scope
    ) -> Subscriber:
        outer = self._compression.sink(sink, coding)
        client = scope.get("client")
        visitor = Visitor(
            next(self._numbers),
            answer.profile,
            answer.permit.subject,
            None if client is None else unmapped(client[0]),
        )
        term = self._term(answer.permit)
        return self._hub.subscriber(answer.opening, outer, answer.view, term, visitor)

    def _term(self, permit: Permit) -> Term:
        now = time.monotonic()
        right_ends = now + permit.identity.until - time.time()
        grows_old = now + self._max_age * random.uniform(_LEAST_AGE, 1)
        if not permit.owned and min(right_ends, grows_old) == math.inf:
            # One for all of them.
            return UNLIMITED
        if right_ends <= grows_old:
            return Term(right_ends, Ending.RIGHT_ENDED, permit.owned)
        return Term(grows_old, Ending.AGE, permit.owned)

    def _begin(self, answer: Answer, place: Place, subscriber: Subscriber) -> None:
        if answer.began is not None:
            answer.began(subscriber)
        self._hub.admit(subscriber, answer.first)
        self._on_began(subscriber, answer.permit.identity)
        # Here, since nobody has left who was not admitted; and they can't have left already.
        self._admission.hold(place, subscriber)
