"""One viewer: a cursor into its feed's log, and the state machine that moves it.

=========  =====================  =====================  =====================
input      REPLAYING              LIVE                   LAGGING
=========  =====================  =====================  =====================
replay     write; LIVE at the     ignored                ignored
           feed's end
push       ignored (it pulls)     write (`LiveGroup`);   ignored
                                  LAGGING if too much
                                  is unsent
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

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING

from broker.engine.delivery import Batch, Sink, View
from broker.engine.ending import Ending
from broker.engine.limits import Limits
from broker.engine.live import LiveGroup
from broker.engine.page import Page
from broker.engine.stats import Stats
from broker.wire.frame import caught_up_block, gap_block, heartbeat_block, id_block
from broker.wire.gap import Gap, GapReason
from broker.wire.ids import START, StreamId

if TYPE_CHECKING:
    from broker.engine.feed import Feed

__all__ = ["State", "Subscriber", "Surroundings"]


class State(Enum):
    """Where a subscriber is in its life."""

    REPLAYING = auto()
    LIVE = auto()
    LAGGING = auto()
    ENDED = auto()


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What all subscribers of a hub have in common; one object, since there are many of them."""

    limits: Limits
    stats: Stats
    clock: Callable[[], float]
    """Monotonic seconds."""
    on_pull: Callable[["Subscriber"], None]
    """Called when one turns REPLAYING; the callee brings frames or pages."""
    on_closed: Callable[["Subscriber"], None]
    """Called when one's connection is over."""


class Subscriber:
    """A connected viewer of one run."""

    __slots__ = (
        "_bytes",
        "_caught_up_said",
        "_frames",
        "_group",
        "_group_bytes",
        "_group_frames",
        "_missing_since",
        "_position",
        "_sent",
        "_surroundings",
        "_taken",
        "_taken_at",
        "_view",
        "_wrote_at",
        "ending",
        "feed",
        "lenient",
        "sink",
        "started_at",
        "state",
    )

    def __init__(
        self,
        feed: "Feed",
        sink: Sink,
        view: View,
        surroundings: Surroundings,
        *,
        position: StreamId,
        lenient: bool,
    ) -> None:
        """
        Args:
            feed: the run; not joined before `join`.
            sink: where the bytes go.
            view: what is wanted.
            surroundings: what it shares with others.
            position: what comes after it is wanted.
            lenient: the position is `0-0` only for want of a better one: whatever is first is
                the beginning, and no gap.
        """
        self.feed = feed
        self.sink = sink
        self.state = State.REPLAYING
        self.lenient = lenient
        self.ending: Ending | None = None
        self.started_at = surroundings.clock()
        """When it came, in seconds of the clock."""
        self._view = view
        self._surroundings = surroundings
        self._position = position
        self._frames = 0
        self._bytes = 0
        # While LIVE: the group, and how much it had been pushed when this one joined.
        self._group: LiveGroup | None = None
        self._group_frames = 0
        self._group_bytes = 0
        # The position that the client knows from an id it was sent.
        self._sent: StreamId | None = None
        self._caught_up_said = False
        self._wrote_at = self.started_at
        self._taken = 0
        self._taken_at = self.started_at
        self._missing_since: float | None = None

    @property
    def position(self) -> StreamId:
        """Up to where the viewer has been sent what it wants."""
        return self._position if self._group is None else self.feed.end

    @property
    def sent_frames(self) -> int:
        """Events sent so far."""
        group = self._group
        return self._frames + (0 if group is None else group.frames - self._group_frames)

    @property
    def sent_bytes(self) -> int:
        """Bytes of the stream sent so far."""
        group = self._group
        return self._bytes + (0 if group is None else group.bytes - self._group_bytes)

    def join(self) -> None:
        """Becomes one of the feed's subscribers: live if it is at the end, else it pulls."""
        self.feed.subscribers.add(self)
        self._surroundings.stats.subscribed += 1
        self._settle()
        if self.state is State.REPLAYING:
            self._surroundings.on_pull(self)

    def greet(self, data: bytes) -> None:
        """Writes the stream's first bytes."""
        self._write(data)

    def replay(self, batch: Batch) -> None:
        """Takes frames that follow its position and are proven to, while REPLAYING."""
        assert self.state is State.REPLAYING
        self.lenient = False
        self._take(batch, self._position)

    def receive(self, page: Page, head: StreamId) -> None:
        """Takes a page that was read from its position, while REPLAYING.

        Only what lies below the window's head is taken from the page; the rest comes from the
        window, which is the one seam between the two.

        Args:
            page: ignored if the subscriber has been moved meanwhile.
            head: the window's head before the page was read. What was at or below it then and is
                not in a page that was not cut short is no longer in the stream.
        """
        if self.state is not State.REPLAYING or page.after != self._position:
            return
        final = self.feed.final
        if page.ended or (final is not None and self._position >= final):
            self.end(Ending.TERMINAL)
            return
        window = self.feed.window
        start, gap = page.start, page.gap
        if gap is not None and start > window.head and gap.reason is not GapReason.FAILOVER:
            # The window still has what the stream has lost: the hole is smaller, or none.
            start = max(window.head, self._position)
            rest = window.tail(start, 0)
            resumed_at = gap.resumed_at if rest is None else rest.frames[0].id
            # A position that the window does not know may be of another stream.
            proven = start == self._position and window.covers(start)
            gap = None if proven else Gap(gap.requested, resumed_at, gap.reason)
        if gap is not None:
            self._say(gap, start)
        self.lenient = False
        if start >= window.head:
            rest = window.tail(start, self._surroundings.limits.page_bytes)
            self._take(rest, self.feed.end if rest is None else start)
        elif page.last <= window.head:
            # Nothing of it is in the window: everyone who shares the page shares its bytes.
            reached = page.last if page.more else max(page.last, head)
            self._take(page.batch, reached)
        else:
            below = [frame for frame in page.frames if frame.id <= window.head]
            self._take(Batch(below) if below else None, window.head)

    def rewind(self) -> None:
        """Goes back to the feed's end from beyond it.

        Right only when the feed was advanced after a page from this position was found to be
        without a gap: then no entry lies between the two, and none can come to lie there.
        """
        if self.state is State.REPLAYING:
            self._position = self.feed.end
            self._settle()

    def unsettle(self) -> None:
        """From LIVE back to REPLAYING, where it stands: the feed's end is about to jump."""
        self._leave_group()
        self.state = State.REPLAYING

    def move(self, feed: "Feed") -> None:
        """To another feed of the run, while REPLAYING: this one's run is over, and another has
        its place."""
        if self.state is State.REPLAYING:
            self.feed.subscribers.discard(self)
            self.feed = feed
            feed.subscribers.add(self)
            self._settle()

    def restart(self, gap: Gap) -> None:
        """The feed says that the run begins anew: all that the viewer has is void."""
        if self.state is State.ENDED:
            return
        # Who stands at the start has nothing that could be.
        if self._position != START:
            self._say(Gap(self._position, gap.resumed_at, gap.reason), START)
            self.lenient = False
        self._settle()

    def skip(self, gap: Gap) -> None:
        """The feed had to skip what was trimmed under its tail, while LIVE."""
        assert self.state is State.LIVE
        self._say(gap, self.feed.end)

    def doubt(self, gap: Gap) -> None:
        """The feed says what a failover may have lost, while LIVE."""
        assert self.state is State.LIVE
        self._say(gap, self.feed.end)

    def lag(self) -> None:
        """Too much is unsent: from here on it gets nothing until the sink has drained."""
        if self.state is State.LIVE:
            self._surroundings.stats.slow += 1
            self._leave_group()
        self.state = State.LAGGING

    def drained(self) -> None:
        """The sink has no unsent bytes left."""
        if self.state is State.LAGGING:
            self.state = State.REPLAYING
            self._settle()
            if self.state is State.REPLAYING:
                self._surroundings.on_pull(self)

    def closed(self) -> None:
        """The connection is over."""
        self.end(Ending.CLIENT_GONE)
        self._surroundings.on_closed(self)

    def tick(self, now: float) -> float:
        """Looks at the clock: heartbeat, stall, a run that does not begin.

        Returns:
            When to look again at the latest.
        """
        limits = self._surroundings.limits
        again = now + limits.look_seconds
        stalled = self._stalled(now)
        if self.state is State.ENDED:
            # What was unsent at the end still goes out, but not for ever.
            if stalled:
                self.sink.abort()
        elif stalled:
            self.end(Ending.STALLED)
        elif self._waited_for_run(now):
            self.end(Ending.RUN_MISSING)
        else:
            heartbeat_at = self._quiet_since + limits.heartbeat_seconds
            if now >= heartbeat_at:
                self._heartbeat()
            else:
                again = min(again, heartbeat_at)
        return again

    def end(self, ending: Ending) -> None:
        """Ends the stream; the first reason stands."""
        if self.state is State.ENDED:
            return
        if not ending.abrupt:
            self._carry_position()
        self._leave_group()
        self.state = State.ENDED
        self.ending = ending
        self._surroundings.stats.endings[ending] += 1
        self.feed.subscribers.discard(self)
        if ending.abrupt:
            self.sink.abort()
        else:
            self.sink.finish()

    def abandon(self) -> None:
        """Drops the connection, whatever is unsent."""
        self.end(Ending.DRAIN)
        self.sink.abort()

    def _take(self, batch: Batch | None, reached: StreamId) -> None:
        """Sends `batch` and moves on: to its last frame, or to `reached` if that is further."""
        if batch is not None:
            self._send(batch)
        self._position = max(self._position, reached)
        self._settle()

    def _send(self, batch: Batch) -> None:
        joined = batch.joined(self._view.types)
        self._position = batch.last.id
        unsent = 0
        if joined.frames:
            self._sent = joined.last
            self._frames += joined.frames
            self._surroundings.stats.frames_delivered += joined.frames
            self._count(joined.size)
            unsent = self.sink.send(joined)
        if batch.last.final:
            self.end(Ending.TERMINAL)
        elif unsent > self._surroundings.limits.unsent_bytes:
            self.lag()

    def _write(self, data: bytes) -> None:
        self._count(len(data))
        self.sink.write(data)

    def _count(self, size: int) -> None:
        self._wrote_at = self._surroundings.clock()
        self._bytes += size
        self._surroundings.stats.bytes_delivered += size

    def _say(self, gap: Gap, position: StreamId) -> None:
        self._surroundings.stats.gaps[gap.reason] += 1
        self._position = position
        if self._view.control:
            self._write(gap_block(gap))

    def _settle(self) -> None:
        """Goes live if it is at the feed's end."""
        if self.state is not State.REPLAYING or self._position != self.feed.end:
            return
        if self.feed.final is not None:
            self.end(Ending.TERMINAL)
            return
        self._join_group()
        if self.feed.doubted:
            self._say(Gap(self._position, None, GapReason.FAILOVER), self._position)
        if self._view.control and not self._caught_up_said:
            self._caught_up_said = True
            self._write(caught_up_block(self._position))

    def _join_group(self) -> None:
        self.state = State.LIVE
        group = self._group = self.feed.live.join(self, self._view.types)
        self._group_frames = group.frames
        self._group_bytes = group.bytes

    def _leave_group(self) -> None:
        """Takes over what the group knew of it; does nothing unless LIVE."""
        group = self._group
        if group is None:
            return
        self._position = self.feed.end
        self._sent = self._last_sent
        self._wrote_at = self._quiet_since
        self._frames, self._bytes = self.sent_frames, self.sent_bytes
        self._group = None
        self.feed.live.leave(self, group)

    @property
    def _last_sent(self) -> StreamId | None:
        group = self._group
        if group is None or group.last is None or group.frames == self._group_frames:
            return self._sent
        return group.last if self._sent is None else max(self._sent, group.last)

    @property
    def _quiet_since(self) -> float:
        group = self._group
        return self._wrote_at if group is None else max(self._wrote_at, group.pushed_at)

    def _stalled(self, now: float) -> bool:
        if self.sink.unsent_bytes == 0 or self.sink.taken_bytes != self._taken:
            self._taken = self.sink.taken_bytes
            self._taken_at = now
            return False
        return now - self._taken_at >= self._surroundings.limits.stall_timeout_seconds

    def _waited_for_run(self, now: float) -> bool:
        if self.position != START or self.feed.end != START:
            self._missing_since = None
            return False
        if self._missing_since is None:
            self._missing_since = now
        timeout = self._surroundings.limits.missing_run_timeout_seconds
        return now - self._missing_since >= timeout

    def _heartbeat(self) -> None:
        if self.sink.unsent_bytes:
            return
        moved = self._unsaid_position()
        if moved is not None:
            self._sent = moved
        self._write(heartbeat_block(as_event=self._view.heartbeat_as_event, position=moved))

    def _unsaid_position(self) -> StreamId | None:
        """Where a reconnect may begin, if that is past the last id that the client was sent."""
        if self._view.types is None or self.position == START:
            return None
        sent = self._last_sent
        return self.position if sent is None or self.position > sent else None

    def _carry_position(self) -> None:
        moved = self._unsaid_position()
        if moved is not None:
            self._sent = moved
            self._write(id_block(moved))
