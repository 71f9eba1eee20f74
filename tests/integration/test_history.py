"""Two hundred viewers connect, drop and resume at random while a run is written and trimmed.

Each viewer's history must equal the stream, or be covered by gaps that the trims account for.
Random, from a seed that a failure prints; the counts below are the issue's own.
"""

import asyncio
import random
from collections.abc import Callable

import pytest
from redis.asyncio import Redis

from tests.support.edges import Edge
from tests.support.history import Connection, Flaw, check
from tests.support.producer import key_of
from tests.support.viewer import Viewer, watch

VIEWERS = 200
EVENTS = 5000
KEPT = 400
"""How many events a trim leaves: enough for most resumes, too few for some."""


@pytest.mark.timeout(180)
async def test_every_history_is_whole_or_covered_by_gaps(
    start_edge: Callable[..., Edge], client: Redis, run_id: str
) -> None:
    seed = random.randrange(1 << 32)
    # Small pages and a small window, so that every seam is crossed many times.
    edge = start_edge(window_bytes=20_000, page_events=50, linger_seconds=0.5)
    appended: list[str] = []
    trimmed: list[str] = []
    over = asyncio.Event()

    async def produce() -> None:
        source = random.Random(seed)
        while len(appended) < EVENTS - 1:
            burst = min(source.choice((1, 1, 2, 5, 40, 120)), EVENTS - 1 - len(appended))
            async with client.pipeline(transaction=source.random() < 0.5) as pipeline:
                for number in range(burst):
                    data = f'{{"n":{len(appended) + number}}}'
                    pipeline.xadd(key_of(run_id), {"type": "chunk", "data": data})
                appended.extend(await pipeline.execute())
            if source.random() < 0.2:
                await trim()
            await asyncio.sleep(source.choice((0, 0, 0.001, 0.01, 0.05)))
        appended.append(str(await client.xadd(key_of(run_id), {"type": "done", "data": "{}"})))
        over.set()

    async def trim() -> None:
        # What is to go is noted first: a viewer may hear of it before this task does.
        boundary = max(0, len(appended) - KEPT)
        trimmed.extend(appended[len(trimmed) : boundary])
        if boundary:
            await client.xtrim(key_of(run_id), minid=appended[boundary], approximate=False)

    async def view(number: int) -> list[Flaw]:
        source = random.Random(seed + 1 + number)
        connections: list[Connection] = []
        cursor = "0-0"
        # Once all is written a viewer needs a connection or two; some more may be cut by chance.
        last_tries = 10
        while last_tries:
            last_tries -= over.is_set()
            await asyncio.sleep(source.random() * 0.2)
            query = source.choice(("", f"last_event_id={cursor}"))
            header = None if query else cursor
            async with watch(edge.events_url(run_id, query), header) as viewer:
                if viewer.status == 204:
                    break
                assert viewer.status == 200
                await stay(viewer, source)
            connections.append(Connection(None if cursor == "0-0" else cursor, history_of(viewer)))
            cursor = viewer.ids[-1] if viewer.ids else cursor
        return check(appended, connections, trimmed)

    async def stay(viewer: Viewer, source: random.Random) -> None:
        try:
            async with asyncio.timeout(10 if over.is_set() else source.choice((0.02, 0.1, 0.5, 2))):
                await viewer.ended.wait()
        except TimeoutError:
            pass

    producing = asyncio.create_task(produce())
    flaws = await asyncio.gather(*(view(number) for number in range(VIEWERS)))
    await producing
    found = {number: some[:3] for number, some in enumerate(flaws) if some}
    assert not found, f"seed {seed}: {len(found)} viewers: {dict(list(found.items())[:3])}"
    # A viewer that comes back would hide a stream that ended for an error of ours.
    assert edge.metric("runcast_disconnects_total", reason="error") == 0
    assert edge.traces() == ""
    assert edge.metric("runcast_gaps_total", reason="reset") == 0
    assert edge.metric("runcast_gaps_total", reason="unknown") == 0


def history_of(viewer: Viewer) -> list[str | tuple[str, str | None]]:
    seen: list[str | tuple[str, str | None]] = []
    gaps = iter(viewer.gaps)
    for message in viewer.messages:
        if message.type == "runcast.gap":
            gap = next(gaps)
            seen.append((gap["requested"], gap["resumed_at"]))
        elif message.of_run:
            seen.append(message.id)
    return seen
