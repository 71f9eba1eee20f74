"""Answers with a run's stream: the last step of every route that serves one."""

import math
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from starlette.datastructures import Headers
from starlette.types import Receive, Scope, Send

from broker.edge.asgi_sink import AsgiSink
from broker.edge.auth.identity import Identity
from broker.edge.auth.permit import Permit
from broker.edge.compression import Compression
from broker.edge.connection import Detach, detach_of
from broker.engine.delivery import Sink, View
from broker.engine.ending import Ending
from broker.engine.hub import Hub, Opening
from broker.engine.subscriber import Subscriber
from broker.engine.term import Term
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
    headers: Mapping[str, str] = field(default_factory=dict)
    """Besides those of every stream."""
    compress: bool = False
    """Whether to compress it, where the client accepts that."""
    began: Callable[[Subscriber], None] | None = None
    """Told of the subscriber once it is connected."""


_LEAST_AGE: Final = 0.8
"""Of the longest that a connection may last: from here on it may end."""


class Streamer:
    """Begins streams."""

    def __init__(
        self,
        hub: Hub,
        compression: Compression,
        *,
        detach: bool,
        max_age_seconds: float | None = None,
        on_began: Callable[[Subscriber, Identity], None] = lambda subscriber, identity: None,
    ) -> None:
        """
        Args:
            hub: where the viewers are.
            compression: what is offered.
            detach: whether connections are taken over from the server, where it lets us: cheaper
                for the same.
            max_age_seconds: how long a connection may last; each lasts a little less, so that
                those that came together don't come back together. `None`: for ever.
            on_began: told of each viewer, and who it is.
        """
        self._hub = hub
        self._compression = compression
        self._detach = detach
        self._max_age = math.inf if max_age_seconds is None else max_age_seconds
        self._on_began = on_began

    async def serve(self, answer: Answer, scope: Scope, receive: Receive, send: Send) -> None:
        """Begins the stream. Where the connection was taken over, it goes on after this has
        returned; elsewhere this returns at its end."""
        headers = {**STREAM_HEADERS, **answer.headers}
        coding = None
        if answer.compress:
            accepted = Headers(scope=scope).getlist("accept-encoding")
            coding = self._compression.chosen(accepted)
            headers |= self._compression.headers(coding)
        detach = detach_of(scope) if self._detach else None
        if detach is not None:
            self._detached(answer, coding, detach, headers)
        else:
            await self._through_asgi(answer, coding, headers, scope, receive, send)

    def _detached(
        self,
        answer: Answer,
        coding: ContentCoding | None,
        detach: Detach,
        headers: Mapping[str, str],
    ) -> None:
        """Hands the connection to the engine; the request's task ends here."""
        connection = detach(headers)
        if connection is None:
            return
        subscriber = self._subscriber(answer, connection, coding)
        connection.attach(subscriber)
        self._begin(answer, subscriber)
        connection.release()

    async def _through_asgi(
        self,
        answer: Answer,
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
        subscriber = self._subscriber(answer, sink, coding)
        self._begin(answer, subscriber)
        try:
            await sink.run(receive, send, subscriber.drained)
        finally:
            subscriber.closed()

    def _subscriber(self, answer: Answer, sink: Sink, coding: ContentCoding | None) -> Subscriber:
        outer = self._compression.sink(sink, coding)
        return self._hub.subscriber(answer.opening, outer, answer.view, self._term(answer.permit))

    def _term(self, permit: Permit) -> Term:
        now = time.monotonic()
        right_ends = now + permit.identity.until - time.time()
        grows_old = now + self._max_age * random.uniform(_LEAST_AGE, 1)
        if right_ends <= grows_old:
            return Term(right_ends, Ending.RIGHT_ENDED, permit.owned)
        return Term(grows_old, Ending.AGE, permit.owned)

    def _begin(self, answer: Answer, subscriber: Subscriber) -> None:
        if answer.began is not None:
            answer.began(subscriber)
        self._on_began(subscriber, answer.permit.identity)
        self._hub.admit(subscriber, answer.first)
