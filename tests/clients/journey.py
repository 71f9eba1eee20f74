"""A run as it is seen over a bad line: the same journey for every client that resumes by itself.

Replay, live events, events appended while the line is down, a cut in the middle of a frame, cuts
during a burst, the terminal event. At the end nothing is missing, nothing came twice, and the
client has stopped.
"""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from itertools import pairwise
from typing import Final, Protocol

from redis.asyncio import Redis

from tests.support.cuttable import Cuttable
from tests.support.edges import Edge
from tests.support.producer import append
from tests.support.waiting import eventually

__all__ = ["Watching", "travel"]

_BURSTS: Final = 3
_BURST_EVENTS: Final = 60


class Watching(Protocol):
    """A client that watches a run."""

    @property
    def ids(self) -> list[str]:
        """The ids of the run's events that it dispatched so far, in order."""

    @property
    def gaps(self) -> int:
        """How often it was told of a gap."""

    @property
    def stopped(self) -> bool:
        """Whether it has given up reconnecting for good."""


async def travel(
    watch: Callable[[str], AbstractAsyncContextManager[Watching]],
    edge: Edge,
    client: Redis,
    run_id: str,
) -> None:
    """Has a client watch a run all the way through.

    Args:
        watch: starts a client on a URL.
        edge: the edge that serves it.
        client: where the run is written.
        run_id: a run of this test's own.
    """
    written = [await append(client, run_id, "replayed 1"), await append(client, run_id, "2")]
    async with Cuttable(edge.port) as line, watch(line.events_url(run_id)) as watching:

        def has_all() -> bool:
            return watching.ids == written

        def has_some_of_the_burst() -> bool:
            return len(watching.ids) > len(written) - _BURST_EVENTS

        await eventually(has_all)

        written.append(await append(client, run_id, "live"))
        await eventually(has_all)

        line.cut()
        written += [await append(client, run_id, f"while away {number}") for number in range(3)]
        line.mend()
        await eventually(has_all)

        line.hold_after(b"the first half")
        torn = await append(client, run_id, "the first half, and the second")
        await line.until_holding()
        assert watching.ids == written
        line.cut()
        written.append(torn)
        line.mend()
        await eventually(has_all)

        for _ in range(_BURSTS):
            written += [await append(client, run_id, "burst") for _ in range(_BURST_EVENTS)]
            await eventually(has_some_of_the_burst)
            line.cut()
            written += [await append(client, run_id, "burst") for _ in range(_BURST_EVENTS)]
            line.mend()
        await eventually(has_all)

        written.append(await append(client, run_id, "{}", "done"))
        await eventually(lambda: watching.stopped)
        assert watching.ids == written
        assert watching.gaps == 0

        resumed_from = line.resumed_from(run_id)
        assert resumed_from[0] is None
        assert resumed_from[1:3] == [written[2], written[5]]
        assert resumed_from[-1] == written[-1], "the last request is the one that gets 204"
        positions = [written.index(cursor) for cursor in resumed_from[1:] if cursor is not None]
        assert len(positions) == len(resumed_from) - 1
        assert all(earlier <= later for earlier, later in pairwise(positions))
