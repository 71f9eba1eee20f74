"""nchan: the publish and subscribe module of nginx, with its store in memory or in Redis.

Its SSE ids are its own (a time and a number within its second), and it resumes from them.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import ClassVar, Final

from benchmarks.systems.http_publisher import HttpPublisher
from benchmarks.systems.installation import debian_version, install_debian
from benchmarks.systems.ports import free_ports
from benchmarks.systems.process import ServerProcess, answers_http, server_process
from benchmarks.systems.system import Ability, Place, Requests, Running, Store, System

__all__ = ["Nchan", "NchanRedis"]

_NCHAN_VERSION: Final = "1:1.3.6+dfsg-2"
_PACKAGES: Final = {"libnginx-mod-nchan": _NCHAN_VERSION, "nginx-light": None}
"""nginx itself in any version: the distribution replaces it for security."""

_PUBLISHING_CONNECTIONS: Final = 64
"""nginx takes a connection's next request after the last is answered. With Redis an answer is a
round trip to it, so it takes many to keep it busy; in memory they do little harm."""

_IN_MEMORY: Final = ""
_IN_REDIS: Final = "nchan_redis_pass store;"
_CONFIGURATION: Final = """\
load_module /usr/lib/nginx/modules/ngx_nchan_module.so;
daemon off;
pid {directory}/nginx.pid;
error_log stderr crit;
worker_processes 1;
worker_rlimit_nofile 65536;
events {{
    worker_connections 20000;
}}
http {{
    access_log off;
    client_body_temp_path {directory}/bodies;
    proxy_temp_path {directory}/proxied;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    keepalive_requests 1000000000;
    keepalive_timeout 1h;
    nchan_shared_memory_size 1G;
    nchan_message_buffer_length 20000;
    nchan_message_timeout 1h;
    {upstream}
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location = /ready {{
            return 204;
        }}
        location = /publish {{
            nchan_publisher http;
            nchan_channel_id $arg_run;
            {store}
        }}
        location = /events {{
            nchan_subscriber eventsource;
            nchan_channel_id $arg_run;
            nchan_subscriber_first_message oldest;
            {store}
        }}
    }}
}}
"""

_EVENTS: Final = (
    b"GET /events?run={run} HTTP/1.1\r\nHost: benchmark\r\nAccept: text/event-stream\r\n"
)


class _RunningNchan(Running):
    def __init__(self, process: ServerProcess, publisher: HttpPublisher, port: int) -> None:
        self._process = process
        self._publisher = publisher
        self.requests = Requests(
            port=port,
            first=_EVENTS + b"\r\n",
            again=_EVENTS + b"Last-Event-ID: {cursor}\r\n\r\n",
        )

    @property
    def pids(self) -> Sequence[int]:
        return self._process.pids

    async def publish(self, events: Sequence[tuple[str, bytes]]) -> None:
        await self._publisher.send(
            (
                run,
                b"POST /publish?run=%b HTTP/1.1\r\nHost: benchmark\r\nContent-Length: %d\r\n\r\n%b"
                % (run.encode(), len(data), data),
            )
            for run, data in events
        )


class Nchan(System):
    """nchan with its messages in nginx' shared memory."""

    name: ClassVar[str] = "nchan"
    title: ClassVar[str] = "nchan (memory)"
    store: ClassVar[Store] = Store.MEMORY
    abilities: ClassVar[frozenset[Ability]] = frozenset({Ability.REPLAY, Ability.RESUME})

    def install(self, say: Callable[[str], None]) -> None:
        """See `System`."""
        install_debian(_PACKAGES, say)

    def version(self) -> str:
        """nchan's and nginx'."""
        nginx = (debian_version("nginx-light") or "").partition("-")[0]
        return f"1.3.6, nginx {nginx}"

    @asynccontextmanager
    async def run(self, place: Place) -> AsyncIterator[Running]:
        """See `System`."""
        [port] = free_ports(1)
        in_redis = self.store is Store.REDIS
        configuration = place.directory / "nginx.conf"
        configuration.write_text(
            _CONFIGURATION.format(
                directory=place.directory,
                port=port,
                upstream=(
                    f"upstream store {{ nchan_redis_server {place.redis_url}; }}"
                    if in_redis
                    else ""
                ),
                store=_IN_REDIS if in_redis else _IN_MEMORY,
            )
        )
        command = ["/usr/sbin/nginx", "-c", str(configuration), "-p", str(place.directory)]
        ready = b"GET /ready HTTP/1.1\r\nHost: benchmark\r\n\r\n"
        async with server_process(self.name, command, place) as process:
            await process.until(lambda: answers_http(port, ready, 204))
            async with HttpPublisher(port, connections=_PUBLISHING_CONNECTIONS) as publisher:
                yield _RunningNchan(process, publisher, port)


class NchanRedis(Nchan):
    """nchan with its messages in Redis: lists, and one Pub/Sub channel for each run."""

    name: ClassVar[str] = "nchan-redis"
    title: ClassVar[str] = "nchan (Redis)"
    store: ClassVar[Store] = Store.REDIS
