"""Many viewers connect, drop and resume at random while a run is written and trimmed.

Each viewer's history must equal the stream, or be covered by gaps that the trims account for.
Random, from a seed that a failure prints; the counts below are the issue's own.
"""

import asyncio
import json
import random
import time
from collections.abc import Callable
from typing import Any

import pytest
from redis.asyncio import Redis

from tests.faults.checker import check
from tests.faults.counterexample import counterexample
from tests.faults.history import (
    Append,
    CaughtUp,
    Connected,
    Entry,
    Frame,
    GapSaid,
    History,
    Label,
    Outcome,
    ViewerLog,
)
from tests.faults.surgery import Surgery, entries_of, labels_of
from tests.fuzz.effort import LONG
from tests.support.edges import Edge
from tests.support.producer import key_of
from tests.support.viewer import Viewer, watch

VIEWERS = 200 if LONG else 80
"""Where the fuzzers try hard, so does this."""
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
    history = History()
    surgery = Surgery(client, history)
    over = asyncio.Event()

    def invoked(*, final: bool = False) -> Append:
        label = Label(run_id, 0, len(history.appends))
        type_ = "done" if final else "chunk"
        append = Append(label, type_, final, time.monotonic())
        history.appends[label] = append
        return append

    def returned(append: Append, entry_id: str) -> None:
        append.outcome, append.id = Outcome.OK, entry_id
        append.returned_at = time.monotonic()

    async def produce() -> None:
        source = random.Random(seed)
        while (left := EVENTS - 1 - len(history.appends)) > 0:
            burst = min(source.choice((1, 1, 2, 5, 40, 120)), left)
            appends = [invoked() for _ in range(burst)]
            async with client.pipeline(transaction=source.random() < 0.5) as pipeline:
                for append in appends:
                    data = append.label.data()
                    pipeline.xadd(key_of(run_id), {"type": append.type, "data": data})
                for append, entry_id in zip(appends, await pipeline.execute(), strict=True):
                    returned(append, entry_id)
            if source.random() < 0.2:
                await surgery.trim_below(run_id, KEPT)
            await asyncio.sleep(source.choice((0, 0, 0.001, 0.01, 0.05)))
        last = invoked(final=True)
        entry: dict[Any, Any] = {"type": last.type, "data": last.label.data()}
        returned(last, str(await client.xadd(key_of(run_id), entry)))
        over.set()

    async def view(number: int) -> None:
        source = random.Random(seed + 1 + number)
        log = ViewerLog(f"viewer {number}", run_id, "0-0")
        history.viewers.append(log)
        cursor = "0-0"
        connection = 0
        # Once all is written a viewer needs a connection or two; some more may be cut by chance.
        last_tries = 10
        while last_tries:
            last_tries -= over.is_set()
            connection += 1
            await asyncio.sleep(source.random() * 0.2)
            query = source.choice(("", f"last_event_id={cursor}"))
            header = None if query else cursor
            async with watch(edge.events_url(run_id, query), header) as viewer:
                await stay(viewer, source)
            log.entries.append(
                Connected(time.monotonic(), connection, "edge", cursor, viewer.status)
            )
            assert viewer.status in (200, 204)
            if viewer.status == 204:
                break
            log.entries += seen_by(viewer, connection)
            cursor = viewer.ids[-1] if viewer.ids else cursor

    async def stay(viewer: Viewer, source: random.Random) -> None:
        try:
            async with asyncio.timeout(10 if over.is_set() else source.choice((0.02, 0.1, 0.5, 2))):
                await viewer.ended.wait()
        except TimeoutError:
            pass

    producing = asyncio.create_task(produce())
    await asyncio.gather(*(view(number) for number in range(VIEWERS)))
    await producing
    history.kept[run_id] = labels_of(await entries_of(client, run_id))
    flaws = check(history)
    assert not flaws, f"seed {seed}: {len(flaws)} flaws; the first:\n" + counterexample(
        flaws[0], history, "this test, with that seed"
    )
    # A viewer that comes back would hide a stream that ended for an error of ours.
    assert edge.metric("runcast_disconnects_total", reason="error") == 0
    assert edge.traces() == ""
    assert edge.metric("runcast_gaps_total", reason="reset") == 0
    assert edge.metric("runcast_gaps_total", reason="unknown") == 0


def seen_by(viewer: Viewer, connection: int) -> list[Entry]:
    now = time.monotonic()
    entries: list[Entry] = []
    gaps = iter(viewer.gaps)
    for message in viewer.messages:
        if message.type == "runcast.gap":
            gap = next(gaps)
            entries.append(
                GapSaid(now, connection, gap["requested"], gap["resumed_at"], gap["reason"])
            )
        elif message.type == "runcast.caught-up":
            entries.append(CaughtUp(now, connection, json.loads(message.data)["id"]))
        elif message.of_run:
            entries.append(Frame(now, connection, message.id, Label.read(message.data)))
    return entries
