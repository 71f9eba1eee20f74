"""An edge's post: an address that stays, whoever stands there."""

import asyncio
import resource
import signal
from pathlib import Path
from typing import Any, Final

import httpx

from tests.faults.line import Line
from tests.support.edges import Edge
from tests.support.servers import free_port

__all__ = ["Post"]

_LEAVE_SECONDS: Final = 15.0


class Post:
    """An edge that can be killed, paused and replaced; its port stays the same."""

    def __init__(self, name: str, redis_url: str, settings: dict[str, Any]) -> None:
        """
        Args:
            name: for logs.
            redis_url: what each edge at this post is given.
            settings: likewise.
        """
        self.name = name
        self.line: Line | None = None
        """What viewers go through, if not straight to the edge."""
        self.traces: list[str] = []
        """Stack traces in the logs of those who have left."""
        self.port = free_port()
        self._redis_url = redis_url
        self._settings = settings
        self._edge: Edge | None = None

    @property
    def url(self) -> str:
        """Where viewers connect."""
        return f"http://127.0.0.1:{self.port}" if self.line is None else self.line.url

    @property
    def edge(self) -> Edge:
        """Who stands there now."""
        assert self._edge is not None
        return self._edge

    @property
    def pid(self) -> int:
        """Of the process there now."""
        return self.edge.process.pid

    async def start(self) -> None:
        """Starts an edge, and returns when it listens."""
        self._edge = await asyncio.to_thread(
            Edge, self._redis_url, port=self.port, **self._settings
        )

    def kill(self) -> None:
        """SIGKILL."""
        self.edge.process.kill()
        self.edge.process.wait()

    async def restart(self) -> None:
        """Clears away the one that has ended and starts another."""
        self._note_traces()
        self.edge.close()
        await self.start()

    async def leave(self) -> None:
        """SIGTERM, and waits until it has drained."""
        code = await asyncio.to_thread(self.edge.stop, signal.SIGTERM, within=_LEAVE_SECONDS)
        if code:
            self.traces.append(f"{self.name} left with exit code {code}\n{self.edge.raw_log()}")

    def pause(self) -> None:
        """SIGSTOP."""
        self.edge.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        self.edge.process.send_signal(signal.SIGCONT)

    def limit_descriptors(self, spare: int) -> int:
        """Leaves the process so many descriptors above those in use.

        Returns:
            The limit that it had.
        """
        soft, hard = resource.prlimit(self.pid, resource.RLIMIT_NOFILE)
        # The limit is on the numbers of descriptors, not on how many there are.
        highest = max(int(entry.name) for entry in Path(f"/proc/{self.pid}/fd").iterdir())
        resource.prlimit(self.pid, resource.RLIMIT_NOFILE, (highest + 1 + spare, hard))
        return soft

    def lift_limit(self, soft: int) -> None:
        """Gives it back the limit that it had."""
        _, hard = resource.prlimit(self.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(self.pid, resource.RLIMIT_NOFILE, (soft, hard))

    def metric(self, name: str) -> float:
        """The sum of a metric's values, over all labels."""
        lines = httpx.get(f"http://127.0.0.1:{self.port}/metrics", timeout=10).text.splitlines()
        own = (line.rsplit(" ", 1) for line in lines if line.startswith((f"{name} ", f"{name}{{")))
        return sum(float(value) for _, value in own)

    def close(self) -> None:
        """Ends whoever is there."""
        if self._edge is not None:
            self._note_traces()
            self._edge.close()

    def _note_traces(self) -> None:
        if traces := self.edge.traces():
            self.traces.append(f"{self.name}:\n{traces}")
