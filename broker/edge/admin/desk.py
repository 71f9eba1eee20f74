"""The desk: answers what is asked about its own process, and does what it is told."""

import asyncio
import os
import resource
import time
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from broker.edge.admin.departure import Departure
from broker.edge.admin.latency import LOOK_SECONDS, RecentLatency
from broker.edge.admin.questions import (
    AboutProcess,
    AboutRuns,
    AboutSubscribers,
    Disconnect,
    Leave,
    Question,
)
from broker.edge.admin.roster import Roster
from broker.engine.cancelling import cancel
from broker.engine.ending import Ending
from broker.engine.hub import Hub

__all__ = ["Desk"]

_MOST_NAMES: Final = 10_000
"""Of runs that a process tells the others."""
_STATM: Final = Path("/proc/self/statm")


class Desk:
    """Of one process. Use it as an async context manager, within the hub's."""

    def __init__(self, worker: int, hub: Hub, roster: Roster) -> None:
        """
        Args:
            worker: its number.
            hub: where the viewers are.
            roster: lists them.
        """
        self.worker = worker
        self._hub = hub
        self._roster = roster
        self._latency = RecentLatency(hub.stats.latency)
        self._departure = Departure(hub)
        self._began_at = time.time()
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        self._began_at = time.time()
        await self._stack.enter_async_context(self._departure)
        looking = asyncio.create_task(self._keep_looking(), name="admin looks")
        self._stack.push_async_callback(cancel, [looking])
        return self

    async def __aexit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._stack.aclose()

    async def answer(self, question: Question) -> Any:
        """What is said to a question: a JSON document, whose form is the question's."""
        match question:
            case AboutProcess():
                return self._process()
            case AboutRuns():
                return await self._roster.runs(question)
            case AboutSubscribers():
                return await self._roster.subscribers(question)
            case Disconnect(number):
                return self._disconnect(number)
            case Leave(seconds):
                count = self._hub.subscriber_count
                self._departure.begin(seconds)
                return count

    # ---- inside

    def _process(self) -> dict[str, Any]:
        hub = self._hub
        feeds = hub.feeds
        return {
            "worker": self.worker,
            "pid": os.getpid(),
            "subscribers": hub.subscriber_count,
            "live": hub.live_count,
            "runs": len(feeds),
            "rss_bytes": _resident_bytes(),
            "cpu_seconds": round(time.process_time(), 3),
            "uptime_seconds": round(time.time() - self._began_at, 3),
            "began_at": self._began_at,
            "run_ids": [feed.run_id for feed in feeds[:_MOST_NAMES]],
            "latency": self._latency.counts(),
        }

    def _disconnect(self, number: int) -> bool:
        """Whether there was such a viewer."""
        subscriber = self._roster.find(number)
        if subscriber is None:
            return False
        subscriber.end(Ending.DISCONNECTED)
        return True

    async def _keep_looking(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            self._latency.look()
            self._roster.forget_old()


def _resident_bytes() -> int:
    """The process' memory; where the system does not say it, the most that it has had."""
    try:
        pages = int(_STATM.read_text().split()[1])
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return pages * resource.getpagesize()
