"""The clients of Coasty, Cortex and Travelmode, against an edge with their profiles and a worker in
a process of its own: whole runs, dropped connections, finished runs, and runs that fail."""

import shutil
from collections.abc import AsyncIterator, Iterator
from itertools import count

import pytest

from tests.clients.systems.client import Client
from tests.clients.systems.clients import CHROMIUM, CLIENTS, NODE_MODULES, Open
from tests.clients.systems.documented import (
    COASTY,
    CORTEX,
    CORTEX_AGENT,
    TRAVELMODE,
    Seen,
    System,
)
from tests.clients.systems.worker import Worker, worker
from tests.support.cuttable import Cuttable
from tests.support.edges import Edge
from tests.support.waiting import eventually

_MISSING = {
    "curl": shutil.which("curl") is None,
    "node": shutil.which("node") is None or not NODE_MODULES.is_dir(),
    "chromium": CHROMIUM is None,
}


@pytest.fixture(scope="module")
def edge(redis_url: str) -> Iterator[Edge]:
    """An edge with all three profiles."""
    edge = Edge(redis_url, profile="coasty,cortex,travelmode")
    yield edge
    edge.close()


def _client(name: str, *more: object) -> object:
    """A client as a parameter, left out where it is not installed."""
    missing = pytest.mark.skipif(_MISSING.get(name, False), reason=f"{name} is not installed")
    return pytest.param(CLIENTS[name], *more, marks=missing, id="-".join([name, *map(str, more)]))


@pytest.fixture
async def at_work(redis_url: str) -> AsyncIterator[Worker]:
    """A worker of the test's own."""
    async with worker(redis_url) as process:
        yield process


class _Run:
    """A run, as its worker wrote it and as a client of a system is to see it."""

    def __init__(self, system: System, run_id: str, at_work: Worker, *, timed: bool) -> None:
        self.system = system
        self.run_id = run_id
        self._worker = at_work
        self._id = "*" if timed else "0-*"
        self._numbers = count(1)
        self.ids: list[str] = []

    async def goes_on(self, events: int = 1) -> None:
        """Appends events."""
        for _ in range(events):
            await self._append(*self.system.progress)

    async def ends(self, how: str = "success") -> None:
        """Appends the last one."""
        await self._append(*getattr(self.system, how))

    async def _append(self, event_type: str, data: str) -> None:
        # Each one's data says which it is.
        marked = f'{{"number": {next(self._numbers)}, {data[1:]}'
        ms, seq = (await self._worker.append(self.run_id, event_type, marked, id=self._id)).split(
            "-"
        )
        self.ids.append(seq if ms == "0" else str(int(ms) * 4096 + int(seq)))

    def events(self, client: Client) -> list[Seen]:
        """Those of the run that the client has seen."""
        return [seen for seen in client.seen if self.system.is_event(seen)]

    def is_seen(self, client: Client) -> bool:
        """Whether the client has seen all, each once, in order, by their numbers and their ids."""
        events = self.events(client)
        numbers = [_number(seen) for seen in events]
        assert numbers == list(range(1, len(numbers) + 1)), "one is missing, or came twice"
        assert [self.system.cursor(seen) for seen in events] == self.ids[: len(events)]
        return len(numbers) == len(self.ids)


def _number(seen: Seen) -> int:
    document = seen.document
    number: int = (document.get("payload") or document)["number"]
    return number


@pytest.mark.parametrize(
    "system", [COASTY, CORTEX, TRAVELMODE], ids=["coasty", "cortex", "travelmode"]
)
@pytest.mark.parametrize(
    ("open_client", "ids"),
    # Numbers made from Redis' clock are as opaque to one client as to the other.
    [*(_client(name, "dense") for name in CLIENTS), _client("curl", "timed")],
)
async def test_a_run_over_a_bad_line_is_seen_whole(
    open_client: Open, system: System, edge: Edge, at_work: Worker, run_id: str, ids: str
) -> None:
    run = _Run(system, run_id, at_work, timed=ids == "timed")
    await run.goes_on(2)
    async with Cuttable(edge.port) as line, open_client(system, line.url, run_id) as client:
        await eventually(lambda: run.is_seen(client))
        await run.goes_on()
        await eventually(lambda: run.is_seen(client))
        for _ in range(2):
            line.cut()
            await run.goes_on(3)
            line.mend()
            await eventually(lambda: run.is_seen(client))
            await run.goes_on()
            await eventually(lambda: run.is_seen(client))
        await run.ends()
        await eventually(lambda: client.stopped)
        assert run.is_seen(client)
        last = run.events(client)[-1]
        assert system.is_last(last)
        assert system.ends["success"].items() <= last.document.items()
    asked = [request for request in line.requests if system.path[:4] in request.target]
    assert len(asked) >= 3, "it had to come back"


@pytest.mark.parametrize(
    "system", [COASTY, CORTEX_AGENT, TRAVELMODE], ids=["coasty", "cortex-agent", "travelmode"]
)
@pytest.mark.parametrize("open_client", [_client(name) for name in CLIENTS])
async def test_a_run_that_is_over_is_replayed_and_a_failure_is_said(
    open_client: Open, system: System, edge: Edge, at_work: Worker, run_id: str
) -> None:
    run = _Run(system, run_id, at_work, timed=False)
    if system.pointer:
        await at_work.tell(["SET", system.pointer.format(run_id=run_id), run_id])
    await run.goes_on(150)
    await run.ends("failure")
    async with open_client(system, edge.url, run_id) as client:
        await eventually(lambda: client.stopped)
        assert run.is_seen(client)
        last = run.events(client)[-1]
        assert system.is_last(last)
        assert system.ends["failure"].items() <= last.document.items()
