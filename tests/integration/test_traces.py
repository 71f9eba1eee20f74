"""Traces on real parts: an edge that exports over OTLP/HTTP, and a collector that decodes it."""

import asyncio
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from typing import Any, Final, NamedTuple

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Status as ExportedStatus
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode
from redis.asyncio import Redis

from broker.publishing import RunEnded, RunPublisher
from tests.support.edges import Edge
from tests.support.producer import key_of
from tests.support.servers import available_kinds
from tests.support.viewer import watch
from tests.support.waiting import eventually

TRACE: Final = "4bf92f3577b34da6a3ce929d0e0e4736"
SPAN: Final = "00f067aa0ba902b7"
SAMPLED: Final = f"00-{TRACE}-{SPAN}-01"
SECRET: Final = "s3cret"
FLUSH_SECONDS: Final = 2.0


class Span(NamedTuple):
    """A span, as the collector was sent it."""

    service: str
    name: str
    trace_id: str
    span_id: str
    parent_id: str
    started_ns: int
    ended_ns: int
    failed: bool
    attributes: Mapping[str, Any]


class Collector:
    """Takes spans at a port of its own."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        spans = self.spans

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                assert self.path == "/v1/traces"
                spans.extend(_spans_in(body))
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *arguments: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    def of(self, run_id: str, name: str | None = None) -> list[Span]:
        """The spans of a run, the earliest first."""
        found = [span for span in self.spans if span.attributes["runcast.run_id"] == run_id]
        return sorted(
            (span for span in found if name in (None, span.name)), key=lambda span: span.started_ns
        )

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def _spans_in(body: bytes) -> Iterator[Span]:
    for of_resource in ExportTraceServiceRequest.FromString(body).resource_spans:
        resource = _attributes(of_resource.resource)
        for of_scope in of_resource.scope_spans:
            for span in of_scope.spans:
                yield Span(
                    resource["service.name"],
                    span.name,
                    span.trace_id.hex(),
                    span.span_id.hex(),
                    span.parent_span_id.hex(),
                    span.start_time_unix_nano,
                    span.end_time_unix_nano,
                    span.status.code == ExportedStatus.STATUS_CODE_ERROR,
                    _attributes(span),
                )


def _attributes(said: Any) -> dict[str, Any]:
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in said.attributes}


@contextmanager
def environment(**variables: str) -> Iterator[None]:
    """What processes are going to have that are started in this context."""
    with pytest.MonkeyPatch.context() as patched:
        for name, text in variables.items():
            patched.setenv(name, text)
        yield


@pytest.fixture(scope="session")
def redis_kind() -> str:
    """Which Redis it is makes no difference here."""
    return available_kinds()[0]


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    collector = Collector()
    yield collector
    collector.close()


@pytest.fixture(scope="module")
def edge(redis_url: str, collector: Collector) -> Iterator[Edge]:
    with environment(
        OTEL_EXPORTER_OTLP_ENDPOINT=collector.url,
        OTEL_BSP_SCHEDULE_DELAY="100",
        OTEL_SERVICE_NAME="edges of the tests",
    ):
        edge = Edge(redis_url, traces="true", publish="true")
    yield edge
    assert edge.stop() == 0
    assert edge.traces() == ""
    edge.close()


async def test_from_an_entry_to_its_viewers(
    edge: Edge, collector: Collector, client: Redis, run_id: str
) -> None:
    async with watch(edge.events_url(run_id)) as one, watch(edge.events_url(run_id)) as other:
        for viewer in (one, other):
            await viewer.until_caught_up()
        first = await client.xadd(
            key_of(run_id), {"type": "chunk", "data": "{}", "traceparent": SAMPLED}
        )
        last = await client.xadd(key_of(run_id), {"type": "done", "data": "1"})
        for viewer in (one, other):
            await viewer.until(2)
        [deliver] = await eventually(lambda: collector.of(run_id, "runcast.deliver"))
        assert b"traceparent" not in one.body + other.body
    assert one.ids == other.ids == [first, last]
    [read] = collector.of(run_id, "runcast.read")
    assert read.service == deliver.service == "edges of the tests"
    assert (read.trace_id, read.parent_id) == (TRACE, SPAN)
    assert (deliver.trace_id, deliver.parent_id) == (TRACE, read.span_id)
    assert read.started_ns == int(str(first).partition("-")[0]) * 1_000_000
    assert read.started_ns <= read.ended_ns == deliver.started_ns <= deliver.ended_ns
    assert deliver.attributes == {
        "runcast.run_id": run_id,
        "runcast.event_id": first,
        "runcast.event_type": "chunk",
        "runcast.viewers": 2,
    }


async def test_whatever_the_field_has_the_event_is_served(
    edge: Edge, collector: Collector, client: Redis, run_id: str
) -> None:
    wrong = ["", "x", SAMPLED.upper(), f"{SAMPLED}-x", f"00-{TRACE}-{SPAN}-00", "x" * 100_000]
    async with watch(edge.events_url(run_id)) as viewer:
        await viewer.until_caught_up()
        for text in wrong:
            await client.xadd(key_of(run_id), {"n": "1", "traceparent": text})
        await client.xadd(key_of(run_id), {"type": "done", "n": "2", "traceparent": SAMPLED})
        await viewer.until(len(wrong) + 1)
    assert [event.data for event in viewer.events] == ['{"n":"1"}'] * len(wrong) + ['{"n":"2"}']
    async with httpx.AsyncClient() as http:
        page = await http.get(edge.events_url(run_id), headers={"accept": "application/json"})
    assert len(page.json()["events"]) == len(wrong) + 1
    assert "traceparent" not in page.text
    await eventually(lambda: collector.of(run_id, "runcast.deliver"))
    assert {span.attributes["runcast.event_type"] for span in collector.of(run_id)} == {"done"}


async def test_published_over_http(
    edge: Edge, collector: Collector, client: Redis, run_id: str
) -> None:
    async with watch(edge.events_url(run_id)) as viewer, httpx.AsyncClient() as http:
        await viewer.until_caught_up()
        answer = await http.post(
            edge.events_url(run_id),
            content=b'{"type":"chunk"}\n{"type":"done","final":true}\n',
            headers={"content-type": "application/x-ndjson", "traceparent": SAMPLED},
        )
        assert answer.status_code == 200, answer.text
        await viewer.until(2)
    await eventually(lambda: len(collector.of(run_id)) == 5)
    [of_both] = collector.of(run_id, "runcast.publish")
    assert (of_both.parent_id, of_both.attributes["runcast.events"]) == (SPAN, 2)
    entries: Any = await client.xrange(key_of(run_id))
    carried = [fields["traceparent"] for _, fields in entries]
    assert carried == [f"00-{TRACE}-{of_both.span_id}-01"] * 2
    assert [fields.get("final") for _, fields in entries] == [None, "1"]
    reads = {span.span_id: span for span in collector.of(run_id, "runcast.read")}
    assert {span.parent_id for span in reads.values()} == {of_both.span_id}
    assert {span.parent_id for span in collector.of(run_id, "runcast.deliver")} == reads.keys()


async def test_published_over_http_in_a_trace_that_is_not_recorded(
    edge: Edge, client: Redis, run_id: str
) -> None:
    headers = {"traceparent": f"{SAMPLED[:-1]}0"}
    async with httpx.AsyncClient() as http:
        answer = await http.post(edge.events_url(run_id), json={"type": "done"}, headers=headers)
    assert answer.status_code == 200, answer.text
    entries: Any = await client.xrange(key_of(run_id))
    assert ["traceparent" in fields for _, fields in entries] == [False]


async def test_of_two_parents_neither_is_believed(
    edge: Edge, collector: Collector, run_id: str
) -> None:
    headers = [("traceparent", SAMPLED), ("traceparent", SAMPLED)]
    async with httpx.AsyncClient() as http:
        answer = await http.post(edge.events_url(run_id), json={"type": "done"}, headers=headers)
    assert answer.status_code == 200, answer.text
    [span] = await eventually(lambda: collector.of(run_id, "runcast.publish"))
    assert span.parent_id == ""
    assert span.trace_id != TRACE


async def test_what_was_not_appended_is_said(
    client: Redis, redis_url: str, run_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr("broker.telemetry.publish_spans.get_tracer", provider.get_tracer)

    async def work() -> None:
        async with RunPublisher(redis_url) as publisher, publisher.run(run_id) as run:
            await client.xadd(key_of(run_id), {"type": "done"})
            with provider.get_tracer("worker").start_as_current_span("work"):
                await run.emit("chunk")
                await run.flush()

    with pytest.raises(RunEnded):
        await work()
    [published] = [one for one in exporter.get_finished_spans() if one.name == "runcast.publish"]
    assert (published.status.status_code, published.status.description) == (
        StatusCode.ERROR,
        "RunEnded",
    )


WORKER: Final = """
import asyncio, sys
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from broker import RunPublisher

async def main():
    async with RunPublisher(sys.argv[1]) as publisher:
        async with publisher.run(sys.argv[2]) as run:
            await run.emit("before")
            attributes = {"runcast.run_id": sys.argv[2]}
            with trace.get_tracer("worker").start_as_current_span("work", attributes=attributes):
                await run.emit("chunk")
            await run.emit("after")

provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter()))
trace.set_tracer_provider(provider)
asyncio.run(main())
"""


async def test_emitted_by_a_worker_that_traces(
    edge: Edge, collector: Collector, client: Redis, redis_url: str, run_id: str
) -> None:
    async with watch(edge.events_url(run_id)) as viewer:
        await viewer.until_caught_up()
        with environment(OTEL_EXPORTER_OTLP_ENDPOINT=collector.url):
            command = (sys.executable, "-c", WORKER, redis_url, run_id)
            worker = await asyncio.create_subprocess_exec(*command)
        try:
            async with asyncio.timeout(20):
                assert await worker.wait() == 0
        finally:
            if worker.returncode is None:
                worker.kill()
                await worker.wait()
        await viewer.until(4)
    assert [event.type for event in viewer.events] == ["before", "chunk", "after", "succeeded"]
    await eventually(lambda: len(collector.of(run_id)) == 4)
    chain = {span.name: span for span in collector.of(run_id)}
    assert len({span.trace_id for span in chain.values()}) == 1
    assert not any(span.failed for span in chain.values())
    names = ["work", "runcast.publish", "runcast.read", "runcast.deliver"]
    for above, below in pairwise(names):
        assert chain[below].parent_id == chain[above].span_id
    entries: Any = await client.xrange(key_of(run_id))
    assert ["traceparent" in fields for _, fields in entries] == [False, True, False, False]


async def test_what_is_left_is_sent_at_the_end(redis_url: str, client: Redis, run_id: str) -> None:
    collector = Collector()
    try:
        with environment(
            OTEL_EXPORTER_OTLP_ENDPOINT=collector.url,
            OTEL_EXPORTER_OTLP_HEADERS=SECRET,
            OTEL_BSP_SCHEDULE_DELAY="3600000",
        ):
            edge = Edge(redis_url, traces="true")
        try:
            async with watch(edge.events_url(run_id)) as viewer:
                await viewer.until_caught_up()
                await client.xadd(key_of(run_id), {"type": "done", "traceparent": SAMPLED})
                await viewer.until(1)
            assert not collector.spans
            assert edge.stop() == 0
            # Of a header that can't be used, nothing but that it can't be.
            assert "malformed (hidden)" in edge.raw_log()
            assert SECRET not in edge.raw_log()
        finally:
            edge.close()
        assert [span.name for span in collector.of(run_id)] == ["runcast.read", "runcast.deliver"]
        assert {span.service for span in collector.spans} == {"runcast"}
    finally:
        collector.close()


async def test_a_collector_that_hangs_holds_nobody_up(
    redis_url: str, client: Redis, run_id: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as hanging:
        with environment(
            OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{hanging.getsockname()[1]}",
            OTEL_BSP_SCHEDULE_DELAY="50",
        ):
            edge = Edge(redis_url, traces="true")
        try:
            async with watch(edge.events_url(run_id)) as viewer:
                await viewer.until_caught_up()
                for _ in range(20):
                    await client.xadd(key_of(run_id), {"data": "x", "traceparent": SAMPLED})
                await viewer.until(20)
                assert edge.stop(within=FLUSH_SECONDS + 5) == 0
            assert [line["event"] for line in edge.log()].count("the last spans may be lost") == 1
        finally:
            edge.close()


WITHOUT_PACKAGES: Final = """
import sys
sys.modules["opentelemetry"] = None
import broker.app, broker.server.worker
from broker.cli import main
from broker.publishing import RunPublisher
RunPublisher("redis://127.0.0.1:1").run("r")
sys.argv = ["runcast", "serve", "--traces"]
main()
"""


def test_without_the_packages_there_is_all_but_traces() -> None:
    command = [sys.executable, "-c", WITHOUT_PACKAGES]
    refused = subprocess.run(command, capture_output=True, text=True, timeout=20)
    assert refused.returncode != 0
    [line] = refused.stderr.splitlines()
    assert "install runcast[otel]" in line
