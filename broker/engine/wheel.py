"""A timer wheel: when to look at which of many things, for one timer that looks at all of them."""

from collections.abc import Hashable, Iterator
from math import ceil
from typing import Generic, TypeVar

__all__ = ["TimerWheel"]

Item = TypeVar("Item", bound=Hashable)


class TimerWheel(Generic[Item]):
    """Items in slots of equal width, by the time that each is due: all in O(1) per item."""

    def __init__(self, width_seconds: float) -> None:
        """
        Args:
            width_seconds: how much later than due an item may come up.
        """
        self.width_seconds = width_seconds
        self._slots: dict[int, set[Item]] = {}
        self._slot_of: dict[Item, int] = {}

    def __len__(self) -> int:
        return len(self._slot_of)

    def __contains__(self, item: object) -> bool:
        return item in self._slot_of

    def __iter__(self) -> Iterator[Item]:
        return iter(self._slot_of)

    def put(self, item: Item, due: float) -> None:
        """Sets when the item comes up, whether it is in the wheel or not."""
        self.discard(item)
        slot = ceil(due / self.width_seconds)
        self._slot_of[item] = slot
        self._slots.setdefault(slot, set()).add(item)

    def discard(self, item: Item) -> None:
        """Takes the item out, if it is in."""
        slot = self._slot_of.pop(item, None)
        if slot is not None:
            items = self._slots[slot]
            items.discard(item)
            if not items:
                del self._slots[slot]

    def due(self, now: float) -> list[Item]:
        """The items that are due; they stay in their slots until they are put anew."""
        return [
            item
            for slot, items in self._slots.items()
            if slot * self.width_seconds <= now
            for item in items
        ]
