"""The tail's strategy *notify*: keyspace notifications, for many runs at a small, constant cost.

One connection subscribes to the channel of each watched run's key, so that one more run costs one
SUBSCRIBE and nothing to the others. A notification only says that something happened to the key:
the runs that were named since the last look are then read together.

Notifications are pub/sub, delivered at most once: a slow sweep over all runs finds what they
missed, and what happens without one (expiry, where those are off). When they are switched off on
the server, the sweep is all that is left; it is then a quick one.
"""

import asyncio
import random
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any, Final, Self

import structlog
from redis.exceptions import NoPermissionError, RedisError

from broker.engine.backoff import backoff_seconds
from broker.engine.cancelling import cancel
from broker.engine.hub import Follower
from broker.engine.log import LogUnavailable
from broker.redis.connections import describe
from broker.redis.link import Link
from broker.redis.notifications import channel_prefix, see_to_notifications
from broker.redis.server import Server
from broker.redis.streams import Keys
from broker.redis.tail import ANSWER_MARGIN_SECONDS, TailSettings, TailStats
from broker.wire.ids import RunId

__all__ = ["NotifyTail"]

logger = structlog.get_logger("runcast.tail")

_CHANNELS_AT_ONCE: Final = 500
"""Channels in one SUBSCRIBE: many come at once after a reconnect."""
_RUNS_AT_ONCE: Final = 256
"""Runs that are looked at in one turn, so that what is named meanwhile is not kept waiting."""
_SWEEP_RUNS: Final = 64
_BLIND_SWEEP_SECONDS: Final = 1.0
"""How often each run is looked at while the server notifies of nothing."""


class NotifyTail:
    """Watches runs through their keys' notifications. Use it as an async context manager."""

    def __init__(
        self,
        server: Server,
        settings: TailSettings,
        keys: Keys,
        random_source: random.Random,
        stats: TailStats,
        *,
        looks_at_setup: bool,
    ) -> None:
        """
        Args:
            server: where the runs are.
            settings: bounds and intervals.
            keys: how keys are made.
            random_source: for the jitter of the backoff.
            stats: where to count.
            looks_at_setup: whether to see to it that the server notifies; if not, someone else
                does.
        """
        self.stats = stats
        self._settings = settings
        self._keys = keys
        self._server = server
        self._random = random_source
        self._looks_at_setup = looks_at_setup
        self._prefix = channel_prefix(server.database)
        self._follower: Follower | None = None
        self._channel_of: dict[RunId, bytes] = {}
        self._run_of: dict[bytes, RunId] = {}
        # What the server has to be told of; a run may be let go and watched again meanwhile.
        self._unsaid: dict[bytes, None] = {}
        self._subscribed: set[bytes] = set()
        self._channels_changed = asyncio.Event()
        self._first_watched = asyncio.Event()
        self._changed: dict[RunId, None] = {}
        self._something_changed = asyncio.Event()
        self._answered = asyncio.Event()
        self._blind = False
        self.refused = False
        """Whether the server did not let us subscribe."""
        # Set when the sweep is not to wait out an interval that was chosen before.
        self._hurry = asyncio.Event()
        self._connected = False
        self._closed = False
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run(), name="tail notifications")
        return self

    async def __aexit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # Under a flood of events a cancellation may get lost again and again (see `cancel`), since
        # no read ever waits: the loops that read end by themselves.
        self._closed = True
        if self._task is not None:
            await cancel([self._task])

    @property
    def strategy(self) -> str:
        """What this strategy is called in settings and metrics."""
        return "notify"

    @property
    def connection_count(self) -> int:
        """1 while it is subscribed."""
        return int(self._connected)

    def attach(self, follower: Follower) -> None:
        """Sets who is told."""
        self._follower = follower

    def watch(self, run_id: RunId) -> None:
        """Subscribes to the run's channel; it is looked at once the server has confirmed."""
        if run_id in self._channel_of:
            return
        channel = f"{self._prefix}{self._keys.key(run_id)}".encode()
        self._channel_of[run_id] = channel
        self._run_of[channel] = run_id
        self._say(channel)
        self._first_watched.set()

    def unwatch(self, run_id: RunId) -> None:
        """Unsubscribes from it."""
        channel = self._channel_of.pop(run_id, None)
        if channel is not None:
            del self._run_of[channel]
            self._changed.pop(run_id, None)
            self._say(channel)

    def _say(self, channel: bytes) -> None:
        self._unsaid[channel] = None
        self._channels_changed.set()

    async def _run(self) -> None:
        await self._first_watched.wait()
        failures = 0
        while not self._closed:
            try:
                await self._look_at_setup()
                async with self._server.link(self._heard) as link:
                    if failures:
                        self.stats.reconnects += 1
                        logger.info("tail resumed", runs=len(self._run_of), attempts=failures)
                        failures = 0
                    self._connected = True
                    try:
                        await self._follow(link)
                    finally:
                        self._connected = False
            except NoPermissionError as error:
                await self._refuse(error)
            except (LogUnavailable, RedisError, OSError, TimeoutError) as error:
                failures += 1
                if failures == 1:
                    self.stats.interruptions += 1
                    logger.warning(
                        "tail interrupted", runs=len(self._run_of), error=describe(error)
                    )
                await asyncio.sleep(self._backoff(failures))

    async def _refuse(self, error: NoPermissionError) -> None:
        """Goes on without a subscription, which may be permitted later."""
        if not self.refused:
            self.refused = True
            logger.warning(
                "redis does not let us subscribe: events are found by looking at every run, "
                "which is slow and costly; permit it, or set tail to block",
                error=describe(error),
                interval_seconds=_BLIND_SWEEP_SECONDS,
            )
        with suppress(LogUnavailable):
            await self._look_at(list(self._channel_of))
        await asyncio.sleep(_BLIND_SWEEP_SECONDS)

    async def _follow(self, link: Link) -> None:
        """Subscribes, listens and tells, until the connection fails."""
        self._subscribed.clear()
        # Each run is looked at when its subscription is confirmed: whatever happened while
        # nobody listened, every position is proven anew.
        self._unsaid = dict.fromkeys(self._run_of)
        self._channels_changed.set()
        jobs: dict[str, Coroutine[Any, Any, None]] = {
            "lost": self._until_lost(link),
            "subscribe": self._subscribe(link),
            "advance": self._advance(),
            "probe": self._probe(link),
            "sweep": self._sweep(),
        }
        tasks = [asyncio.create_task(job, name=f"tail {name}") for name, job in jobs.items()]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            await cancel(tasks)

    def _heard(self, message: Any) -> None:
        """Takes what the server says on the subscribed connection."""
        # Without any channel the connection is an ordinary one, and so is its answer to PING.
        kind = message[0] if isinstance(message, list) else message.lower()
        if kind == b"message" or kind == b"subscribe":
            run_id = self._run_of.get(message[1])
            if run_id is not None:
                self._changed[run_id] = None
                self._something_changed.set()
        elif kind == b"pong":
            self._answered.set()

    async def _until_lost(self, link: Link) -> None:
        await link.lost.wait()
        link.check()

    async def _subscribe(self, link: Link) -> None:
        while True:
            await self._channels_changed.wait()
            self._channels_changed.clear()
            while self._unsaid:
                channels = list(self._unsaid)[:_CHANNELS_AT_ONCE]
                for channel in channels:
                    del self._unsaid[channel]
                wanted = [one for one in channels if one in self._run_of]
                dropped = [one for one in channels if one not in self._run_of]
                dropped = [one for one in dropped if one in self._subscribed]
                # Also those that are subscribed to already: the answer has the run looked at.
                if wanted:
                    link.send("SUBSCRIBE", *wanted)
                if dropped:
                    link.send("UNSUBSCRIBE", *dropped)
                self._subscribed.update(wanted)
                self._subscribed.difference_update(dropped)

    async def _advance(self) -> None:
        while not self._closed:
            await self._something_changed.wait()
            self._something_changed.clear()
            while self._changed and not self._closed:
                # What is named during a read waits for the next: under load, reads grow larger
                # rather than more.
                run_ids = list(self._changed)[:_RUNS_AT_ONCE]
                for run_id in run_ids:
                    del self._changed[run_id]
                self.stats.wakeups += 1
                await self._look_at(run_ids)

    async def _look_at(self, run_ids: Sequence[RunId]) -> None:
        assert self._follower is not None
        for run_id in await self._follower.advance(run_ids):
            if run_id in self._channel_of:
                # After all that were named meanwhile.
                self._changed[run_id] = None
                self._something_changed.set()

    async def _probe(self, link: Link) -> None:
        while True:
            await asyncio.sleep(self._settings.block_seconds)
            self._answered.clear()
            link.send("PING")
            async with asyncio.timeout(ANSWER_MARGIN_SECONDS):
                await self._answered.wait()
            await self._look_at_setup()

    async def _look_at_setup(self) -> None:
        if not self._looks_at_setup:
            return
        on = await see_to_notifications(
            self._server, may_turn_on=self._settings.enable_notifications
        )
        # A server that does not tell is taken at its operator's word.
        blind = on is False
        if blind and not self._blind:
            logger.warning(
                "redis sends no notifications: events are found by looking at every run, "
                "which is slow and costly; set notify-keyspace-events to Kt, or tail to block",
                interval_seconds=_BLIND_SWEEP_SECONDS,
            )
            self._hurry.set()
        elif self._blind and not blind:
            logger.info("redis sends notifications again")
        self._blind = blind

    async def _sweep(self) -> None:
        while not self._closed:
            self._hurry.clear()
            run_ids = list(self._channel_of)
            groups = [
                run_ids[start : start + _SWEEP_RUNS]
                for start in range(0, len(run_ids), _SWEEP_RUNS)
            ]
            # Spread over the interval: a look at thousands of runs at once would be felt.
            for group in groups or [[]]:
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._sweep_seconds / max(1, len(groups))):
                        await self._hurry.wait()
                await self._look_at(group)

    @property
    def _sweep_seconds(self) -> float:
        usual = self._settings.sweep_seconds
        return min(usual, _BLIND_SWEEP_SECONDS) if self._blind else usual

    def _backoff(self, failures: int) -> float:
        return backoff_seconds(
            failures,
            base=self._settings.backoff_seconds,
            longest=self._settings.backoff_max_seconds,
            random_source=self._random,
        )
