"""An edge as users run it: a `runcast serve` process on a port of its own."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

import httpx

from tests.support.waiting import eventually_sync

__all__ = ["Edge", "is_running"]

QUICK: Final[dict[str, Any]] = {
    "heartbeat_seconds": 1,
    "sweep_seconds": 1,
    "tail_block_seconds": 1,
    "retry_seconds": 0.1,
    "redis_timeout_seconds": 2,
    "drain_seconds": 0.5,
}
"""Intervals that make tests quick; everything else is as users get it."""


class Edge:
    """A running edge."""

    def __init__(self, redis_url: str, **settings: Any) -> None:
        """Starts it and waits until it listens."""
        chosen = {**QUICK, **settings}
        port = chosen.pop("port", 0)
        given = {f"RUNCAST_{name.upper()}": str(value) for name, value in chosen.items()}
        self._directory = tempfile.TemporaryDirectory(prefix="runcast-test-edge-")
        self._log = Path(self._directory.name) / "log"
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "broker", "serve"),
                    *("--port", str(port), "--log-format", "json"),
                ],
                stdout=log,
                stderr=subprocess.STDOUT,
                env={
                    **os.environ,
                    **given,
                    "RUNCAST_REDIS_URL": redis_url,
                    "PYTHONFAULTHANDLER": "1",
                },
                cwd=self._directory.name,
            )
        try:
            self.url: str = eventually_sync(self._listening, within=30)
        except BaseException:
            self.close()
            raise

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def events_url(self, run_id: str, query: str = "") -> str:
        """Where a run's events are."""
        return f"{self.url}/v1/runs/{run_id}/events" + (f"?{query}" if query else "")

    def log(self) -> list[dict[str, Any]]:
        """Its log so far."""
        lines = self._log.read_text(errors="replace").splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]

    def raw_log(self) -> str:
        """Its log so far, as it was written."""
        return self._log.read_text(errors="replace")

    def traces(self) -> str:
        """What its log has of stack traces; empty, if all is well."""
        lines = self.raw_log().splitlines()
        return "\n".join(line for line in lines if not line.startswith("{") or "Traceback" in line)

    def metric(self, name: str, **labels: str) -> float:
        """A metric's value now; zero if it has none yet."""
        from prometheus_client.parser import text_string_to_metric_families

        text = httpx.get(f"{self.url}/metrics").text
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if sample.name == name and labels.items() <= sample.labels.items():
                    return sample.value
        return 0.0

    def workers(self) -> dict[int, int]:
        """The process ids of its workers, by their numbers; those started last."""
        return {
            line["number"]: line["pid"] for line in self.log() if line["event"] == "worker listens"
        }

    def stop(self, number: signal.Signals = signal.SIGTERM, *, within: float = 10) -> int:
        """Asks it to leave; its exit code."""
        self.process.send_signal(number)
        try:
            return self.process.wait(timeout=within)
        except subprocess.TimeoutExpired:
            # Have it say where it hangs.
            self.process.send_signal(signal.SIGABRT)
            self.process.wait()
            raise AssertionError(f"still there after {within} s:\n{self.raw_log()}") from None

    def close(self) -> None:
        """Ends it if it still runs, and removes its files."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self._directory.cleanup()

    def _listening(self) -> str:
        assert self.process.poll() is None, f"the edge ended:\n{self.raw_log()}"
        return next((line["url"] for line in self.log() if line["event"] == "listening"), "")


def is_running(pid: int) -> bool:
    """Whether there is such a process; one that nobody has waited for has ended all the same."""
    try:
        os.kill(pid, 0)
        status = Path(f"/proc/{pid}/stat")
        return not Path("/proc/self").exists() or status.read_text().rpartition(")")[2][1] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False
