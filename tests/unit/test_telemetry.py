"""Traces without a network: what is read of `traceparent`, and which spans are made of it."""

from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from broker.edge_settings import EdgeSettings
from broker.engine.tracing import Tracing
from broker.settings import SettingsError, load_settings
from broker.telemetry import installed
from broker.telemetry.publish_spans import PublishSpans
from broker.telemetry.run_spans import spans_of
from broker.telemetry.traceparent import TraceParent, parse_traceparent
from broker.telemetry.traces import Traces
from broker.wire.event import Event, EventFormat
from broker.wire.ids import RunId, StreamId

RUN: Final = RunId("own:r")
TRACE: Final = 0x4BF92F3577B34DA6A3CE929D0E0E4736
SPAN: Final = 0x00F067AA0BA902B7
SAMPLED: Final = f"00-{TRACE:032x}-{SPAN:016x}-01"
UNSAMPLED: Final = f"00-{TRACE:032x}-{SPAN:016x}-00"
MALFORMED: Final = [
    "",
    "00",
    SAMPLED.upper(),
    f" {SAMPLED}",
    f"{SAMPLED}\n",
    f"{SAMPLED}-more",
    f"ff{SAMPLED[2:]}",
    f"00-{0:032x}-{SPAN:016x}-01",
    f"00-{TRACE:032x}-{0:016x}-01",
    f"00-{TRACE:032x}-{SPAN:016x}-1",
    f"00-{TRACE >> 4:031x}-{SPAN:016x}-01",
    f"01{SAMPLED[2:]}-{'x' * 256}",
    f"01{SAMPLED[2:]}.more",
]


class Exported:
    """What was exported of one edge."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        self.processor = SimpleSpanProcessor(self._exporter)

    @property
    def spans(self) -> Sequence[ReadableSpan]:
        return self._exporter.get_finished_spans()

    @property
    def names(self) -> list[str]:
        return [span.name for span in self.spans]


@asynccontextmanager
async def tracing() -> AsyncIterator[tuple[Traces, Exported]]:
    exported = Exported()
    run_of: Callable[[RunId], RunId] = lambda address: RunId(address.rpartition(":")[2])  # noqa: E731
    async with Traces(run_of, lambda: exported.processor) as traces:
        yield traces, exported


def event(traceparent: str, ms: int = 1_700_000_000_000, type: str = "chunk") -> Event:
    return Event(StreamId(ms, 3), type, b"{}", traceparent=traceparent.encode())


def attributes(span: ReadableSpan) -> Mapping[str, Any]:
    assert span.attributes is not None
    return span.attributes


def parent(span: ReadableSpan) -> tuple[int, int] | None:
    return None if span.parent is None else (span.parent.trace_id, span.parent.span_id)


# ---- W3C Trace Context


@pytest.mark.parametrize(
    ("text", "sampled"),
    [
        (SAMPLED, True),
        (UNSAMPLED, False),
        (f"{SAMPLED[:-2]}03", True),
        (f"{SAMPLED[:-2]}02", False),
    ],
)
def test_a_traceparent_is_read(text: str, sampled: bool) -> None:
    assert parse_traceparent(text.encode()) == TraceParent(TRACE, SPAN, sampled)


def test_what_later_versions_add_is_passed_over() -> None:
    later = f"cc{SAMPLED[2:]}-what the-future will be like".encode()
    assert parse_traceparent(later) == TraceParent(TRACE, SPAN, True)


@pytest.mark.parametrize("text", MALFORMED)
def test_what_has_not_the_form_is_none(text: str) -> None:
    assert parse_traceparent(text.encode()) is None


def test_other_bytes_are_none() -> None:
    assert parse_traceparent(b"\xff\x00" + SAMPLED.encode()) is None


def test_it_is_written_as_it_is_read() -> None:
    assert str(TraceParent(TRACE, SPAN, True)) == SAMPLED
    assert str(TraceParent(TRACE, SPAN, False)) == UNSAMPLED


# ---- the entry


def test_the_field_never_reaches_a_viewer() -> None:
    fields = {b"type": b"step", b"name": b"plan", b"traceparent": SAMPLED.encode()}
    plain, traced = (
        decode(StreamId(1, 1), fields)
        for decode in (EventFormat().decode, EventFormat().decode_traced)
    )
    assert plain.data == traced.data == b'{"name":"plan"}'
    assert (plain.traceparent, traced.traceparent) == (b"", SAMPLED.encode())


def test_without_the_field_there_is_none() -> None:
    fields = {b"data": b"{}"}
    event = EventFormat().decode_traced(StreamId(1, 1), fields)
    assert event == EventFormat().decode(StreamId(1, 1), fields)


# ---- read and delivered


async def test_an_event_is_read_and_delivered_within_its_trace() -> None:
    async with tracing() as (traces, exported):
        engine_side: Tracing = traces
        engine_side.pushed(RUN, [event(SAMPLED)], read_ms=1_700_000_000_250.0, viewers=7)
        read, deliver = exported.spans
    assert (read.name, read.kind) == ("runcast.read", SpanKind.CONSUMER)
    assert parent(read) == (TRACE, SPAN)
    assert read.start_time == 1_700_000_000_000_000_000
    assert read.end_time == 1_700_000_000_250_000_000
    said = {
        "runcast.run_id": "r",
        "runcast.event_id": "1700000000000-3",
        "runcast.event_type": "chunk",
    }
    assert attributes(read) == said
    assert deliver.name == "runcast.deliver"
    assert parent(deliver) == (TRACE, read.context.span_id if read.context else None)
    assert deliver.start_time == read.end_time
    assert deliver.end_time is not None
    assert deliver.end_time > read.end_time
    assert attributes(deliver) == {**said, "runcast.viewers": 7}


async def test_with_nobody_live_nothing_is_delivered() -> None:
    async with tracing() as (traces, exported):
        traces.pushed(RUN, [event(SAMPLED)], read_ms=1_700_000_000_250.0, viewers=0)
        assert exported.names == ["runcast.read"]


@pytest.mark.parametrize("text", [UNSAMPLED, *MALFORMED])
async def test_what_is_not_recorded_or_malformed_has_no_spans(text: str) -> None:
    async with tracing() as (traces, exported):
        traces.pushed(RUN, [event(text), event(SAMPLED)], read_ms=1_700_000_000_250.0, viewers=1)
        assert len(exported.spans) == 2


async def test_what_is_not_recorded_elsewhere_is_not_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_on")
    async with tracing() as (traces, exported):
        traces.pushed(RUN, [event(UNSAMPLED)], read_ms=1_700_000_000_250.0, viewers=1)
        assert not exported.spans


@pytest.mark.parametrize("ms", [0, 1_700_000_009_000])
async def test_ids_that_are_no_times_or_from_the_future(ms: int) -> None:
    async with tracing() as (traces, exported):
        traces.pushed(RUN, [event(SAMPLED, ms)], read_ms=1_700_000_000_250.0, viewers=1)
        assert exported.spans[0].start_time == exported.spans[0].end_time


async def test_long_types_are_cut() -> None:
    async with tracing() as (traces, exported):
        traces.pushed(RUN, [event(SAMPLED, type="x" * 10_000)], read_ms=1.0, viewers=1)
        assert len(attributes(exported.spans[0])["runcast.event_type"]) == 256


async def test_after_the_end_there_are_none() -> None:
    async with tracing() as (traces, exported):
        pass
    traces.pushed(RUN, [event(SAMPLED)], read_ms=1.0, viewers=1)
    with traces.publishing(RUN, SAMPLED, 1) as traceparent:
        assert traceparent == ""
    assert not exported.spans


async def test_a_sampler_that_fails_fails_nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object, **more: object) -> None:
        raise RuntimeError("no")

    async with tracing() as (traces, exported):
        assert traces._tracer is not None
        with monkeypatch.context() as patched:
            patched.setattr(traces._tracer.sampler, "should_sample", fail)  # type: ignore[attr-defined]
            traces.pushed(RUN, [event(SAMPLED)], read_ms=1.0, viewers=1)
        traces.pushed(RUN, [event(SAMPLED)], read_ms=1.0, viewers=1)
        assert exported.names == ["runcast.read", "runcast.deliver"]


# ---- published over HTTP


async def test_events_are_appended_within_the_requests_trace() -> None:
    async with tracing() as (traces, exported):
        with traces.publishing(RunId("r"), SAMPLED, 3) as traceparent:
            pass
        [span] = exported.spans
    assert (span.name, span.kind) == ("runcast.publish", SpanKind.PRODUCER)
    assert parent(span) == (TRACE, SPAN)
    assert span.context is not None
    assert parse_traceparent(traceparent.encode()) == TraceParent(TRACE, span.context.span_id, True)
    assert attributes(span) == {"runcast.run_id": "r", "runcast.events": 3}


@pytest.mark.parametrize("stated", [*MALFORMED, "ü" * 3])
async def test_without_one_a_trace_begins(stated: str) -> None:
    async with tracing() as (traces, exported):
        with traces.publishing(RunId("r"), stated, 1) as traceparent:
            pass
        [span] = exported.spans
    assert span.parent is None
    assert parse_traceparent(traceparent.encode()) is not None


async def test_a_request_that_is_not_recorded_is_not() -> None:
    async with tracing() as (traces, exported):
        with traces.publishing(RunId("r"), UNSAMPLED, 1) as traceparent:
            assert traceparent == ""
        assert not exported.spans


async def test_a_failure_is_said_without_its_text() -> None:
    async with tracing() as (traces, exported):
        with pytest.raises(LookupError), traces.publishing(RunId("r"), SAMPLED, 1):
            raise LookupError("secret")
        [span] = exported.spans
    assert span.status.status_code is StatusCode.ERROR
    assert span.status.description == "LookupError"
    assert "secret" not in span.to_json()


# ---- the library


@pytest.fixture
def own_provider(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[TracerProvider, Exported]]:
    """What a worker's process has set up; one may do so once in a process, so it is put in place
    of the function that looks for it."""
    exported = Exported()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(exported.processor)
    monkeypatch.setattr("broker.telemetry.publish_spans.get_tracer", provider.get_tracer)
    yield provider, exported
    provider.shutdown()


def test_emitted_outside_of_any_span(own_provider: tuple[TracerProvider, Exported]) -> None:
    spans = PublishSpans(RunId("r"))
    assert spans.begin(1, "chunk") == ""
    spans.appended(1)
    assert not own_provider[1].spans


def test_a_span_lasts_until_its_event_is_in_the_run(
    own_provider: tuple[TracerProvider, Exported],
) -> None:
    provider, exported = own_provider
    spans = spans_of(RunId("r"))
    with provider.get_tracer("worker").start_as_current_span("work") as work:
        carried = [spans.begin(number, "chunk") for number in (1, 2, 3)]
    spans.appended(2)
    assert exported.names == ["work", "runcast.publish", "runcast.publish"]
    spans.given_up(ValueError("secret"))
    last = exported.spans[-1]
    assert (last.status.status_code, last.status.description) == (StatusCode.ERROR, "ValueError")
    context = work.get_span_context()
    for text, span in zip(carried, exported.spans[1:], strict=True):
        assert parent(span) == (context.trace_id, context.span_id)
        assert span.context is not None
        assert text == str(TraceParent(context.trace_id, span.context.span_id, True))
        assert attributes(span) == {"runcast.run_id": "r", "runcast.event_type": "chunk"}


def test_without_the_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("broker.telemetry.run_spans.can_trace", lambda: False)
    spans = spans_of(RunId("r"))
    assert spans.begin(1, "chunk") == ""
    spans.appended(1)
    spans.given_up(None)


# ---- the setting


def test_traces_are_off_unless_asked_for() -> None:
    assert EdgeSettings.model_fields["traces"].default is False


def test_the_setting_wants_the_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_settings({"traces": True}).traces
    monkeypatch.setattr("broker.edge_settings.can_export", lambda: False)
    assert not load_settings({}).traces
    with pytest.raises(SettingsError) as refused:
        load_settings({"traces": True})
    [line] = str(refused.value).splitlines()
    assert "traces" in line
    assert "runcast[otel]" in line


@pytest.mark.parametrize("module", ["no_such_package_at_all.inside", "json.no_such_module"])
def test_a_module_that_is_not_there(module: str) -> None:
    assert not installed._is_there(module)
    assert installed._is_there("json.decoder")
