"""Appends numbered events at a steady rate, to several runs in turn."""

import asyncio
import json
from collections import Counter
from collections.abc import Sequence

from redis.asyncio import Redis

from tests.support.producer import append

__all__ = ["Producer"]


class Producer:
    """Goes on until it is told to end the runs."""

    def __init__(self, client: Redis, run_ids: Sequence[str], per_second: float) -> None:
        """
        Args:
            client: where it appends.
            run_ids: the runs, one event each in turn.
            per_second: events in all.
        """
        self.appended: Counter[str] = Counter()
        self._client = client
        self._run_ids = run_ids
        self._every = 1 / per_second
        self._ending = asyncio.Event()

    async def run(self) -> None:
        """Appends; then ends each run."""
        loop = asyncio.get_running_loop()
        due = loop.time()
        turn = 0
        while not self._ending.is_set():
            await self._append(self._run_ids[turn % len(self._run_ids)], "chunk")
            turn += 1
            due += self._every
            await asyncio.sleep(due - loop.time())
        for run_id in self._run_ids:
            await self._append(run_id, "done")

    def end(self) -> None:
        """Has it end the runs."""
        self._ending.set()

    async def _append(self, run_id: str, event_type: str) -> None:
        number = self.appended[run_id] + 1
        await append(self._client, run_id, json.dumps({"n": number}), event_type)
        self.appended[run_id] = number
