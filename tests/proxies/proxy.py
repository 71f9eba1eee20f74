"""A running proxy in front of two upstreams."""

import os
import signal
import ssl
import subprocess
import tempfile
from pathlib import Path
from typing import Final

import httpx

from tests.proxies.programs import NAME, Certificate, Program, Setup
from tests.support.servers import free_port
from tests.support.waiting import eventually_sync

__all__ = ["Proxy"]

_TRIES: Final = 3
"""Somebody may take a free port before the proxy does."""


class Proxy:
    """The process, on ports of its own."""

    def __init__(
        self,
        program: Program,
        edge_ports: tuple[int, int],
        certificate: Certificate,
        *,
        idle_seconds: float = 60,
        check_seconds: float = 2,
    ) -> None:
        """Starts it and waits until it has both upstreams' answers to give."""
        self.program = program
        self._directory = tempfile.TemporaryDirectory(prefix=f"runcast-test-{program.name}-")
        self._certificate = certificate
        for attempt in range(1, _TRIES + 1):
            self._start(edge_ports, idle_seconds, check_seconds)
            try:
                eventually_sync(self._serves, within=20)
            except AssertionError:
                self.end()
                if attempt == _TRIES:
                    raise
            else:
                return

    @property
    def url(self) -> str:
        """What a browser is given."""
        return f"https://{NAME}:{self._setup.secure_port}"

    @property
    def plain_url(self) -> str:
        """The same without TLS."""
        return f"http://{NAME}:{self._setup.plain_port}"

    def events_url(self, run_id: str, query: str = "") -> str:
        """Where a run's events are."""
        return f"{self.url}/v1/runs/{run_id}/events" + (f"?{query}" if query else "")

    def trust(self) -> ssl.SSLContext:
        """A client's, which believes the test's own authority only."""
        return ssl.create_default_context(cafile=self._certificate.authority)

    def written(self) -> str:
        """All that it has written: its output, and its logs."""
        files = [self._output, *Path(self._directory.name).glob("*.log")]
        return "\n".join(file.read_text(errors="replace") for file in set(files))

    def end(self) -> None:
        """Ends it with all processes that it has started; idempotent."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def close(self) -> None:
        """Ends it and removes its files."""
        self.end()
        self._directory.cleanup()

    def _start(
        self, edge_ports: tuple[int, int], idle_seconds: float, check_seconds: float
    ) -> None:
        directory = Path(self._directory.name)
        ports = free_port(), free_port()
        self._setup = Setup(
            directory, *ports, edge_ports, self._certificate, idle_seconds, check_seconds
        )
        self._output = directory / "output.log"
        with self._output.open("wb") as output:
            self._process = subprocess.Popen(
                self.program.command(self._setup),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=directory,
                env={**os.environ, "HOME": str(directory)},
                start_new_session=True,
            )

    def _serves(self) -> bool:
        assert self._process.poll() is None, f"{self.program.name} ended:\n{self.written()}"
        try:
            return httpx.get(f"{self.url}/healthz", verify=self.trust()).status_code == 200
        except httpx.TransportError:
            return False
