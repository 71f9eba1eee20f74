"""The hub: owns the feeds of this process, their subscribers, and every task of the engine."""

import asyncio
import random
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self

import structlog

from broker.engine.backoff import backoff_seconds
from broker.engine.cancelling import cancel
from broker.engine.delivery import Sink, View
from broker.engine.ending import Ending
from broker.engine.feed import Feed
from broker.engine.flight import FreshFlight, SingleFlight
from broker.engine.limits import Limits
from broker.engine.log import Log, LogUnavailable, NotAStream
from broker.engine.pacer import Pacer
from broker.engine.page import Page, PageReader
from broker.engine.recent import RecentPages
from broker.engine.replay import Replay
from broker.engine.stats import Stats
from broker.engine.subscriber import Subscriber, Surroundings
from broker.engine.term import UNLIMITED, Term
from broker.engine.tracing import Tracing
from broker.engine.visitor import UNKNOWN, Visitor
from broker.engine.wheel import TimerWheel
from broker.engine.window import WindowBudget
from broker.wire.frame import greeting
from broker.wire.ids import START, RunId, StreamId
from broker.wire.request import Beginning, Latest, Newest, Resume, Since, Start

__all__ = ["Follower", "Hub", "Opening", "Tail"]

logger = structlog.get_logger("runcast.engine")


class Tail(Protocol):
    """Says when a watched run may have changed. Knows no events and moves no position."""

    def attach(self, follower: "Follower") -> None:
        """Sets who is told; once, before anything is watched."""

    def watch(self, run_id: RunId) -> None:
        """Begins to look at a run; idempotent."""

    def unwatch(self, run_id: RunId) -> None:
        """Stops looking at it; idempotent."""


class Follower(Protocol):
    """The hub, as the tail sees it."""

    def position(self, run_id: RunId) -> StreamId | None:
        """Where the run's feed stands; `None` if it need not be watched."""

    async def advance(self, run_ids: Sequence[RunId]) -> Sequence[RunId]:
        """Takes what is new in these runs, with the proof that nothing before it was skipped.

        A page of each at most, so that a run with much news does not keep the others waiting.

        Returns:
            Those that have more.
        """


@dataclass(frozen=True, slots=True)
class Opening:
    """A checked way into a run: its feed, and the position to start from."""

    feed: Feed
    position: StreamId
    lenient: bool

    @property
    def over(self) -> bool:
        """Whether the run has ended and the position is at or past its terminal event."""
        return self.feed.final is not None and self.position >= self.feed.final

    @property
    def missing(self) -> bool:
        """Whether the run has no events and never had any."""
        return self.feed.end == START


class Hub:
    """Feeds, subscribers and tasks. Use it as an async context manager.

    One sweeper looks after heartbeats, stalls and idle feeds for the whole process. A task of its
    own runs for a viewer only while it is replaying.
    """

    def __init__(
        self,
        log: Log,
        tail: Tail,
        limits: Limits,
        stats: Stats,
        *,
        clock: Callable[[], float],
        wall_ms: Callable[[], float],
        random_source: random.Random,
        on_left: Callable[[Subscriber, float], None] = lambda subscriber, seconds: None,
        tracing: Tracing | None = None,
    ) -> None:
        """
        Args:
            log: where events are read from.
            tail: tells this hub of changes; not attached to another.
            limits: the bounds.
            stats: where to count.
            clock: monotonic seconds.
            wall_ms: milliseconds since 1970.
            random_source: for jitter.
            on_left: called with each viewer whose connection is over, and how long it lasted.
            tracing: is told of events that were pushed; `None`: nobody traces.
        """
        self.stats = stats
        self.draining = False
        self._log = log
        self._tail = tail
        self._limits = limits
        self._clock = clock
        self._wall_ms = wall_ms
        self._random = random_source
        self._reader = PageReader(log, limits, stats)
        self._replay = Replay(self._reader, limits.replay_concurrency, stats)
        self._opens: SingleFlight[RunId, Feed] = SingleFlight()
        self._advances: dict[RunId, FreshFlight] = {}
        self._feeds: dict[RunId, Feed] = {}
        self._recent = RecentPages(limits.recent_bytes, limits.recent_seconds, clock)
        self._budget = WindowBudget(limits.windows_bytes)
        self._idle: dict[Feed, float] = {}
        self._subscribers: TimerWheel[Subscriber] = TimerWheel(_wheel_width(limits))
        self._pacer: Pacer[Subscriber] = Pacer(clock, self._send_next)
        self._surroundings = Surroundings(
            limits, stats, clock, self._start_pulling, self._connection_closed, self._pacer.put
        )
        self._on_left = on_left
        self._tracing = tracing
        self._empty = asyncio.Event()
        self._empty.set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._needed: list[asyncio.Task[None]] = []
        tail.attach(self)

    async def __aenter__(self) -> Self:
        self._needed = [
            self._spawn(self._sweep(), "engine sweeper"),
            self._spawn(self._pacer.run(), "engine pacer"),
        ]
        return self

    async def __aexit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for subscriber in list(self._subscribers):
            subscriber.end(Ending.DRAIN)
        await cancel(list(self._tasks))
        await self._replay.aclose()
        await self._opens.aclose()

    @property
    def healthy(self) -> bool:
        """Whether those tasks run that everyone needs: nobody's heartbeat does without."""
        return bool(self._needed) and not any(task.done() for task in self._needed)

    @property
    def subscriber_count(self) -> int:
        """Viewers connected, those whose last bytes are still on their way included."""
        return len(self._subscribers)

    @property
    def subscribers(self) -> list[Subscriber]:
        """These viewers."""
        return list(self._subscribers)

    @property
    def live_count(self) -> int:
        """Viewers that the feeds push to."""
        return sum(len(feed.live) for feed in self._feeds.values())

    @property
    def feed_count(self) -> int:
        """Runs watched here."""
        return len(self._feeds)

    @property
    def unfinished(self) -> list[RunId]:
        """The runs watched here that have not ended."""
        return [run_id for run_id, feed in self._feeds.items() if feed.final is None]

    def has_viewers(self, run_id: RunId) -> bool:
        """Whether anybody is connected to the run here."""
        feed = self._feeds.get(run_id)
        return feed is not None and bool(feed.subscribers)

    @property
    def feeds(self) -> list[Feed]:
        """Of the runs watched here."""
        return list(self._feeds.values())

    @property
    def retry_milliseconds(self) -> int:
        """A spread-out time for a client to come back after."""
        base = self._limits.retry_seconds * 1000
        return round(base * self._random.uniform(0.5, 1.5))

    # ---- for viewers

    async def open(self, run_id: RunId, start: Start) -> Opening:
        """The way into a run for a viewer who wants it from `start`.

        Raises:
            LogUnavailable: Redis can't be read now.
            NotAStream: the key holds something else.
        """
        feed = self._feeds.get(run_id)
        if feed is None or (feed.final is not None and not self._serves(feed, start)):
            # An ended run is not watched any more; whether it is still the same run is asked anew.
            feed = await self._opens.do(run_id, lambda: self._open(run_id))
        match start:
            case Beginning():
                return Opening(feed, START, lenient=True)
            case Resume(cursor):
                return Opening(feed, cursor, lenient=False)
            case Latest():
                return Opening(feed, feed.end, lenient=feed.end == START)
            case Newest(count):
                ids = await self._log.newest(run_id, count + 1, None)
                found = ids[count] if len(ids) > count else None
            case Since(ms):
                ids = await self._log.newest(run_id, 1, StreamId(ms, 0))
                found = ids[0] if ids else None
        # A feed that is behind has these events before it: its end is the nearest proven place.
        if found is None:
            return Opening(feed, START, lenient=True)
        return Opening(feed, min(found, feed.end), lenient=False)

    async def page(self, opening: Opening, limit: int) -> Page:
        """One page of up to `limit` events from the opening's position, from Redis.

        It has fewer than there are only where they are large, or where a gap comes next.
        """
        run_id, epoch = opening.feed.run_id, opening.feed.epoch
        page = await self._replay.page(
            run_id, opening.position, epoch=epoch, lenient=opening.lenient, limit=limit
        )
        room = _JSON_PAGES * self._limits.page_bytes
        while page.more and len(page.events) < limit and page.size < room:
            following = await self._replay.page(
                run_id, page.last, epoch=epoch, limit=limit - len(page.events)
            )
            if following.gap is not None or following.ended:
                break
            page = page.joined(following)
        return page

    async def ends_at(self, opening: Opening) -> bool:
        """Whether the opening's position is at a terminal event that others follow.

        Only the entry itself tells. It comes with the page that the viewer is going to want, which
        is kept for them.
        """
        feed, position, epoch = opening.feed, opening.position, opening.feed.epoch
        if feed.window.covers(position) or self._recent.get(epoch, position, lenient=False):
            return False
        head, following = feed.window.head, feed.window.following(position)
        page = await self._replay.page(feed.run_id, position, epoch=epoch)
        if feed.epoch == epoch and self._fits(feed, page, head, following):
            self._keep(feed, page, lenient=False)
        return page.ended

    async def wait_for_move(self, feed: Feed, seen: StreamId, deadline: float) -> bool:
        """Waits until the feed's end is no longer `seen`.

        Args:
            feed: the run.
            seen: where the end was before the caller looked for events.
            deadline: the loop's time to stop waiting at.

        Returns:
            Whether it has moved.
        """
        feed = self._present(feed)
        moved = asyncio.Event()
        feed.listeners.add(moved.set)
        self._look_at_use(feed)
        try:
            async with asyncio.timeout_at(deadline):
                while feed.end == seen and not self.draining:
                    moved.clear()
                    await moved.wait()
        except TimeoutError:
            return False
        finally:
            feed.listeners.discard(moved.set)
            self._look_at_use(feed)
        return not self.draining

    def subscriber(
        self,
        opening: Opening,
        sink: Sink,
        view: View,
        term: Term = UNLIMITED,
        visitor: Visitor = UNKNOWN,
    ) -> Subscriber:
        """A viewer, to be admitted in the same step."""
        feed = self._present(opening.feed)
        feed.says_status |= view.status_seconds is not None
        return Subscriber(
            feed,
            sink,
            view,
            self._surroundings,
            position=opening.position,
            lenient=opening.lenient,
            term=term,
            visitor=visitor,
        )

    def admit(self, subscriber: Subscriber, first: bytes) -> None:
        """Connects a viewer, until `Subscriber.closed` is called; `first` begins its stream."""
        self._subscribers.put(subscriber, subscriber.look_at)
        self._empty.clear()
        subscriber.greet(first)
        subscriber.join()
        self._look_at_use(subscriber.feed)
        if self.draining:
            # On its way in when that began: nobody else sends it elsewhere.
            subscriber.end(Ending.DRAIN, greeting(self.retry_milliseconds))

    async def drain(self, seconds: float) -> None:
        """Takes no new viewers and ends the present ones, spread over `seconds`; each is told how
        long to wait before it comes back.

        Returns when every connection is over, or when as much time again has passed.
        """
        self.draining = True
        for feed in self._feeds.values():
            feed.notify()
        leaving = list(self._subscribers)
        self._random.shuffle(leaving)
        for index, subscriber in enumerate(leaving):
            subscriber.end(Ending.DRAIN, greeting(self.retry_milliseconds))
            if index % _DRAIN_GROUP == _DRAIN_GROUP - 1:
                await asyncio.sleep(seconds * _DRAIN_GROUP / len(leaving))
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._empty.wait()
        for subscriber in list(self._subscribers):
            subscriber.abandon()

    # ---- for the tail

    def position(self, run_id: RunId) -> StreamId | None:
        """Where the run's feed stands; `None` if it need not be watched."""
        feed = self._feeds.get(run_id)
        return None if feed is None or feed.final is not None else feed.end

    async def advance(self, run_ids: Sequence[RunId]) -> Sequence[RunId]:
        """See `Follower.advance`.

        Raises:
            LogUnavailable: Redis can't be read now; positions stand where it can't.
        """
        alone: list[RunId] = []
        if len(run_ids) == 1:
            alone += run_ids
        else:
            for start in range(0, len(run_ids), _RUNS_PER_READ):
                alone += await self._advance_together(run_ids[start : start + _RUNS_PER_READ])
        slots = asyncio.Semaphore(_ADVANCES)

        async def has_more(run_id: RunId) -> bool:
            async with slots:
                feed = self._feeds.get(run_id)
                return feed is not None and not await self._advance_page(feed)

        if len(alone) == 1:
            return alone if await has_more(alone[0]) else []
        outcomes = await asyncio.gather(*map(has_more, alone), return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome
        return [run_id for run_id, more in zip(alone, outcomes, strict=True) if more]

    def failed_over(self, concerned: Callable[[RunId], bool]) -> None:
        """Another Redis has taken over, before anything was read from it.

        Args:
            concerned: whether a run was on the one that it took over from.
        """
        self.stats.failovers += 1
        for feed in self._feeds.values():
            if feed.final is None and concerned(feed.run_id):
                feed.doubt(self._log.failovers(feed.run_id)[-1])

    # ---- inside

    @staticmethod
    def _serves(feed: Feed, start: Start) -> bool:
        match start:
            case Resume(cursor):
                return feed.window.covers(cursor) or cursor == feed.final
            case _:
                return False

    def _present(self, feed: Feed) -> Feed:
        """The feed that the run has now; a viewer may be late enough to find theirs let go."""
        present = self._feeds.get(feed.run_id)
        if present is not None or feed.final is not None:
            return feed if present is None else present
        # Watched again from where it stood: what came meanwhile is read from there.
        self._feeds[feed.run_id] = feed
        self._tail.watch(feed.run_id)
        self._look_at_use(feed)
        return feed

    async def _open(self, run_id: RunId) -> Feed:
        info = await self._log.info(run_id)
        feed = Feed(
            run_id,
            position=START if info is None else info.last_generated,
            final=None if info is None else info.final,
            final_type="" if info is None else info.final_type,
            limits=self._limits,
            budget=self._budget,
            stats=self.stats,
            tracing=self._tracing,
        )
        self._feeds[run_id] = feed
        self._look_at_use(feed)
        if feed.final is None:
            failovers = self._log.failovers(run_id)
            if failovers and failovers[-1].follows(feed.end):
                feed.doubt(failovers[-1])
            self._tail.watch(run_id)
        return feed

    async def _advance_together(self, run_ids: Sequence[RunId]) -> Sequence[RunId]:
        """Advances those runs that one small read for all is enough for; returns the others."""
        positions = {
            run_id: position
            for run_id in run_ids
            if (position := self.position(run_id)) is not None
        }
        try:
            pages = await self._reader.read_together(positions)
        except NotAStream:
            # One of them; it can't be told which.
            return list(positions)
        now, wall_ms = self._clock(), self._wall_ms()
        rest = []
        for run_id in positions:
            feed, page = self._feeds.get(run_id), pages.get(run_id)
            if feed is None or page is None or not self._apply(feed, page, now, wall_ms):
                rest.append(run_id)
        return rest

    async def _advance_page(self, feed: Feed) -> bool:
        """Reads a page and has the feed take it; whether that is all there was then."""
        if feed.final is not None:
            return True
        try:
            page = await self._reader.read(feed.run_id, feed.end)
        except NotAStream:
            for subscriber in list(feed.subscribers):
                subscriber.end(Ending.NOT_A_STREAM)
            self._drop(feed)
            feed.notify()
            return True
        return self._apply(feed, page, self._clock(), self._wall_ms())

    async def _advance_fully(self, feed: Feed) -> None:
        """Brings the feed to where the stream was when this was called, or further."""

        async def advance() -> None:
            while not await self._advance_page(feed):
                pass

        await self._advances.setdefault(feed.run_id, FreshFlight()).do(advance)

    def _apply(self, feed: Feed, page: Page, now: float, wall_ms: float) -> bool:
        """Has the feed take the page; whether it has all there was when the page was read."""
        # Another read may have moved it meanwhile, to before what only this one saw.
        fits = feed.apply(page, now=now, wall_ms=wall_ms)
        if feed.final is not None:
            # Another feed may have its place by now.
            if self._feeds.get(feed.run_id) is feed:
                self._tail.unwatch(feed.run_id)
            return True
        return fits and not page.more

    def _connection_closed(self, subscriber: Subscriber) -> None:
        if subscriber not in self._subscribers:
            return
        self._subscribers.discard(subscriber)
        self._pacer.discard(subscriber)
        if not self._subscribers:
            self._empty.set()
        self._look_at_use(subscriber.feed)
        self._on_left(subscriber, self._clock() - subscriber.started_at)

    def _start_pulling(self, subscriber: Subscriber) -> None:
        # Most who come back are a little behind: for them there is no need of a task.
        try:
            self._pull_from_memory(subscriber)
        except Exception:
            self._replay_failed(subscriber)
        if subscriber.pulls:
            self._spawn(self._pull(subscriber), f"replay {subscriber.feed.run_id}")

    async def _pull(self, subscriber: Subscriber) -> None:
        """Brings a subscriber forward for as long as it pulls."""
        failures = 0
        while subscriber.pulls:
            try:
                if self._pull_from_memory(subscriber):
                    await asyncio.sleep(0)
                    continue
                await self._pull_page(subscriber)
                failures = 0
            except NotAStream:
                subscriber.end(Ending.NOT_A_STREAM)
            except LogUnavailable:
                failures += 1
                await asyncio.sleep(self._backoff(failures))
            except Exception:
                self._replay_failed(subscriber)

    def _replay_failed(self, subscriber: Subscriber) -> None:
        """One viewer's page must not leave them hanging, nor end anyone else's stream."""
        logger.exception("replay failed", run=subscriber.feed.run_id)
        subscriber.end(Ending.ERROR)

    def _pull_from_memory(self, subscriber: Subscriber) -> bool:
        """Takes it one page further without Redis, if that is possible."""
        feed, position = subscriber.feed, subscriber.position
        batch = feed.window.read(position, subscriber.pull_bytes)
        if batch is None and subscriber.pull_events is None:
            batch = self._recent.get(feed.epoch, position, lenient=subscriber.lenient)
        if batch is None:
            return False
        self.stats.memory_hits += 1
        subscriber.replay(batch)
        return True

    async def _pull_page(self, subscriber: Subscriber) -> None:
        feed = subscriber.feed
        head, position, epoch = feed.window.head, subscriber.position, feed.epoch
        following = feed.window.following(position)
        lenient, limit = subscriber.lenient, subscriber.pull_events
        page = await self._replay.page(
            feed.run_id, position, epoch=epoch, lenient=lenient, limit=limit
        )
        if feed.epoch != epoch:
            # Read before the run began anew, and perhaps of what it was.
            return
        if self._fits(feed, page, head, following):
            if limit is None:
                self._keep(feed, page, lenient=lenient)
            subscriber.receive(page, head)
            return
        # The stream is not what the feed takes it for, or the feed is behind (the viewer may come
        # from a faster edge): the feed looks first, then the viewer is placed.
        ahead = position > feed.end
        await self._advance_fully(feed)
        if feed.epoch != epoch:
            return
        if page.ended:
            subscriber.receive(page, head)
            return
        if feed.final is not None:
            # An ended run is not watched: another may have its place by now.
            present = await self._opens.do(feed.run_id, lambda: self._open(feed.run_id))
            if present.end != feed.end:
                subscriber.move(present)
                self._look_at_use(feed)
                self._look_at_use(present)
                return
        if page.gap is not None or (ahead and position <= feed.end):
            subscriber.receive(page, head)
            return
        # What was read before the feed looked does not go with what it has found.
        head = feed.window.head
        again = await self._replay.page(
            feed.run_id, position, epoch=epoch, lenient=lenient, limit=limit
        )
        if feed.epoch != epoch:
            return
        if position <= feed.end:
            subscriber.receive(again, head)
        elif again.gap is None and subscriber.position == position:
            # There before the feed looked, and after: it looked at the same stream.
            subscriber.rewind()

    @staticmethod
    def _fits(feed: Feed, page: Page, head: StreamId, following: StreamId | None) -> bool:
        """Whether the page is of the stream that the feed takes the run for."""
        return page.gap is None and page.after <= feed.end and _meets(page, head, following)

    def _keep(self, feed: Feed, page: Page, *, lenient: bool) -> None:
        """Keeps a page that fits for others, if it is history."""
        if page.batch is not None and page.last <= feed.window.head:
            self._recent.put(feed.epoch, page.after, page.batch, lenient=lenient)

    def _send_next(self, subscriber: Subscriber) -> None:
        try:
            subscriber.send_next()
        except Exception:
            self._replay_failed(subscriber)

    def _backoff(self, failures: int) -> float:
        return backoff_seconds(
            failures,
            base=self._limits.retry_backoff_seconds,
            longest=self._limits.retry_backoff_max_seconds,
            random_source=self._random,
        )

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(self._subscribers.width_seconds)
            now = self._clock()
            for subscriber in self._subscribers.due(now):
                again = subscriber.tick(now)
                if subscriber in self._subscribers:
                    self._subscribers.put(subscriber, again)
            self._drop_idle(now)
            self._recent.forget_old()

    def _look_at_use(self, feed: Feed) -> None:
        """To be called when someone came to a feed, or left it."""
        if feed.subscribers or feed.listeners:
            self._idle.pop(feed, None)
        else:
            self._idle.setdefault(feed, self._clock())

    def _drop_idle(self, now: float) -> None:
        while self._idle:
            # The one that is idle for longest is first.
            feed = next(iter(self._idle))
            if now - self._idle[feed] < self._limits.linger_seconds:
                return
            del self._idle[feed]
            self._drop(feed)

    def _drop(self, feed: Feed) -> None:
        feed.window.restart(feed.end)
        if self._feeds.get(feed.run_id) is feed:
            del self._feeds[feed.run_id]
            self._tail.unwatch(feed.run_id)
            self._reader.forget(feed.run_id)
            self._advances.pop(feed.run_id, None)

    def _spawn(self, work: Coroutine[None, None, None], name: str) -> asyncio.Task[None]:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._finished)
        return task

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("task failed", task=task.get_name(), exc_info=error)


def _meets(page: Page, head: StreamId, following: StreamId | None) -> bool:
    """Whether what the page says of the stream fits the window that there was before it was read.

    Args:
        page: without a gap.
        head: where the window began: the page does not reach so far, or has that id.
        following: what the window had next after the page's position, if that was in it: so has
            the page.
    """
    if page.after >= head:
        return following is None or (bool(page.events) and page.events[0].id == following)
    if page.more and page.last < head:
        return True
    return any(event.id == head for event in page.events)


def _wheel_width(limits: Limits) -> float:
    """A heartbeat may be late by so much; at each step of it the process wakes up."""
    return max(0.005, min(1.0, limits.look_seconds / 32))


_RUNS_PER_READ = 64
"""How many runs are read in one command: bounds how long it holds up Redis, and others here."""
_ADVANCES = 8
"""How many runs are read at a time, of those that need reads of their own."""
_JSON_PAGES = 8
"""How many reads of the usual size one JSON page may take."""
_DRAIN_GROUP = 16
"""How many viewers leave in one step of a drain."""
