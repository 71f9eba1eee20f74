"""HAProxy in front of two edges: a plain one of the test's own, which looks at `/readyz`."""

import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import httpx

from tests.support.servers import free_port
from tests.support.waiting import eventually_sync

__all__ = ["Balancer"]

_CONFIG: Final = """
global
    maxconn 9000
defaults
    mode http
    timeout connect 2s
    timeout client 60s
    timeout server 60s
    retries 2
    option redispatch 1
    option http-no-delay
    retry-on conn-failure
frontend viewers
    bind 127.0.0.1:{port}
    default_backend edges
backend edges
    balance leastconn
    option httpchk GET /readyz
    http-check expect status 200
    # A machine that is busy with the crowd may take its time to answer.
    timeout check 2s
    default-server check inter 500ms fall 2 rise 1
{servers}
"""


class Balancer:
    """As long as the context lasts."""

    def __init__(self, edge_ports: Sequence[int]) -> None:
        self.port = free_port()
        self._edge_ports = edge_ports
        self._directory = tempfile.TemporaryDirectory(prefix="runcast-rolling-")

    @staticmethod
    def version() -> str:
        """Such as `HAProxy 2.6.12`."""
        said = subprocess.run(["haproxy", "-v"], capture_output=True, text=True, check=True).stdout
        return "HAProxy " + said.split()[2].partition("-")[0]

    def __enter__(self) -> Self:
        file = Path(self._directory.name) / "haproxy.cfg"
        servers = "\n".join(
            f"    server edge-{number} 127.0.0.1:{port}"
            for number, port in enumerate(self._edge_ports, 1)
        )
        file.write_text(_CONFIG.format(port=self.port, servers=servers))
        self._process = subprocess.Popen(
            ["haproxy", "-db", "-f", str(file)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        eventually_sync(self._serves, within=10)
        return self

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._process.wait()
        self._directory.cleanup()

    def _serves(self) -> bool:
        try:
            return httpx.get(f"http://127.0.0.1:{self.port}/readyz").status_code == 200
        except httpx.TransportError:
            return False
