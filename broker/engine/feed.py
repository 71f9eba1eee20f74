"""A feed: a run that is being watched here. Its window, its end, its subscribers."""

from collections.abc import Callable

from broker.engine.delivery import Batch
from broker.engine.page import Page
from broker.engine.stats import Stats
from broker.engine.subscriber import Subscriber
from broker.engine.window import Window
from broker.wire.gap import Gap
from broker.wire.ids import START, RunId, StreamId

__all__ = ["Feed"]


class Feed:
    """The tail's side of a run: takes pages, moves the end, pushes to who is live."""

    def __init__(
        self,
        run_id: RunId,
        *,
        position: StreamId,
        final: StreamId | None,
        window_bytes: int,
        stats: Stats,
    ) -> None:
        """
        Args:
            run_id: the run.
            position: the stream's last id when the feed was opened; `0-0` if there is none.
            final: the terminal event's id, if the run has ended.
            window_bytes: the window's bound.
            stats: where to count.
        """
        self.run_id = run_id
        self.window = Window(position, window_bytes)
        self.final = final
        self.subscribers: set[Subscriber] = set()
        self.live: set[Subscriber] = set()
        self.listeners: set[Callable[[], None]] = set()
        """Called after each move of the end."""
        self.idle_since: float | None = None
        self._stats = stats

    @property
    def end(self) -> StreamId:
        """The last id that the tail has taken."""
        return self.window.end

    def apply(self, page: Page, *, wall_ms: float) -> None:
        """Takes the page that follows the end; everyone live gets it in this same step.

        Args:
            page: ignored if it follows another position.
            wall_ms: the time in milliseconds since 1970, to measure how old the events are.
        """
        if page.after != self.end or self.final is not None:
            return
        if page.ended:
            self.final = self.end
            return
        if page.gap is not None:
            if page.start == START:
                self._restart(page.gap)
            else:
                self._skip(page.gap, page.start)
        if page.events:
            self._extend(page, wall_ms)
        self.notify()

    def notify(self) -> None:
        """Calls the listeners."""
        for listener in list(self.listeners):
            listener()

    def _extend(self, page: Page, wall_ms: float) -> None:
        frames = page.frames
        self.window.append(frames)
        if frames[-1].final:
            self.final = frames[-1].id
        self._stats.events_read += len(frames)
        live = list(self.live)
        batch = Batch(frames)
        for subscriber in live:
            subscriber.push(batch)
        self._observe(page, len(live), wall_ms)

    def _observe(self, page: Page, viewers: int, wall_ms: float) -> None:
        if not viewers:
            return
        for event in page.events:
            # Ids that producers count up by themselves (0-1, 0-2, …) say nothing about time.
            if event.id.ms:
                age = max(0.0, wall_ms - event.id.ms) / 1000
                self._stats.latency.observe(age, viewers)

    def _restart(self, gap: Gap) -> None:
        self.window.restart(START)
        for subscriber in list(self.subscribers):
            subscriber.restart(gap)

    def _skip(self, gap: Gap, position: StreamId) -> None:
        # Who is behind finds the hole by themselves when they pull.
        self.window.restart(position)
        for subscriber in list(self.live):
            subscriber.skip(gap, position)
