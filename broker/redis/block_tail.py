"""The tail's strategy *block*: XREAD BLOCK. Works on every server, with nothing set up.

Runs are spread over groups of a few dozen, each with a connection and a task of its own, since
the cost of one blocked XREAD on Redis grows with its keys. XREAD is only the wake-up (COUNT 1):
what is new is taken by the hub with a read that proves continuity, the same as any other page.

A group's keys are changed with CLIENT UNBLOCK, never by cancelling the XREAD: that would cost the
connection. UNBLOCK may arrive before the XREAD does, so it is repeated until the new keys are in.

A blocked XREAD is not woken by DEL, expiry, or a stream re-created with lower ids, so every group
also looks at each of its runs in turn, slowly (the sweep), and after each interruption.
"""

import asyncio
import random
from collections import defaultdict
from collections.abc import Iterable
from types import TracebackType
from typing import Any, Final, Self

import structlog
from redis.exceptions import RedisError, ResponseError

from broker.engine.backoff import backoff_seconds
from broker.engine.cancelling import cancel
from broker.engine.hub import Follower
from broker.engine.log import LogUnavailable
from broker.redis.connections import describe
from broker.redis.deployment import slot_of
from broker.redis.link import Link
from broker.redis.server import Server
from broker.redis.streams import Keys, xread_items
from broker.redis.tail import ANSWER_MARGIN_SECONDS, TailSettings, TailStats
from broker.wire.ids import RunId

__all__ = ["BlockTail"]

logger = structlog.get_logger("runcast.tail")

_UNBLOCK_EVERY_SECONDS: Final = 0.05


class BlockTail:
    """Watches runs with blocked XREADs. Use it as an async context manager, attached to a hub."""

    def __init__(
        self,
        server: Server,
        settings: TailSettings,
        keys: Keys,
        random_source: random.Random,
        stats: TailStats,
        *,
        by_slot: bool = False,
    ) -> None:
        """
        Args:
            server: where the runs are.
            settings: bounds and intervals.
            keys: how keys are made.
            random_source: for the jitter of the backoff.
            stats: where to count.
            by_slot: whether a connection may only have runs of one slot, as in a Cluster.
        """
        self.stats = stats
        self._settings = settings
        self._keys = keys
        self._server = server
        self._by_slot = by_slot
        self._follower: Follower | None = None
        self._random = random_source
        self._groups: dict[_Group, asyncio.Task[None]] = {}
        self._group_of: dict[RunId, _Group] = {}
        # Those that can take another run, by slot; dicts, for their order and their O(1).
        self._with_room: defaultdict[int, dict[_Group, None]] = defaultdict(dict)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for group in self._groups:
            # Under a flood of events a cancellation may get lost again and again (see `cancel`),
            # since no read ever waits: they end by themselves.
            group.abandon()
        await cancel(list(self._groups.values()))

    @property
    def strategy(self) -> str:
        """What this strategy is called in settings and metrics."""
        return "block"

    @property
    def connection_count(self) -> int:
        """Connections that are blocked in XREAD, or about to be."""
        return len(self._groups)

    def attach(self, follower: Follower) -> None:
        """Sets who is told."""
        self._follower = follower

    def watch(self, run_id: RunId) -> None:
        """Puts the run into a group with room, or into a new one."""
        if run_id in self._group_of:
            return
        slot = slot_of(self._keys.key(run_id)) if self._by_slot else 0
        with_room = self._with_room[slot]
        group = next(iter(with_room), None)
        if group is None:
            assert self._follower is not None
            group = _Group(
                slot,
                self._server,
                self._settings,
                self._keys,
                self._follower,
                self.stats,
                self._random,
            )
            task = asyncio.create_task(group.run(), name="tail group")
            self._groups[group] = task
            with_room[group] = None
            task.add_done_callback(lambda done: self._ended(group, done))
        self._group_of[run_id] = group
        group.add(run_id)
        if group.full:
            self._no_room(group)

    def unwatch(self, run_id: RunId) -> None:
        """Takes the run out of its group; an empty group ends."""
        group = self._group_of.pop(run_id, None)
        if group is not None:
            group.remove(run_id)
            if group.full:
                self._no_room(group)
            else:
                self._with_room[group.slot][group] = None

    def _no_room(self, group: "_Group") -> None:
        with_room = self._with_room[group.slot]
        with_room.pop(group, None)
        if not with_room:
            del self._with_room[group.slot]

    def _ended(self, group: "_Group", task: asyncio.Task[None]) -> None:
        del self._groups[group]
        self._no_room(group)
        if not task.cancelled() and (error := task.exception()) is not None:
            # A defect: nobody may be left without a tail for it.
            logger.error("tail group failed", exc_info=error)
            for run_id in group.abandon():
                del self._group_of[run_id]
                self.watch(run_id)


class _Group:
    """A few dozen runs, one connection, one task."""

    def __init__(
        self,
        slot: int,
        server: Server,
        settings: TailSettings,
        keys: Keys,
        follower: Follower,
        stats: TailStats,
        random_source: random.Random,
    ) -> None:
        self.slot = slot
        self._server = server
        self._settings = settings
        self._keys = keys
        self._follower = follower
        self._stats = stats
        self._random = random_source
        self._runs: set[RunId] = set()
        # The version of the key set that is wanted, and the one that the XREAD has.
        self._wanted = 0
        self._blocked_on = 0
        self._changed = asyncio.Event()
        self._closed = False

    @property
    def full(self) -> bool:
        """Whether it takes no more runs; an empty one ends, and takes none either."""
        return self._closed or len(self._runs) >= self._settings.keys_per_connection

    def add(self, run_id: RunId) -> None:
        self._runs.add(run_id)
        self._wanted += 1
        self._changed.set()

    def remove(self, run_id: RunId) -> None:
        # Not worth an UNBLOCK, unless nothing is left to wait for: the XREAD ends soon enough.
        self._runs.discard(run_id)
        if not self._runs:
            self._closed = True
            self._wanted += 1
            self._changed.set()

    def abandon(self) -> set[RunId]:
        """Closes the group and hands over its runs."""
        self._closed = True
        runs, self._runs = self._runs, set()
        return runs

    async def run(self) -> None:
        failures = 0
        while not self._closed:
            try:
                async with self._server.link() as link:
                    unblock_id = await link.ask("CLIENT", "ID", timeout=ANSWER_MARGIN_SECONDS)
                    if failures:
                        self._stats.reconnects += 1
                        logger.info("tail resumed", runs=len(self._runs), attempts=failures)
                        failures = 0
                    await self._follow(link, unblock_id)
            except (LogUnavailable, RedisError, OSError, TimeoutError) as error:
                failures += 1
                if failures == 1:
                    self._stats.interruptions += 1
                    logger.warning("tail interrupted", runs=len(self._runs), error=describe(error))
                await asyncio.sleep(self._backoff(failures))

    async def _follow(self, link: Link, unblock_id: int) -> None:
        """Waits and tells, until the connection fails or the group is closed."""
        # Whatever happened while nobody looked: every position is proven anew.
        await self._follower.advance(list(self._runs))
        tasks = [
            asyncio.create_task(self._wait(link), name="tail wait"),
            asyncio.create_task(self._unblock(unblock_id), name="tail unblock"),
            asyncio.create_task(self._sweep(), name="tail sweep"),
        ]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            await cancel(tasks)

    async def _wait(self, link: Link) -> None:
        while not self._closed:
            version = self._wanted
            positions = {
                run_id: position
                for run_id in self._runs
                if (position := self._follower.position(run_id)) is not None
            }
            if not positions:
                self._blocked_on = version
                self._changed.clear()
                await self._changed.wait()
                continue
            runs = {self._keys.key(run_id).encode(): run_id for run_id in positions}
            self._blocked_on = version
            answer = await self._xread(link, list(runs), list(positions.values()))
            woken = [runs[key] for key, _ in answer]
            if woken:
                self._stats.wakeups += 1
                await self._follower.advance(woken)

    async def _xread(
        self, link: Link, keys: list[bytes], positions: Iterable[object]
    ) -> list[tuple[bytes, Any]]:
        milliseconds = round(self._settings.block_seconds * 1000)
        try:
            answer = await link.ask(
                *("XREAD", "COUNT", 1, "BLOCK", milliseconds, "STREAMS"),
                *keys,
                *(str(position) for position in positions),
                timeout=self._settings.block_seconds + ANSWER_MARGIN_SECONDS,
            )
        except ResponseError as error:
            if not str(error).startswith("WRONGTYPE"):
                raise
            # One key of another type fails the whole command: the look at each run finds it, and
            # the hub ends that run.
            await self._follower.advance(list(self._runs))
            return []
        return list(xread_items(answer))

    async def _unblock(self, unblock_id: int) -> None:
        while True:
            await self._changed.wait()
            while self._blocked_on != self._wanted:
                await self._server.ask("CLIENT", "UNBLOCK", unblock_id)
                await asyncio.sleep(_UNBLOCK_EVERY_SECONDS)
            self._changed.clear()

    async def _sweep(self) -> None:
        while not self._closed:
            await asyncio.sleep(self._settings.sweep_seconds)
            await self._follower.advance(list(self._runs))

    def _backoff(self, failures: int) -> float:
        return backoff_seconds(
            failures,
            base=self._settings.backoff_seconds,
            longest=self._settings.backoff_max_seconds,
            random_source=self._random,
        )
