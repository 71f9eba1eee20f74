"""npm's `eventsource`, which server-side JavaScript uses, under Node."""

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import pytest
from redis.asyncio import Redis

from tests.clients.journey import travel
from tests.support.cuttable import Cuttable
from tests.support.edges import Edge
from tests.support.producer import append
from tests.support.waiting import eventually

_DIRECTORY: Final = Path(__file__).parent / "node"
_TYPES: Final = ("message", "chunk", "done", "runcast.gap", "runcast.caught-up")

pytestmark = [
    pytest.mark.skipif(shutil.which("node") is None, reason="Node is not installed"),
    pytest.mark.skipif(
        not (_DIRECTORY / "node_modules" / "eventsource").is_dir(),
        reason="npm's eventsource is not installed: run npm ci in tests/clients/node",
    ),
]


class _NodeEventSource:
    """A Node process with one EventSource, and what it printed."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.seen: list[dict[str, Any]] = []

    async def read(self) -> None:
        """Keeps what it prints until it ends."""
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            self.seen.append(json.loads(line))

    def of_type(self, *types: str) -> list[dict[str, Any]]:
        """What it saw of these types."""
        return [each for each in self.seen if each["type"] in types]

    @property
    def ids(self) -> list[str]:
        """The ids of the run's events."""
        return [each["id"] for each in self.of_type("message", "chunk", "done")]

    @property
    def gaps(self) -> int:
        """How often it was told of a gap."""
        return len(self.of_type("runcast.gap"))

    @property
    def stopped(self) -> bool:
        """Whether the process has come to its own end: no connection, no timer is left."""
        if self.process.returncode is None:
            return False
        assert self.process.returncode == 0
        return True


@asynccontextmanager
async def _watch(url: str) -> AsyncIterator[_NodeEventSource]:
    process = await asyncio.create_subprocess_exec(
        *("node", "watch.mjs", url, *_TYPES), cwd=_DIRECTORY, stdout=asyncio.subprocess.PIPE
    )
    source = _NodeEventSource(process)
    reading = asyncio.create_task(source.read())
    try:
        yield source
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        await reading


async def test_misses_nothing_and_doubles_nothing_on_a_bad_line(
    edge: Edge, client: Redis, run_id: str
) -> None:
    await travel(_watch, edge, client, run_id)


async def test_is_told_to_stop_by_204_after_the_terminal_event(
    edge: Edge, client: Redis, run_id: str
) -> None:
    last = await append(client, run_id, "{}", "done")
    async with Cuttable(edge.port) as line, _watch(line.events_url(run_id)) as source:
        await eventually(lambda: source.stopped)
        assert source.ids == [last]
        assert [(error["code"], error["closed"]) for error in source.of_type("error")] == [
            (None, False),  # the stream's end, after which it comes back …
            (204, True),  # … and is told that there is no more
        ]
        assert line.resumed_from(run_id) == [None, last]


async def test_control_events_do_not_move_the_cursor(
    edge: Edge, client: Redis, run_id: str
) -> None:
    first = await append(client, run_id, "a")
    async with Cuttable(edge.port) as line, _watch(line.events_url(run_id)) as source:
        await eventually(lambda: len(source.of_type("runcast.caught-up")) == 1)
        line.cut()
        line.mend()
        await eventually(lambda: len(source.of_type("runcast.caught-up")) == 2)
        line.cut()
        line.mend()
        await eventually(lambda: len(line.resumed_from(run_id)) == 3)
        assert line.resumed_from(run_id) == [None, first, first]
        assert source.ids == [first]


async def test_who_wants_only_new_events_misses_none_when_cut_before_the_first(
    edge: Edge, client: Redis, run_id: str
) -> None:
    await append(client, run_id, "old")
    async with (
        Cuttable(edge.port) as line,
        _watch(line.events_url(run_id, "from=latest")) as source,
    ):
        await eventually(lambda: len(source.of_type("runcast.caught-up")) == 1)
        line.cut()
        missed = await append(client, run_id, "while away")
        line.mend()
        await eventually(lambda: len(source.of_type("runcast.caught-up")) == 2)
        written = [missed, await append(client, run_id, "new")]
        await eventually(lambda: written[-1] in source.ids)
        assert source.ids == written


async def test_multi_line_and_unnamed_events_arrive_as_they_were_written(
    edge: Edge, client: Redis, run_id: str
) -> None:
    text = "first\n\n  third: ☃\n"
    unnamed = await append(client, run_id, text, None)
    named = await append(client, run_id, '{"text":"hi"}')
    async with _watch(edge.events_url(run_id)) as source:
        await eventually(lambda: len(source.of_type("message", "chunk")) == 2)
        assert source.of_type("message", "chunk") == [
            {"type": "message", "data": text, "id": unnamed},
            {"type": "chunk", "data": '{"text":"hi"}', "id": named},
        ]
