"""Durable Streams: append-only streams over HTTP, by the Rust server that is published for it.

Its SSE has no ``id:`` lines: a viewer resumes with an offset that it reads from ``event: control``
and puts into the URL. A browser's EventSource can't do that, nor can our viewers, so RESUME is not
among its abilities here.

Streams are of text, not of JSON. In JSON mode a request may carry several events, but the server
parses and rewrites each: other systems pass the data through as it is, and our viewers expect
that.

A stream has to be created before somebody may read it: whoever asks before the first event of a
run is answered 404.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import ClassVar, Final

from benchmarks.systems.http_publisher import HttpPublisher
from benchmarks.systems.installation import install_crate, installed_crate
from benchmarks.systems.ports import free_ports
from benchmarks.systems.process import ServerProcess, answers_http, server_process
from benchmarks.systems.system import Ability, Place, Requests, Running, Store, System

__all__ = ["DurableStreams"]

_CRATE: Final = "durable-streams-server"
_VERSION: Final = "0.3.0"

_CONFIGURATION: Final = """\
[server]
bind_address = "127.0.0.1:{port}"
[storage]
mode = "memory"
[limits]
max_memory_bytes = 4294967296
max_stream_bytes = 1073741824
[transport.connection]
sse_reconnect_interval_secs = 0
[observability]
rust_log = "error"
"""

_HEADERS: Final = b"Host: benchmark\r\nContent-Type: text/plain\r\n"


class _RunningDurableStreams(Running):
    def __init__(self, process: ServerProcess, publisher: HttpPublisher, port: int) -> None:
        self._process = process
        self._publisher = publisher
        self._created: set[str] = set()
        self.requests = Requests(
            port=port,
            first=(
                b"GET /v1/stream/{run}?offset=-1&live=sse HTTP/1.1\r\n"
                b"Host: benchmark\r\nAccept: text/event-stream\r\n\r\n"
            ),
            again=None,
        )

    @property
    def pids(self) -> Sequence[int]:
        return self._process.pids

    async def publish(self, events: Sequence[tuple[str, bytes]]) -> None:
        requests = []
        for run, data in events:
            if run not in self._created:
                self._created.add(run)
                requests.append((run, _request(b"PUT", run, b"")))
            requests.append((run, _request(b"POST", run, data)))
        await self._publisher.send(requests)


def _request(method: bytes, run: str, body: bytes) -> bytes:
    return b"%b /v1/stream/%b HTTP/1.1\r\n%bContent-Length: %d\r\n\r\n%b" % (
        method,
        run.encode(),
        _HEADERS,
        len(body),
        body,
    )


class DurableStreams(System):
    """The Rust server with its default storage, in memory."""

    name: ClassVar[str] = "durable-streams"
    title: ClassVar[str] = "Durable Streams (memory)"
    store: ClassVar[Store] = Store.MEMORY
    abilities: ClassVar[frozenset[Ability]] = frozenset({Ability.REPLAY})

    def install(self, say: Callable[[str], None]) -> None:
        """See `System`."""
        install_crate(_CRATE, _VERSION, say)

    def version(self) -> str:
        """The crate's."""
        return _VERSION

    @asynccontextmanager
    async def run(self, place: Place) -> AsyncIterator[Running]:
        """See `System`."""
        [port] = free_ports(1)
        configuration = place.directory / "durable-streams.toml"
        configuration.write_text(_CONFIGURATION.format(port=port))
        program = installed_crate(_CRATE, _VERSION)
        command = [str(program), "--config", str(configuration)]
        environment = {"TOKIO_WORKER_THREADS": str(len(place.cores))}
        ready = b"GET /readyz HTTP/1.1\r\nHost: benchmark\r\n\r\n"
        async with server_process(self.name, command, place, environment) as process:
            await process.until(lambda: answers_http(port, ready, 200))
            async with HttpPublisher(port) as publisher:
                yield _RunningDurableStreams(process, publisher, port)
