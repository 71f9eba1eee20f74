"""A span for each event that is emitted while the worker has a recorded one.

They are children of the worker's span, made by whatever provider its process has set up. Bounded as
the events are that wait to be sent.
"""

from collections import deque

from opentelemetry.trace import Span, SpanKind, Status, StatusCode, get_current_span, get_tracer

from broker.telemetry.traceparent import TraceParent
from broker.telemetry.vocabulary import EVENT_TYPE, LONGEST_TYPE, PUBLISH, RUN_ID, SCOPE
from broker.wire.ids import RunId

__all__ = ["PublishSpans"]


class PublishSpans:
    """See `RunSpans`."""

    def __init__(self, run_id: RunId) -> None:
        self._run_id = run_id
        self._tracer = get_tracer(SCOPE)
        self._open: deque[tuple[int, Span]] = deque()

    def begin(self, number: int, type: str) -> str:
        """See `RunSpans`."""
        if not get_current_span().get_span_context().trace_flags.sampled:
            return ""
        span = self._tracer.start_span(
            PUBLISH,
            kind=SpanKind.PRODUCER,
            attributes={RUN_ID: self._run_id, EVENT_TYPE: type[:LONGEST_TYPE]},
        )
        context = span.get_span_context()
        if not context.trace_flags.sampled:
            return ""
        self._open.append((number, span))
        return str(TraceParent(context.trace_id, context.span_id, sampled=True))

    def appended(self, number: int) -> None:
        """See `RunSpans`."""
        while self._open and self._open[0][0] <= number:
            self._open.popleft()[1].end()

    def given_up(self, error: BaseException | None) -> None:
        """See `RunSpans`."""
        while self._open:
            span = self._open.popleft()[1]
            # Not its text, which may have what the event has.
            why = "" if error is None else type(error).__name__
            span.set_status(Status(StatusCode.ERROR, why))
            span.end()
