"""A soak: runs come and go under mixed load, connections are killed, edges hang for moments; and
what the edges hold must not climb. Each run's viewers are checked as in any round.
"""

import asyncio
import random
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import httpx
from redis.asyncio import Redis
from rich.table import Table

from broker.redis.connections import command
from tests.faults.checker import check
from tests.faults.counterexample import counterexample
from tests.faults.history import FROM_LATEST, FROM_START, History, ViewerLog
from tests.faults.posts import Post
from tests.faults.producer import Producer
from tests.faults.stores import SingleStore
from tests.faults.surgery import Surgery, entries_of, labels_of
from tests.faults.trend import Quantity, Trend, trend
from tests.faults.watcher import Temper, Watcher
from tests.support.producer import key_of

__all__ = ["Outcome", "Soak"]

_EDGES: Final = {"edge 0 (notify)": "notify", "edge 1 (block)": "block"}
_LANES: Final = 6
"""Runs at a time."""
_VIEWERS: Final = 6
_EVENTS_PER_SECOND: Final = 25.0
_PADDING: Final = 400
_RUN_SECONDS: Final = (3.0, 8.0)
_DISTURB_SECONDS: Final = (5.0, 15.0)
_HANG_SECONDS: Final = 0.5
_SAMPLE_SECONDS: Final = 1.0
_END_SECONDS: Final = 30.0
_KEEPER: Final = 1000
_SHOWN: Final = 3

_RSS: Final = Quantity("resident memory", "MB", 6)
_DESCRIPTORS: Final = Quantity("file descriptors", "", 10)
_WATCHED: Final = Quantity("runs watched", "", 6)
_SUBSCRIBERS: Final = Quantity("viewers held", "", 15)
_CLIENTS: Final = Quantity("connections at Redis", "", 10)


@dataclass
class Outcome:
    """What came of it."""

    trends: dict[str, list[Trend]]
    """By process."""
    runs: int
    events: int
    frames: int
    connections: int
    flaws: list[str] = field(default_factory=list)
    """With what led to them."""

    @property
    def clean(self) -> bool:
        """Whether nothing climbs and nothing was wrong."""
        return not self.flaws and not any(
            each.climbs for trends in self.trends.values() for each in trends
        )

    def table(self) -> Table:
        """For the terminal."""
        table = Table(box=None, pad_edge=False)
        for head in ("process", "quantity", "first third", "last third", "limit", ""):
            table.add_column(head)
        for process, trends in self.trends.items():
            for each in trends:
                unit = f" {each.quantity.unit}" if each.quantity.unit else ""
                table.add_row(
                    process,
                    each.quantity.title,
                    *(f"{value:,.1f}{unit}" for value in (each.first, each.last, each.limit)),
                    "climbs" if each.climbs else "",
                    style="red" if each.climbs else None,
                )
        return table

    def summary(self) -> str:
        """In a line."""
        return (
            f"{self.runs:,} runs, {self.events:,} events, {self.frames:,} delivered over "
            f"{self.connections:,} connections, {len(self.flaws)} flaws"
        )


class Soak:
    """`run` it."""

    def __init__(self, seed: int, seconds: float, on_progress: Callable[[float], None]) -> None:
        """
        Args:
            seed: of all chance.
            seconds: how long.
            on_progress: called with the seconds that are over.
        """
        self._seed = seed
        self._source = random.Random(seed)
        self._seconds = seconds
        self._on_progress = on_progress
        self._store = SingleStore(append_only=False)
        self._posts: list[Post] = []
        self._samples: dict[tuple[str, Quantity], list[float]] = {}
        self._over = asyncio.Event()
        self._outcome = Outcome({}, 0, 0, 0, 0)

    async def run(self) -> Outcome:
        """Soaks."""
        async with AsyncExitStack() as stack:
            stack.callback(self._store.close)
            await asyncio.to_thread(self._store.start)
            for name, tail in _EDGES.items():
                settings = {"tail": tail, "linger_seconds": 0.5, "unsent_bytes": 20_000}
                post = Post(name, self._store.url, settings)
                self._posts.append(post)
                stack.callback(post.close)
                await post.start()
            worker = self._store.worker()
            client = worker.client
            stack.push_async_callback(worker.aclose)
            async with asyncio.TaskGroup() as group:
                for lane in range(_LANES):
                    group.create_task(self._lane(lane, client))
                group.create_task(self._disturb(client))
                group.create_task(self._sample(client))
        self._outcome.flaws += [trace for post in self._posts for trace in post.traces]
        for (process, quantity), samples in self._samples.items():
            self._outcome.trends.setdefault(process, []).append(trend(quantity, samples))
        return self._outcome

    # ---- load

    async def _lane(self, lane: int, client: Redis) -> None:
        """One run after the other."""
        source = random.Random(self._source.getrandbits(64))
        number = 0
        while not self._over.is_set():
            await self._play_run(f"lane{lane}-{number}", source, client)
            number += 1

    async def _play_run(self, run: str, source: random.Random, client: Redis) -> None:
        history = History()
        over = asyncio.Event()
        surgery = Surgery(client, history)
        watchers = [self._watcher(run, number, history, source) for number in range(_VIEWERS)]
        workers = [self._store.worker(), self._store.worker()]
        producer, keeper = (
            Producer(run, number, worker, history, random.Random(source.random()), _PADDING)
            for number, worker in zip((0, _KEEPER), workers, strict=True)
        )
        watching = [asyncio.create_task(watcher.watch()) for watcher in watchers]
        producing = asyncio.create_task(producer.produce(over, _EVENTS_PER_SECOND))
        try:
            deadline = time.monotonic() + source.uniform(*_RUN_SECONDS)
            while time.monotonic() < deadline:
                await asyncio.sleep(source.uniform(0.5, 1.5))
                await surgery.trim_below(run, 50)
            over.set()
            await producing
            for watcher in watchers:
                watcher.calm_down()
            await keeper.append_certainly(final=True)
            await asyncio.wait(watching, timeout=_END_SECONDS)
            history.kept[run] = labels_of(await entries_of(client, run))
            await client.delete(key_of(run))
        finally:
            for task in (producing, *watching):
                task.cancel()
            outcomes = await asyncio.gather(producing, *watching, return_exceptions=True)
            for worker in workers:
                await worker.aclose()
        for each in outcomes:
            if isinstance(each, Exception):
                raise each
        self._judge(history, watchers)

    def _watcher(self, run: str, number: int, history: History, source: random.Random) -> Watcher:
        log = ViewerLog(f"viewer {run}/{number}", run, source.choice((FROM_START, FROM_LATEST)))
        history.viewers.append(log)
        temper = (Temper.STEADY, Temper.RESTLESS, Temper.SLOW, Temper.STALLING)[number % 4]
        return Watcher(log, temper, self._posts, random.Random(source.random()))

    def _judge(self, history: History, watchers: list[Watcher]) -> None:
        outcome = self._outcome
        outcome.runs += 1
        outcome.events += len(history.appends)
        outcome.frames += sum(len(watcher.seen) for watcher in watchers)
        outcome.connections += sum(watcher.connections for watcher in watchers)
        again = f"python -m tests.faults soak --seed {self._seed}"
        for flaw in check(history):
            if len(outcome.flaws) < _SHOWN:
                outcome.flaws.append(counterexample(flaw, history, again))

    async def _disturb(self, client: Redis) -> None:
        """Now and then kills edges' connections to Redis, or has an edge hang."""
        while not self._over.is_set():
            try:
                async with asyncio.timeout(self._source.uniform(*_DISTURB_SECONDS)):
                    await self._over.wait()
            except TimeoutError:
                kind = self._source.choice(("normal", "pubsub", "edge"))
                if kind == "edge":
                    post = self._source.choice(self._posts)
                    post.pause()
                    await asyncio.sleep(_HANG_SECONDS)
                    post.resume()
                else:
                    await self._kill_connections_of_edges(client, kind)

    async def _kill_connections_of_edges(self, client: Redis, kind: str) -> None:
        """Workers' own are left alone, so that what they do needs no second try."""
        for found in await client.client_list(_type=kind):
            if found["name"].startswith("runcast"):
                await command(client, "CLIENT", "KILL", "ID", found["id"])

    # ---- samples

    async def _sample(self, client: Redis) -> None:
        began = time.monotonic()
        async with httpx.AsyncClient(timeout=5) as http:
            while (passed := time.monotonic() - began) < self._seconds:
                self._on_progress(passed)
                for post in self._posts:
                    await self._sample_edge(post, http)
                clients = [each["name"] for each in await client.client_list()]
                edges = sum(name.startswith("runcast") for name in clients)
                self._note("Redis", _CLIENTS, edges)
                await asyncio.sleep(_SAMPLE_SECONDS)
        self._over.set()
        self._on_progress(self._seconds)

    async def _sample_edge(self, post: Post, http: httpx.AsyncClient) -> None:
        proc = Path(f"/proc/{post.pid}")
        status = dict(
            line.split(":", 1) for line in (proc / "status").read_text().splitlines() if ":" in line
        )
        self._note(post.name, _RSS, int(status["VmRSS"].split()[0]) / 1024)
        self._note(post.name, _DESCRIPTORS, len(list((proc / "fd").iterdir())))
        text = (await http.get(f"{post.url}/metrics")).text
        values = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
        self._note(post.name, _WATCHED, float(values["runcast_runs_watched"]))
        self._note(post.name, _SUBSCRIBERS, float(values["runcast_subscribers"]))

    def _note(self, process: str, quantity: Quantity, value: float) -> None:
        self._samples.setdefault((process, quantity), []).append(value)
