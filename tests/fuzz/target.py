"""An edge to send things to, with a viewer on it who must not notice."""

import http.client
import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Final
from uuid import uuid4

import redis

from tests.fuzz.hostile import FINISHED
from tests.support.edges import Edge
from tests.support.producer import key_of
from tests.support.sse import Decoder

__all__ = ["Target", "running_target"]

_SECONDS: Final = 10


class Neighbour:
    """A viewer of a run of their own, on a blocking socket: the kernel keeps what is not read."""

    def __init__(self, port: int, client: redis.Redis) -> None:
        self._client = client
        self._run_id = f"neighbour-{uuid4().hex}"
        self._decoder = Decoder()
        self._ids: list[str] = []
        self._appended: list[str] = []
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_SECONDS)

    def connect(self) -> None:
        """Connects, and waits for the first event."""
        self._appended = [self._append()]
        self._connection.request("GET", f"/v1/runs/{self._run_id}/events")
        self._response = self._connection.getresponse()
        assert self._response.status == 200
        self._read()

    def gets_an_event(self) -> None:
        """Appends one, and waits for it: nothing else must have come."""
        self._appended = [self._append()]
        self._ids = []
        self._read()
        assert self._ids == self._appended

    def close(self) -> None:
        """Leaves."""
        self._connection.close()

    def _append(self) -> str:
        entry_id: Any = self._client.xadd(key_of(self._run_id), {"type": "chunk", "data": "{}"})
        return str(entry_id.decode())

    def _read(self) -> None:
        while self._appended[-1] not in self._ids:
            data = self._response.read1(1 << 16)
            assert data, "the neighbour's stream has ended"
            self._ids += [message.id for message in self._decoder.feed(data) if message.of_run]


class Target:
    """The edge, and the neighbour."""

    def __init__(self, edge: Edge, neighbour: Neighbour) -> None:
        self._edge = edge
        self._neighbour = neighbour
        # The log is long after many examples: it is looked at once.
        self._looked_at = 0

    @property
    def port(self) -> int:
        return self._edge.port

    def get(self, path: str, **headers: str) -> bytes:
        """The body of an answer, which must be 200, over a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=_SECONDS)
        try:
            connection.request("GET", path, headers=headers)
            answer = connection.getresponse()
            assert answer.status == 200
            return answer.read()
        finally:
            connection.close()

    def is_unharmed(self) -> None:
        """Fails unless it answers, its viewer gets all events, and its log has no defect.

        Its loop takes what comes in turn: it has looked at whatever was sent to it before.
        """
        self.get("/healthz")
        self._neighbour.gets_an_event()
        self.has_no_defect()

    def has_no_defect(self) -> None:
        """Fails if its log has a stack trace or an error."""
        assert self._edge.process.poll() is None, self._edge.raw_log()
        log = self._edge.raw_log()
        start, self._looked_at = self._looked_at, log.rfind("\n") + 1
        for line in log[start : self._looked_at].splitlines():
            assert line.startswith("{"), log[start:]
            assert json.loads(line)["level"] in ("debug", "info", "warning"), line
            assert "Traceback" not in line


@contextmanager
def running_target(redis_url: str, **settings: Any) -> Iterator[Target]:
    """A target while the context lasts, on a Redis of which nobody else uses `FINISHED`."""
    with redis.Redis.from_url(redis_url) as client, ExitStack() as stack:
        if not client.exists(key_of(FINISHED)):
            for number in (1, 2, 3):
                client.xadd(key_of(FINISHED), {"data": f"{number}"}, id=f"{number}-1")
            client.xadd(key_of(FINISHED), {"type": "done", "data": "{}"}, id="4-1")
        # Nobody waits for a run that strangers have made up.
        edge = Edge(redis_url, **{"missing_run": "reject", **settings})
        stack.callback(edge.close)
        neighbour = Neighbour(edge.port, client)
        stack.callback(neighbour.close)
        neighbour.connect()
        yield Target(edge, neighbour)
