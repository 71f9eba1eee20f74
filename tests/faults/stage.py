"""What a round is played on: Redis, two edges, the lines between, producers and viewers."""

import asyncio
import contextlib
import random
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from functools import partial
from types import TracebackType
from typing import Any, Final, Self

from redis.asyncio import Redis
from redis.exceptions import RedisError

from tests.faults.history import FROM_LATEST, FROM_START, History, Label, ViewerLog
from tests.faults.line import Line
from tests.faults.posts import Post
from tests.faults.producer import NOTE_TYPE, Producer
from tests.faults.stores import SingleStore, Store
from tests.faults.surgery import Surgery, entries_of, labels_of
from tests.faults.watcher import TERMINAL_TYPE, Temper, Watcher
from tests.support.waiting import eventually

__all__ = ["Needs", "Size", "Stage"]

_EDGES: Final = 2
_START_SECONDS: Final = 20.0
_END_SECONDS: Final = 30.0
_END_SLICE_SECONDS: Final = 0.25
_TEMPERS: Final = (
    *((Temper.STEADY,) * 4),
    *((Temper.RESTLESS,) * 4),
    Temper.SLOW,
    Temper.STALLING,
)
_BEGINNINGS: Final = (FROM_START, FROM_START, FROM_START, FROM_LATEST)
_SOME_TYPES: Final = frozenset({NOTE_TYPE, TERMINAL_TYPE})
_KEEPER: Final = 1000
"""The producer of each run that appends what must be there: the marker, and the end."""


@dataclass(frozen=True, slots=True)
class Size:
    """How much goes on in a round."""

    runs: int
    producers: int
    """Of each run."""
    viewers: int
    """Of each run."""
    events_per_second: float
    """Of each producer."""
    seconds: float
    """About how long a fault lasts."""
    strikes: int
    """How often it comes in a round."""


@dataclass(frozen=True, slots=True)
class Needs:
    """What a fault needs of the stage."""

    store: Callable[[], Store] = lambda: SingleStore(append_only=True)
    redis_line: bool = False
    """Whether edges reach Redis through a line."""
    viewer_lines: bool = False
    """Whether viewers reach edges through lines."""
    tempers: tuple[Temper, ...] = _TEMPERS
    padding: int = 400
    """Of events, in bytes, on average."""
    settings: dict[str, Any] = field(default_factory=dict)
    """Of the edges, besides those that every round has."""


class Stage:
    """A round's processes and tasks. Use it as an async context manager."""

    def __init__(self, needs: Needs, size: Size, seed: int) -> None:
        """
        Args:
            needs: what the fault asks for.
            size: how much goes on.
            seed: of all chance.
        """
        self.source = random.Random(seed)
        self.size = size
        self.history = History()
        self.store = needs.store()
        self.redis_line: Line | None = None
        self.posts: list[Post] = []
        self.runs = [f"r{seed % 10_000}-{number}" for number in range(size.runs)]
        self.watchers: list[Watcher] = []
        self._needs = needs
        self._over = asyncio.Event()
        self._producing: list[asyncio.Task[None]] = []
        self._watching: list[asyncio.Task[None]] = []
        self._keepers: dict[str, Producer] = {}
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            stack.callback(self.store.close)
            await asyncio.to_thread(self.store.start)
            await self._start_edges(stack)
            self._worker = self.store.worker()
            stack.push_async_callback(self._worker.aclose)
            producers = self._hire(stack)
            stack.push_async_callback(self._cancel_tasks)
            self._begin(producers)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._stack.aclose()

    @property
    def single(self) -> SingleStore:
        """The store, for faults that asked for a single server."""
        assert isinstance(self.store, SingleStore)
        return self.store

    @property
    def client(self) -> Redis:
        """An operator's client of the single server."""
        return self._worker.client

    @property
    def surgery(self) -> Surgery:
        """What may be done to the streams of the single server."""
        return Surgery(self.client, self.history)

    @property
    def viewer_lines(self) -> list[Line]:
        """The lines before the edges, where the fault asked for them."""
        return [post.line for post in self.posts if post.line is not None]

    @property
    def traces(self) -> list[str]:
        """Stack traces that edges wrote; complete once the stage is left."""
        return [trace for post in self.posts for trace in post.traces]

    # ---- the course of a round

    async def until_under_way(self) -> None:
        """Waits until every viewer watches and every run has some events."""
        await self._eventually(
            lambda: (
                all(watcher.log.entries for watcher in self.watchers)
                and all(self._appended(run) >= 20 for run in self.runs)
            ),
            _START_SECONDS,
        )

    async def until_flowing(self) -> None:
        """Waits until events flow again in every run, as between two strikes of a fault."""
        before = {run: self._appended(run) for run in self.runs}
        await self._eventually(
            lambda: all(self._appended(run) >= before[run] + 20 for run in self.runs),
            _START_SECONDS,
        )

    async def recovery(self) -> list[float]:
        """Appends one more event to each run, and has all viewers be calm.

        Returns:
            For each viewer, how many seconds from now until it had that event; or until the limit.
        """
        began = time.monotonic()
        for watcher in self.watchers:
            watcher.calm_down()
        markers = dict(
            zip(
                self.runs,
                await asyncio.gather(*(self._keepers[run].append_certainly() for run in self.runs)),
                strict=True,
            )
        )
        with contextlib.suppress(AssertionError):
            # The checker says who never caught up, and with what.
            await self._eventually(lambda: self._all_have(markers), _END_SECONDS)
        now = time.monotonic()
        return [
            watcher.seen.get(markers[watcher.log.run], now) - began for watcher in self.watchers
        ]

    async def metric(self, names: Sequence[str]) -> float:
        """What edges count under these names, all together."""
        values = await asyncio.gather(
            *(asyncio.to_thread(post.metric, name) for post in self.posts for name in names)
        )
        return sum(values)

    async def end(self) -> None:
        """Stops the producers, ends each run, and waits until every viewer has seen the end, or
        has had the time to. Then what Redis holds is noted."""
        self._over.set()
        await asyncio.gather(*self._producing)
        for run in self.runs:
            await self._keepers[run].append_certainly(final=True)
        # In slices: while the machine stands still, as some do now and then, only one goes by.
        for _ in range(round(_END_SECONDS / _END_SLICE_SECONDS)):
            _, waiting = await asyncio.wait(self._watching, timeout=_END_SLICE_SECONDS)
            if not waiting:
                break
        self._raise_failures()
        for run in self.runs:
            self.history.kept[run] = await eventually(partial(self._kept, run))

    # ---- inside

    async def _kept(self, run: str) -> dict[Label, str]:
        """What Redis holds of a run; empty if it could not be asked."""
        try:
            return labels_of(await entries_of(self._worker.client, run))
        except RedisError as error:
            self._worker.learn(error)
            return {}

    async def _start_edges(self, stack: AsyncExitStack) -> None:
        url = self.store.url
        if self._needs.redis_line:
            line = Line("redis line", self.single.port, self.source)
            self.redis_line = await stack.enter_async_context(line)
            url = f"redis://127.0.0.1:{line.port}/0"
        settings = {
            # Small pages and windows, so that every seam is crossed many times.
            "window_bytes": 20_000,
            "page_events": 50,
            "linger_seconds": 0.5,
            "unsent_bytes": 20_000,
            "tail": self.source.choice(("auto", "notify", "block")),
            "detach": self.source.random() < 0.75,
            **self._needs.settings,
        }
        self.posts = [Post(f"edge {number}", url, settings) for number in range(_EDGES)]
        for post in self.posts:
            stack.callback(post.close)
        await asyncio.gather(*(post.start() for post in self.posts))
        if self._needs.viewer_lines:
            for post in self.posts:
                line = Line(f"line to {post.name}", post.port, self.source)
                post.line = await stack.enter_async_context(line)

    def _hire(self, stack: AsyncExitStack) -> list[Producer]:
        """The producers of all runs, and a keeper for each."""
        producers = []
        for run in self.runs:
            for number in (*range(self.size.producers), _KEEPER):
                worker = self.store.worker()
                stack.push_async_callback(worker.aclose)
                source = self._own_source()
                producer = Producer(run, number, worker, self.history, source, self._needs.padding)
                if number == _KEEPER:
                    self._keepers[run] = producer
                else:
                    producers.append(producer)
        return producers

    def _begin(self, producers: list[Producer]) -> None:
        rate = self.size.events_per_second
        self._producing = [
            asyncio.create_task(producer.produce(self._over, rate), name="producer")
            for producer in producers
        ]
        self._watching = [
            asyncio.create_task(self._watcher(run, number).watch(), name=f"viewer {run}/{number}")
            for run in self.runs
            for number in range(self.size.viewers)
        ]

    def _watcher(self, run: str, number: int) -> Watcher:
        source = self._own_source()
        log = ViewerLog(
            f"viewer {run}/{number}",
            run,
            source.choice(_BEGINNINGS),
            _SOME_TYPES if source.random() < 0.15 else None,
        )
        self.history.viewers.append(log)
        tempers = self._needs.tempers
        watcher = Watcher(log, tempers[number % len(tempers)], self.posts, source)
        self.watchers.append(watcher)
        return watcher

    def _own_source(self) -> random.Random:
        """So that one's chance does not hang on when others throw their dice."""
        return random.Random(self.source.getrandbits(64))

    def _appended(self, run: str) -> int:
        return sum(append.id is not None for append in self.history.of_run(run).appends.values())

    def _all_have(self, markers: dict[str, Label]) -> bool:
        return all(markers[watcher.log.run] in watcher.seen for watcher in self.watchers)

    async def _eventually(self, condition: Callable[[], bool], within: float) -> None:
        """As `eventually`; but a task that has failed is said at once."""

        def holds() -> bool:
            self._raise_failures()
            return condition()

        await eventually(holds, within=within)

    def _raise_failures(self) -> None:
        for task in (*self._producing, *self._watching):
            if task.done() and not task.cancelled() and (error := task.exception()) is not None:
                raise error

    async def _cancel_tasks(self) -> None:
        tasks = [*self._producing, *self._watching]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
