"""Replay: page reads for viewers, shared by all who want the same page, bounded and fair."""

import asyncio

from broker.engine.flight import SingleFlight
from broker.engine.page import Page, PageReader
from broker.engine.stats import Stats
from broker.wire.ids import RunId, StreamId

__all__ = ["Replay"]

_Key = tuple[RunId, StreamId, int, bool, int | None]


class Replay:
    """Pages for any number of viewers, at most `concurrency` reads at a time.

    Each page queues anew behind those who asked before (a semaphore wakes in order), so a long
    replay takes its turn with the short ones.
    """

    def __init__(self, reader: PageReader, concurrency: int, stats: Stats) -> None:
        self._reader = reader
        self._slots = asyncio.Semaphore(concurrency)
        self._flights: SingleFlight[_Key, Page] = SingleFlight()
        self._stats = stats

    async def page(
        self,
        run_id: RunId,
        after: StreamId,
        *,
        epoch: int,
        lenient: bool = False,
        limit: int | None = None,
    ) -> Page:
        """The page after `after`; see `PageReader.read`.

        Args:
            run_id: the run.
            after: the position.
            epoch: the feed's: a page that was asked for before the run began anew, or another
                Redis took over, is not for who asks after that.
            lenient: see `PageReader.read`.
            limit: see there.
        """
        key = (run_id, after, epoch, lenient, limit)
        if key in self._flights:
            self._stats.pages_shared += 1

        async def read() -> Page:
            async with self._slots:
                return await self._reader.read(run_id, after, lenient=lenient, limit=limit)

        return await self._flights.do(key, read)

    async def aclose(self) -> None:
        """Cancels the reads under way."""
        await self._flights.aclose()
