"""One viewer: a cursor into its feed's log, and the state machine that moves it.

=========  =====================  =====================  =====================
input      REPLAYING              LIVE                   LAGGING
=========  =====================  =====================  =====================
replay     write; LIVE at the     ignored                ignored
           feed's end
push       ignored (it pulls)     write; LAGGING if too  ignored
                                  much is unsent
gap        say it, move; LIVE     say it, move           say it, move
(feed)     if it is there
drained    ignored                ignored                REPLAYING
tick       heartbeat if quiet;    heartbeat if quiet;    ENDED if stalled
           ENDED if stalled       ENDED if stalled
end        ENDED                  ENDED                  ENDED
=========  =====================  =====================  =====================

Whoever is neither at the feed's end nor waiting for its own socket is REPLAYING: right after it
came, after it was slow, after a reset. It turns LIVE in one step, without an ``await`` in between,
when its position is the feed's end; so there is nothing to merge and nothing to dedupe.
"""

from collections.abc import Callable, Sequence
from enum import Enum, auto
from typing import TYPE_CHECKING

from broker.engine.delivery import Batch, Sink, View
from broker.engine.ending import Ending
from broker.engine.limits import Limits
from broker.engine.page import Page
from broker.engine.stats import Stats
from broker.wire.frame import Frame, caught_up_block, gap_block, heartbeat_block, id_block
from broker.wire.gap import Gap
from broker.wire.ids import START, StreamId

if TYPE_CHECKING:
    from broker.engine.feed import Feed

__all__ = ["State", "Subscriber"]


class State(Enum):
    """Where a subscriber is in its life."""

    REPLAYING = auto()
    LIVE = auto()
    LAGGING = auto()
    ENDED = auto()


class Subscriber:
    """A connected viewer of one run."""

    def __init__(
        self,
        feed: "Feed",
        sink: Sink,
        view: View,
        *,
        position: StreamId,
        lenient: bool,
        limits: Limits,
        stats: Stats,
        on_pull: Callable[["Subscriber"], None],
        now: float,
    ) -> None:
        """
        Args:
            feed: the run; not joined before `join`.
            sink: where the bytes go.
            view: what is wanted.
            position: what comes after it is wanted.
            lenient: the position is `0-0` only for want of a better one: whatever is first is
                the beginning, and no gap.
            limits: the bounds.
            stats: where to count.
            on_pull: called when it turns REPLAYING; the callee brings pages to `replay`.
            now: the clock's time, in seconds.
        """
        self.feed = feed
        self.state = State.REPLAYING
        self.position = position
        self.lenient = lenient
        self.ending: Ending | None = None
        self.frames = 0
        self.bytes = 0
        self._sink = sink
        self._view = view
        self._limits = limits
        self._stats = stats
        self._on_pull = on_pull
        # The position that the client knows from an id it was sent.
        self._sent: StreamId | None = None
        self._caught_up_said = False
        self._wrote = True
        self._quiet_since = now
        self._taken = 0
        self._taken_at = now
        self._missing_since: float | None = None

    def join(self) -> None:
        """Becomes one of the feed's subscribers: live if it is at the end, else it pulls."""
        self.feed.subscribers.add(self)
        self._stats.subscribed += 1
        self._settle()
        if self.state is State.REPLAYING:
            self._on_pull(self)

    def greet(self, data: bytes) -> None:
        """Writes the stream's first bytes."""
        self._write(data)

    def push(self, batch: Batch) -> None:
        """Takes new frames from the feed, while LIVE."""
        assert self.state is State.LIVE
        self._send(batch)

    def replay(self, frames: Sequence[Frame]) -> None:
        """Takes frames that follow its position from the feed's window, while REPLAYING."""
        assert self.state is State.REPLAYING
        self._take(frames, self.position)

    def receive(self, page: Page, head: StreamId) -> None:
        """Takes a page that was read from its position, while REPLAYING.

        Only what lies below the window's head is taken from the page; the rest comes from the
        window, which is the one seam between the two.

        Args:
            page: ignored if the subscriber has been moved meanwhile.
            head: the window's head before the page was read. What was at or below it then and is
                not in a page that was not cut short is no longer in the stream.
        """
        if self.state is not State.REPLAYING or page.after != self.position:
            return
        final = self.feed.final
        if page.ended or (final is not None and self.position >= final):
            self.end(Ending.TERMINAL)
            return
        window = self.feed.window
        start, gap = page.start, page.gap
        if gap is not None and start > window.head:
            # The window still has what the stream has lost: the hole is smaller, or none.
            start = max(window.head, self.position)
            resumed_at = window.first or gap.resumed_at
            gap = None if start == self.position else Gap(gap.requested, resumed_at, gap.reason)
        if gap is not None:
            self._say(gap, start)
        self.lenient = False
        if start >= window.head:
            frames = window.tail(start, self._limits.page_bytes)
            self._take(frames, frames[-1].id if frames else self.feed.end)
            return
        below = [frame for frame in page.frames if frame.id <= window.head]
        if len(below) < len(page.frames):
            reached = window.head
        else:
            reached = page.last if page.more else max(page.last, head)
        self._take(below, reached)

    def rewind(self) -> None:
        """Goes back to the feed's end from beyond it.

        Right only when the feed was advanced after a page from this position was found to be
        without a gap: then no entry lies between the two, and none can come to lie there.
        """
        if self.state is State.REPLAYING:
            self.position = self.feed.end
            self._settle()

    def restart(self, gap: Gap) -> None:
        """The feed says that the run begins anew: all that the viewer has is void."""
        if self.state is not State.ENDED:
            self._say(Gap(self.position, gap.resumed_at, gap.reason), START)
            self.lenient = False
            self._settle()

    def skip(self, gap: Gap, position: StreamId) -> None:
        """The feed had to skip what was trimmed under its tail, while LIVE."""
        assert self.state is State.LIVE
        self._say(gap, position)

    def drained(self) -> None:
        """The sink has no unsent bytes left."""
        if self.state is State.LAGGING:
            self.state = State.REPLAYING
            self._settle()
            if self.state is State.REPLAYING:
                self._on_pull(self)

    def tick(self, now: float) -> None:
        """Looks at the clock: heartbeat, stall, a run that does not begin."""
        stalled = self._stalled(now)
        if self.state is State.ENDED:
            # What was unsent at the end still goes out, but not for ever.
            if stalled:
                self._sink.abort()
            return
        if stalled:
            self.end(Ending.STALLED)
        elif self._waited_for_run(now):
            self.end(Ending.RUN_MISSING)
        elif self._wrote:
            self._wrote = False
            self._quiet_since = now
        elif now - self._quiet_since >= self._limits.heartbeat_seconds:
            self._heartbeat()
            self._wrote = False
            self._quiet_since = now

    def end(self, ending: Ending) -> None:
        """Ends the stream; the first reason stands."""
        if self.state is State.ENDED:
            return
        if not ending.abrupt:
            self._carry_position()
        self.state = State.ENDED
        self.ending = ending
        self._stats.endings[ending] += 1
        self.feed.subscribers.discard(self)
        self.feed.live.discard(self)
        if ending.abrupt:
            self._sink.abort()
        else:
            self._sink.finish()

    def abandon(self) -> None:
        """Drops the connection, whatever is unsent."""
        self.end(Ending.DRAIN)
        self._sink.abort()

    def _take(self, frames: Sequence[Frame], reached: StreamId) -> None:
        """Sends `frames` and moves on: to the last of them, or to `reached` if that is further."""
        if frames:
            self._send(Batch(frames))
        self.position = max(self.position, reached)
        self._settle()

    def _send(self, batch: Batch) -> None:
        joined = batch.joined(self._view.types)
        self.position = batch.last.id
        if joined.frames:
            self._sent = joined.last
            self.frames += joined.frames
            self._stats.frames_delivered += joined.frames
            self._count(len(joined.data))
            self._sink.send(joined)
        if batch.last.final:
            self.end(Ending.TERMINAL)
        elif self._sink.unsent_bytes > self._limits.unsent_bytes:
            self._lag()

    def _write(self, data: bytes) -> None:
        self._count(len(data))
        self._sink.write(data)

    def _count(self, size: int) -> None:
        self._wrote = True
        self.bytes += size
        self._stats.bytes_delivered += size

    def _say(self, gap: Gap, position: StreamId) -> None:
        self._stats.gaps[gap.reason] += 1
        self.position = position
        if self._view.control:
            self._write(gap_block(gap))

    def _lag(self) -> None:
        if self.state is State.LIVE:
            self._stats.slow += 1
        self.state = State.LAGGING
        self.feed.live.discard(self)

    def _settle(self) -> None:
        """Goes live if it is at the feed's end."""
        if self.state is not State.REPLAYING or self.position != self.feed.end:
            return
        if self.feed.final is not None:
            self.end(Ending.TERMINAL)
            return
        self.state = State.LIVE
        self.feed.live.add(self)
        if self._view.control and not self._caught_up_said:
            self._caught_up_said = True
            self._write(caught_up_block(self.position))

    def _stalled(self, now: float) -> bool:
        if self._sink.unsent_bytes == 0 or self._sink.taken_bytes != self._taken:
            self._taken = self._sink.taken_bytes
            self._taken_at = now
            return False
        return now - self._taken_at >= self._limits.stall_timeout_seconds

    def _waited_for_run(self, now: float) -> bool:
        if self.position != START or self.feed.end != START:
            self._missing_since = None
            return False
        if self._missing_since is None:
            self._missing_since = now
        return now - self._missing_since >= self._limits.missing_run_timeout_seconds

    def _heartbeat(self) -> None:
        if self._sink.unsent_bytes:
            return
        moved = self._unsaid_position()
        if moved is not None:
            self._sent = moved
        self._write(heartbeat_block(as_event=self._view.heartbeat_as_event, position=moved))

    def _unsaid_position(self) -> StreamId | None:
        """Where a reconnect may begin, if that is past the last id that the client was sent."""
        if self._view.types is None or self.position == START:
            return None
        return self.position if self._sent is None or self.position > self._sent else None

    def _carry_position(self) -> None:
        moved = self._unsaid_position()
        if moved is not None:
            self._sent = moved
            self._write(id_block(moved))
