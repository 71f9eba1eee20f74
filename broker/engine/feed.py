"""A feed: a run that is being watched here. Its window, its end, its subscribers."""

from collections.abc import Callable
from itertools import count
from typing import Final

import structlog

from broker.engine.ending import Ending
from broker.engine.limits import Limits
from broker.engine.live import Live
from broker.engine.log import Failover
from broker.engine.page import Page
from broker.engine.stats import Stats
from broker.engine.subscriber import Subscriber
from broker.engine.tracing import Tracing
from broker.engine.window import Window, WindowBudget
from broker.wire.gap import Gap, GapReason
from broker.wire.ids import START, RunId, StreamId
from broker.wire.status import RUNNING

__all__ = ["Feed"]

logger = structlog.get_logger("runcast.engine")

_EPOCHS: Final = count()


class Feed:
    """The tail's side of a run: takes pages, moves the end, pushes to who is live."""

    def __init__(
        self,
        run_id: RunId,
        *,
        position: StreamId,
        final: StreamId | None,
        final_type: str = "",
        limits: Limits,
        budget: WindowBudget,
        stats: Stats,
        tracing: Tracing | None = None,
    ) -> None:
        """
        Args:
            run_id: the run.
            position: the stream's last id when the feed was opened; `0-0` if there is none.
            final: the terminal event's id, if the run has ended.
            final_type: its type.
            limits: the bounds.
            budget: what all windows together may hold.
            stats: where to count.
            tracing: is told of each page that was pushed; `None`: nobody traces.
        """
        self.run_id = run_id
        self.window = Window(position, limits.window_bytes, budget)
        self.final = final
        self.final_type = final_type
        """The terminal event's type; empty where it has none, or it is not known."""
        self.status = RUNNING
        """How the run stands, for viewers who are told; kept by whoever reads it."""
        self.says_status = False
        """Whether there are such viewers."""
        self.epoch = next(_EPOCHS)
        """Another one whenever what was known of the stream is void; never used twice."""
        self.doubted = False
        """Whether a failover may have lost what comes right after the end."""
        self._failover: Failover | None = None
        self.subscribers: set[Subscriber] = set()
        self.live = Live()
        self.listeners: set[Callable[[], None]] = set()
        """Called after each move of the end."""
        self.events = 0
        """Events taken since it is watched."""
        self.lag_seconds: float | None = None
        """How old the newest event was when it was pushed; `None` before the first, and for ids
        that are no times."""
        self.left_bytes = 0
        """What those viewers had been sent who have left."""
        self._unsent_limit = limits.unsent_bytes
        self._stats = stats
        self._tracing = tracing

    @property
    def end(self) -> StreamId:
        """The last id that the tail has taken."""
        return self.window.end

    def apply(self, page: Page, *, now: float, wall_ms: float) -> bool:
        """Takes the page that follows the end; everyone live gets it in this same step.

        Args:
            page: ignored if it follows another position.
            now: the clock's time, in seconds.
            wall_ms: the time in milliseconds since 1970, to measure how old the events are.

        Returns:
            Whether the page was taken.
        """
        if page.after != self.end or self.final is not None:
            return False
        if page.ended:
            self._finish(self.end)
            self.notify()
            return True
        if page.gap is not None:
            if page.gap.reason is GapReason.FAILOVER:
                # Who is live was told when it was noticed, or when they came.
                self.window.restart(page.start, sealed=True)
            elif page.start == START:
                self._restart(page.gap, headless=page.headless)
            else:
                self._skip(page.gap, page.start)
        if page.events:
            self._extend(page, now, wall_ms)
        if self.listeners:
            self.notify()
        return True

    def doubt(self, failover: Failover) -> None:
        """Another Redis has taken over: events that come right after the end may be lost.

        Who is live is told now, and who comes to be live while the end may be the place, then.
        Everybody else finds it between two events (see `PageReader`), where no window may hide it.
        """
        self.doubted = True
        self._failover = failover
        self.epoch = next(_EPOCHS)
        self.window.restart(self.end, sealed=True)
        self._say_doubt()

    def notify(self) -> None:
        """Calls the listeners."""
        for listener in list(self.listeners):
            listener()

    def _extend(self, page: Page, now: float, wall_ms: float) -> None:
        batch = page.batch
        assert batch is not None
        if self.end == START:
            self._end_those_of_one_run()
        self.window.append(batch.frames)
        self._stats.events_read += len(batch.frames)
        self.events += len(batch.frames)
        viewers = len(self.live)
        for group in self.live.groups:
            try:
                group.push(batch, self._unsent_limit, now, self._stats)
            except Exception:
                # A dialect of somebody else's must not keep the run from all others.
                logger.exception("encoding failed", run=self.run_id)
                for subscriber in list(group.members.values()):
                    subscriber.end(Ending.ERROR)
        if batch.last.final:
            self._finish(batch.last.id, batch.last.type)
        elif self._failover is not None:
            self._doubt_anew(self._failover)
        self._observe(page, viewers, wall_ms)
        if self._tracing is not None:
            self._tracing.pushed(self.run_id, page.events, read_ms=wall_ms, viewers=viewers)

    def _end_those_of_one_run(self) -> None:
        """Before the run begins: whether it is going to be the one that they may see was not known
        when they came. Who comes back is asked for their right anew."""
        for subscriber in list(self.subscribers):
            if subscriber.of_one_run:
                subscriber.end(Ending.RIGHT_UNKNOWN)

    def _doubt_anew(self, failover: Failover) -> None:
        """After new events. They may be from before the failover, where the run was read anew; and
        its time is not known so well that the next could not be the first after it."""
        before, self.doubted = self.doubted, failover.follows(self.end)
        if not self.doubted:
            self._failover = None
            return
        self.window.restart(self.end, sealed=True)
        if not before:
            self._say_doubt()

    def _say_doubt(self) -> None:
        gap = Gap(self.end, None, GapReason.FAILOVER)
        for subscriber in list(self.live):
            subscriber.doubt(gap)

    def _finish(self, final: StreamId, final_type: str = "") -> None:
        self.final = final
        self.final_type = final_type
        for subscriber in list(self.live):
            subscriber.end(Ending.TERMINAL)

    def _observe(self, page: Page, viewers: int, wall_ms: float) -> None:
        if not viewers:
            return
        for event in page.events:
            # Ids that producers count up by themselves (0-1, 0-2, …) say nothing about time.
            if event.id.ms:
                self.lag_seconds = max(0.0, wall_ms - event.id.ms) / 1000
                self._stats.latency.observe(self.lag_seconds, viewers)

    def _restart(self, gap: Gap, *, headless: bool) -> None:
        for subscriber in list(self.live):
            subscriber.unsettle()
        self.epoch = next(_EPOCHS)
        self.doubted = False
        end = self.end
        self.window.restart(START, sealed=headless)
        for subscriber in list(self.subscribers):
            # Who is beyond the end comes from an edge that has noticed before: their own page
            # tells where they are.
            if subscriber.position <= end or subscriber.of_one_run:
                subscriber.restart(gap, headless=headless)

    def _skip(self, gap: Gap, position: StreamId) -> None:
        # Who is behind finds the hole by themselves when they pull.
        self.window.restart(position)
        for subscriber in list(self.live):
            subscriber.skip(gap)
