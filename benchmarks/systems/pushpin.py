"""Pushpin: a proxy that holds viewers' connections on behalf of a backend.

It stores nothing: what was published before a viewer came, and what it missed, is the backend's to
send. Ours has nothing to send, so there is neither REPLAY nor RESUME here. Nor has Pushpin SSE ids
of its own: those in the events are put there by who publishes.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from itertools import count
from typing import ClassVar, Final

from benchmarks.systems.grip_backend import grip_backend
from benchmarks.systems.http_publisher import HttpPublisher
from benchmarks.systems.installation import install_debian
from benchmarks.systems.ports import free_ports
from benchmarks.systems.process import ServerProcess, server_process
from benchmarks.systems.system import Ability, Place, Requests, Running, Store, System

__all__ = ["Pushpin"]

_VERSION: Final = "1.36.0-2"
_PACKAGES: Final = {"pushpin": _VERSION, "condure": None, "zurl": None}

_CONFIGURATION: Final = """\
[global]
include=/usr/lib/pushpin/internal.conf
rundir={directory}
ipc_prefix=p-

[runner]
services=condure,pushpin-proxy,pushpin-handler
http_port=127.0.0.1:{port}
logdir={directory}
log_level=0
client_buffer_size=8192
client_maxconn=20000

[proxy]
routesfile={directory}/routes
zurl_out_specs=ipc://{directory}/zurl-in
zurl_out_stream_specs=ipc://{directory}/zurl-in-stream
zurl_in_specs=ipc://{directory}/zurl-out
updates_check=off

[handler]
push_in_spec=tcp://127.0.0.1:{push_port}
push_in_sub_specs=tcp://127.0.0.1:{sub_port}
push_in_http_addr=127.0.0.1
push_in_http_port={publish_port}
push_in_http_max_headers_size=10000
push_in_http_max_body_size=10000000
stats_spec=ipc://{directory}/stats
command_spec=ipc://{directory}/command
message_rate=100000000
message_hwm=100000000
"""

_ZURL_CONFIGURATION: Final = """\
[General]
in_spec=ipc://{directory}/zurl-in
in_stream_spec=ipc://{directory}/zurl-in-stream
out_spec=ipc://{directory}/zurl-out
in_req_spec=
defpolicy=allow
max_open_requests=20000
timeout=600
"""

_DELIVERY_SECONDS: Final = 1
_LONGEST_SOCKET_PATH: Final = 107
"""The kernel's limit, without the closing zero."""


class _RunningPushpin(Running):
    def __init__(self, processes: Sequence[ServerProcess], publish_port: int, port: int) -> None:
        self._processes = processes
        self._publish_port = publish_port
        self._ids = count(1)
        self.requests = Requests(
            port=port,
            first=(
                b"GET /events/{run} HTTP/1.1\r\n"
                b"Host: benchmark\r\nAccept: text/event-stream\r\n\r\n"
            ),
            again=None,
        )

    @property
    def pids(self) -> Sequence[int]:
        return [pid for process in self._processes for pid in process.pids]

    async def publish(self, events: Sequence[tuple[str, bytes]]) -> None:
        items = [
            {
                "channel": run,
                "formats": {
                    "http-stream": {"content": f"id: {next(self._ids)}\ndata: {data.decode()}\n\n"}
                },
            }
            for run, data in events
        ]
        body = json.dumps({"items": items}).encode()
        request = (
            b"POST /publish/ HTTP/1.1\r\nHost: benchmark\r\nContent-Type: application/json\r\n"
            b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
        )
        # Pushpin closes a publisher's connection with each response.
        async with HttpPublisher(self._publish_port) as publisher:
            await publisher.send([("", request)])


async def _delivers(running: _RunningPushpin) -> bool:
    """Whether an event reaches a viewer."""
    try:
        async with asyncio.timeout(_DELIVERY_SECONDS):
            reader, writer = await asyncio.open_connection("127.0.0.1", running.requests.port)
            try:
                writer.write(running.requests.first.replace(b"{run}", b"ready"))
                await reader.readuntil(b"\r\n\r\n")
                await running.publish([("ready", b"{}")])
                await reader.readuntil(b"data: {}")
            finally:
                writer.transport.abort()
    except (OSError, asyncio.IncompleteReadError):
        return False
    return True


class Pushpin(System):
    """Pushpin with the services that Debian's package starts."""

    name: ClassVar[str] = "pushpin"
    title: ClassVar[str] = "Pushpin"
    store: ClassVar[Store] = Store.NONE
    abilities: ClassVar[frozenset[Ability]] = frozenset()

    def install(self, say: Callable[[str], None]) -> None:
        """See `System`."""
        install_debian(_PACKAGES, say)

    def version(self) -> str:
        """Pushpin's."""
        return _VERSION.partition("-")[0]

    @asynccontextmanager
    async def run(self, place: Place) -> AsyncIterator[Running]:
        """See `System`."""
        port, publish_port, push_port, sub_port = free_ports(4)
        directory = place.directory
        assert len(str(directory)) + len("/p-condure-out-stream") <= _LONGEST_SOCKET_PATH
        pushpin_configuration = directory / "pushpin.conf"
        pushpin_configuration.write_text(
            _CONFIGURATION.format(
                directory=directory,
                port=port,
                publish_port=publish_port,
                push_port=push_port,
                sub_port=sub_port,
            )
        )
        zurl_configuration = directory / "zurl.conf"
        zurl_configuration.write_text(_ZURL_CONFIGURATION.format(directory=directory))
        zurl_command = ["/usr/bin/zurl", f"--config={zurl_configuration}"]
        pushpin_command = [
            *("/usr/bin/pushpin", f"--config={pushpin_configuration}", "--merge-output"),
        ]
        async with grip_backend() as backend_port:
            (directory / "routes").write_text(f"* 127.0.0.1:{backend_port}\n")
            async with (
                server_process("zurl", zurl_command, place) as zurl,
                server_process("pushpin", pushpin_command, place) as pushpin,
            ):
                running = _RunningPushpin([zurl, pushpin], publish_port, port)
                # Its processes find each other some time after they listen: a viewer who comes
                # before that is answered, but never sent an event.
                await pushpin.until(lambda: _delivers(running))
                yield running
