"""The pacer: wakes whoever's time has come, for any number of paced viewers with one task.

A paced viewer is sent at most one event in a given time. Between two of them it costs an entry in
a heap and nothing else: neither a task nor a timer.
"""

import asyncio
from collections.abc import Callable, Hashable
from heapq import heappop, heappush
from itertools import count
from typing import Generic, TypeVar

__all__ = ["Pacer", "Schedule"]

Item = TypeVar("Item", bound=Hashable)


class Schedule(Generic[Item]):
    """Items by the time that each is due; those of the same time in the order they came."""

    def __init__(self) -> None:
        # What is put anew or taken out leaves its number behind, and nothing else.
        self._heap: list[tuple[float, int]] = []
        self._numbers: dict[Item, int] = {}
        self._items: dict[int, Item] = {}
        self._count = count()

    def __len__(self) -> int:
        return len(self._items)

    @property
    def next_due(self) -> float | None:
        """When the first item is due; `None` if there is none."""
        while self._heap and self._heap[0][1] not in self._items:
            heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def put(self, item: Item, due: float) -> None:
        """Sets when the item is due, whether it is in the schedule or not."""
        self.discard(item)
        number = self._numbers[item] = next(self._count)
        self._items[number] = item
        heappush(self._heap, (due, number))

    def discard(self, item: Item) -> None:
        """Takes the item out, if it is in."""
        number = self._numbers.pop(item, None)
        if number is not None:
            del self._items[number]

    def take_due(self, now: float) -> list[Item]:
        """Takes out all that are due."""
        due: list[Item] = []
        while (next_due := self.next_due) is not None and next_due <= now:
            item = self._items[heappop(self._heap)[1]]
            self.discard(item)
            due.append(item)
        return due


class Pacer(Generic[Item]):
    """A schedule, and the work of the one task that goes by it."""

    def __init__(self, clock: Callable[[], float], act: Callable[[Item], None]) -> None:
        """
        Args:
            clock: monotonic seconds.
            act: called with each item when it is due; must not raise, and may put it in anew.
        """
        self._clock = clock
        self._act = act
        self._schedule: Schedule[Item] = Schedule()
        self._sooner = asyncio.Event()

    def put(self, item: Item, due: float) -> None:
        """Sets when the item is due, in seconds of the clock."""
        next_due = self._schedule.next_due
        self._schedule.put(item, due)
        if next_due is None or due < next_due:
            self._sooner.set()

    def discard(self, item: Item) -> None:
        """Takes the item out, if it is in."""
        self._schedule.discard(item)

    def act_on_due(self) -> None:
        """Acts on each item that is due."""
        for item in self._schedule.take_due(self._clock()):
            self._act(item)

    async def run(self) -> None:
        """Acts on items as they become due, for ever; for the owner's task."""
        while True:
            self._sooner.clear()
            self.act_on_due()
            next_due = self._schedule.next_due
            wait = _IDLE_SECONDS if next_due is None else max(0.0, next_due - self._clock())
            try:
                async with asyncio.timeout(min(wait, _IDLE_SECONDS)):
                    await self._sooner.wait()
            except TimeoutError:
                continue


_IDLE_SECONDS = 60.0
"""How long at most until it looks again, where nothing is due sooner."""
