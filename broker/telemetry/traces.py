"""An edge's traces, exported over OTLP/HTTP; OpenTelemetry's own environment variables set it up.

Spans are made after the viewers have been written to, wait in a bounded queue, and are sent by a
thread of their own; what does not fit into the queue is dropped.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Final, Self

import structlog
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, OTELResourceDetector, Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    Tracer,
    set_span_in_context,
)

from broker import __version__
from broker.telemetry.traceparent import TraceParent, parse_traceparent
from broker.telemetry.vocabulary import (
    DELIVER,
    EVENT_ID,
    EVENT_TYPE,
    EVENTS,
    LONGEST_TYPE,
    PUBLISH,
    READ,
    RUN_ID,
    SCOPE,
    VIEWERS,
)
from broker.wire.event import Event
from broker.wire.ids import RunId

__all__ = ["Traces", "export_in_batches"]

logger = structlog.get_logger("runcast.telemetry")

_FLUSH_SECONDS: Final = 2.0
"""For the spans that are left when the edge ends, whether the collector answers or not."""
_NS: Final = 1_000_000
"""Nanoseconds in a millisecond; a float that has milliseconds since 1970 is good for thousands."""


def export_in_batches() -> SpanProcessor:
    """Sends spans to where `OTEL_EXPORTER_OTLP_ENDPOINT` says, in bounded batches."""
    logging.getLogger("opentelemetry.util.re").addFilter(_hide_headers)
    return BatchSpanProcessor(OTLPSpanExporter())


class Traces:
    """The spans of one edge. An async context manager: there are none before and after."""

    def __init__(
        self,
        run_of: Callable[[RunId], RunId],
        make_processor: Callable[[], SpanProcessor] = export_in_batches,
    ) -> None:
        """
        Args:
            run_of: the id of the run that goes by an address.
            make_processor: makes what takes spans that have ended; called when it is entered.
        """
        self._run_of = run_of
        self._make_processor = make_processor
        self._provider: TracerProvider | None = None
        self._tracer: Tracer | None = None

    async def __aenter__(self) -> Self:
        said = OTELResourceDetector().detect().attributes
        resource = Resource.create({SERVICE_NAME: SCOPE, "service.version": __version__, **said})
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(self._make_processor())
        self._tracer = self._provider.get_tracer(SCOPE, __version__)
        return self

    async def __aexit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Sends what is left, within a bound."""
        assert self._provider is not None
        self._tracer = None
        # It may wait for a collector that hangs, for longer than we do: the process may end then.
        flush = threading.Thread(target=self._provider.shutdown, name="last spans", daemon=True)
        flush.start()
        await asyncio.to_thread(flush.join, _FLUSH_SECONDS)
        if flush.is_alive():
            logger.warning("the last spans may be lost", seconds=_FLUSH_SECONDS)

    def pushed(
        self, run_id: RunId, events: Sequence[Event], *, read_ms: float, viewers: int
    ) -> None:
        """See `broker.engine.tracing.Tracing`."""
        tracer = self._tracer
        if tracer is None:
            return
        for event in events:
            if not event.traceparent:
                continue
            parent = parse_traceparent(event.traceparent)
            if parent is None or not parent.sampled:
                continue
            try:
                self._trace(tracer, parent, run_id, event, read_ms, viewers)
            except Exception:
                # Samplers may be somebody else's: the run goes on whatever they do.
                logger.exception("an event can't be traced", run=run_id)

    @contextmanager
    def publishing(self, run_id: RunId, stated: str, events: int) -> Iterator[str]:
        """The span in which events are appended.

        Args:
            run_id: the run.
            stated: the request's `traceparent`, empty without one; ignored if malformed.
            events: how many they are.

        Returns:
            The `traceparent` that they are to have; empty where the trace is not recorded.
        """
        if self._tracer is None:
            yield ""
            return
        parent = parse_traceparent(stated.encode())
        span = self._tracer.start_span(
            PUBLISH,
            Context() if parent is None else _within(parent),
            SpanKind.PRODUCER,
            {RUN_ID: run_id, EVENTS: events},
        )
        try:
            context = span.get_span_context()
            sampled = context.trace_flags.sampled
            yield str(TraceParent(context.trace_id, context.span_id, sampled)) if sampled else ""
        except BaseException as error:
            # Its text is for the client and the log, which know what must not be said.
            span.set_status(Status(StatusCode.ERROR, type(error).__name__))
            raise
        finally:
            span.end()

    def _trace(
        self,
        tracer: Tracer,
        parent: TraceParent,
        run_id: RunId,
        event: Event,
        read_ms: float,
        viewers: int,
    ) -> None:
        read_ns = round(read_ms * 1000) * 1000
        # Ids that producers count up by themselves (0-1, 0-2, …) say nothing about time.
        appended_ns = min(event.id.ms * _NS, read_ns) if event.id.ms else read_ns
        attributes = {
            RUN_ID: self._run_of(run_id),
            EVENT_ID: str(event.id),
            EVENT_TYPE: event.type[:LONGEST_TYPE],
        }
        read = tracer.start_span(
            READ, _within(parent), SpanKind.CONSUMER, attributes, start_time=appended_ns
        )
        read.end(read_ns)
        if not viewers:
            return
        deliver = tracer.start_span(
            DELIVER,
            set_span_in_context(read, Context()),
            attributes={**attributes, VIEWERS: viewers},
            start_time=read_ns,
        )
        deliver.end(max(read_ns, time.time_ns()))


def _within(parent: TraceParent) -> Context:
    """The context of what happens in a span that is somewhere else."""
    flags = TraceFlags(TraceFlags.SAMPLED if parent.sampled else TraceFlags.DEFAULT)
    span = NonRecordingSpan(
        SpanContext(parent.trace_id, parent.span_id, is_remote=True, trace_flags=flags)
    )
    # Not within the current context: an edge's own instrumentation is another matter.
    return set_span_in_context(span, Context())


def _hide_headers(record: logging.LogRecord) -> bool:
    """Says that a header for the collector is malformed without saying the header: it may be a
    credential."""
    record.msg, record.args = "a header in OTEL_EXPORTER_OTLP_HEADERS is malformed (hidden)", ()
    return True
