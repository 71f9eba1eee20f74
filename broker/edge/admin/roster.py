"""Lists of a process' viewers and runs. Made in steps, so that ten thousand of them hold up nobody
else for long."""

import asyncio
import heapq
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, Final, TypeVar

from broker.edge.admin.pace import Paces
from broker.edge.admin.questions import (
    MOST_ROWS,
    AboutRuns,
    AboutSubscribers,
    RunOrder,
    SubscriberOrder,
    SubscriberState,
)
from broker.edge.connection_ids import connection_id
from broker.engine.feed import Feed
from broker.engine.hub import Hub
from broker.engine.subscriber import State, Subscriber
from broker.redis.catalogue import Catalogue
from broker.wire.ids import RunId, StreamId

__all__ = ["Roster", "lag_seconds"]

Row = dict[str, Any]
Item = TypeVar("Item", Feed, Subscriber)

_STEP: Final = 250
"""Viewers or runs looked at before others get their turn."""
_STATES: Final = {
    State.LIVE: SubscriberState.LIVE,
    State.REPLAYING: SubscriberState.REPLAYING,
    State.LAGGING: SubscriberState.LAGGING,
}
_FIRST_TIME_MS: Final = 10**11
"""An id below this one, of 1973, has been counted up by a producer, and is no time."""


class Roster:
    """Of one process."""

    def __init__(
        self, worker: int, hub: Hub, catalogue: Catalogue, profile: str, clock: Callable[[], float]
    ) -> None:
        """
        Args:
            worker: its number.
            hub: where the viewers are.
            catalogue: what runs are called.
            profile: whose runs those are that are read as the settings say.
            clock: the hub's, monotonic seconds.
        """
        self._paces = Paces()
        self._worker = worker
        self._hub = hub
        self._catalogue = catalogue
        self._profile = profile
        self._clock = clock

    def find(self, number: int) -> Subscriber | None:
        """The viewer with this number, if its stream goes on."""
        for subscriber in self._hub.subscribers:
            if subscriber.number == number and subscriber.state is not State.ENDED:
                return subscriber
        return None

    async def subscribers(self, about: AboutSubscribers) -> list[Row]:
        """A row for each viewer that is asked about, the first ones first: one more than the limit,
        if there are so many."""
        wanted = self._wanted(about)
        key = self._key(about.order)
        first = await _first(self._hub.subscribers, about.limit + 1, key, wanted)
        return [
            self._subscriber_row(subscriber)
            async for subscriber in _in_steps(first)
            if subscriber.state is not State.ENDED
        ]

    async def runs(self, about: AboutRuns) -> list[Row]:
        """A row for each run that is watched, the first ones first: `MOST_ROWS` at most."""
        keys: dict[RunOrder, Callable[[Feed], float]] = {
            RunOrder.VIEWERS: lambda feed: len(feed.subscribers),
            RunOrder.LAG: lambda feed: feed.lag_seconds or 0,
            RunOrder.EVENTS: lambda feed: feed.events,
        }
        feeds = await _first(self._hub.feeds, MOST_ROWS, keys[about.order], lambda feed: True)
        rows = []
        looked_at = 0
        for feed in feeds:
            rows.append(self._run_row(feed))
            looked_at += 1 + len(feed.subscribers)
            if looked_at >= _STEP:
                looked_at = 0
                await asyncio.sleep(0)
        return rows

    def forget_old(self) -> None:
        """To be called now and then: keeps nothing of whom nobody asks about any more."""
        self._paces.forget_old(self._clock())

    # ---- inside

    def _wanted(self, about: AboutSubscribers) -> Callable[[Subscriber], bool]:
        run_of = self._catalogue.run_of

        def wanted(subscriber: Subscriber) -> bool:
            state = _STATES.get(subscriber.state)
            return (
                state is not None
                and about.state in (None, state)
                and about.subject in (None, subscriber.subject)
                and (about.run is None or about.run == run_of(subscriber.feed.run_id))
            )

        return wanted

    def _key(self, order: SubscriberOrder) -> Callable[[Subscriber], float]:
        match order:
            case SubscriberOrder.AGE:
                return lambda subscriber: -subscriber.started_at
            case SubscriberOrder.UNSENT:
                return lambda subscriber: subscriber.sink.unsent_bytes
            case SubscriberOrder.RATE:
                return lambda subscriber: self._pace(subscriber)[0]
            case SubscriberOrder.LAG:
                return _lag_key

    def _pace(self, subscriber: Subscriber) -> tuple[float, float]:
        return self._paces.look(
            subscriber.number,
            subscriber.started_at,
            subscriber.sent_frames,
            subscriber.sent_bytes,
            self._clock(),
        )

    def _subscriber_row(self, subscriber: Subscriber) -> Row:
        pace = self._pace(subscriber)
        return {
            "id": connection_id(self._worker, subscriber.number),
            "worker": self._worker,
            "run_id": self._catalogue.run_of(subscriber.feed.run_id),
            "profile": subscriber.profile,
            "subject": subscriber.subject,
            "address": subscriber.address,
            "state": _STATES[subscriber.state].value,
            "age_seconds": round(self._clock() - subscriber.started_at, 3),
            "position": str(subscriber.position),
            "lag_seconds": lag_seconds(subscriber.position, subscriber.feed.end),
            "unsent_bytes": subscriber.sink.unsent_bytes,
            "events": subscriber.sent_frames,
            "bytes": subscriber.sent_bytes,
            "events_per_second": pace[0],
            "bytes_per_second": pace[1],
        }

    def _run_row(self, feed: Feed) -> Row:
        viewers, live = len(feed.subscribers), len(feed.live)
        lag = feed.lag_seconds if feed.end.ms >= _FIRST_TIME_MS else None
        return {
            "run_id": self._catalogue.run_of(feed.run_id),
            "profile": self._profile_of(feed.run_id),
            "viewers": viewers,
            "live": live,
            "behind": viewers - live,
            "end": str(feed.end),
            "final": None if feed.final is None else str(feed.final),
            "lag_seconds": None if lag is None else round(lag, 4),
            "events": feed.events,
            "bytes": feed.left_bytes + sum(each.sent_bytes for each in feed.subscribers),
        }

    def _profile_of(self, address: RunId) -> str:
        prefix = address.removesuffix(self._catalogue.run_of(address))
        return prefix[:-1] or self._profile


def lag_seconds(position: StreamId, end: StreamId) -> float | None:
    """How much older what a viewer has is than what the run has, by the ids; `None` where these say
    no time."""
    if position >= end:
        return 0.0
    if position.ms < _FIRST_TIME_MS:
        return None
    return (end.ms - position.ms) / 1000


def _lag_key(subscriber: Subscriber) -> float:
    lag = lag_seconds(subscriber.position, subscriber.feed.end)
    # Who has nothing yet may be behind by the most.
    return float("inf") if lag is None else lag


async def _first(
    items: Sequence[Item],
    count: int,
    key: Callable[[Item], float],
    wanted: Callable[[Item], bool],
) -> list[Item]:
    """Those of the wanted ones that have most of it, these first."""
    best: list[tuple[float, int, Item]] = []
    for start in range(0, len(items), _STEP):
        step = [
            # Numbered, since items that have as much can't be compared.
            (key(item), -place, item)
            for place, item in enumerate(items[start : start + _STEP], start)
            if wanted(item)
        ]
        best = heapq.nlargest(count, best + step)
        await asyncio.sleep(0)
    return [item for _, _, item in best]


async def _in_steps(items: Sequence[Item]) -> AsyncIterator[Item]:
    for place, item in enumerate(items, 1):
        yield item
        if place % _STEP == 0:
            await asyncio.sleep(0)
