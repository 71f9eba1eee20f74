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

A *paced* viewer, who wants at most one event in a given time, never turns LIVE. REPLAYING, it takes
a few frames, sends them one by one as the pacer says, and takes more; at the feed's end it rests
until the feed moves.
"""

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import TYPE_CHECKING

from broker.engine.delivery import Batch, Sink, View
from broker.engine.ending import Ending
from broker.engine.limits import Limits
from broker.engine.live import LiveGroup
from broker.engine.page import Page
from broker.engine.stats import Stats
from broker.engine.term import UNLIMITED, Term
from broker.engine.visitor import UNKNOWN, Visitor
from broker.wire.dialect import SaysStatus
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
    """Called when one has come to want frames; the callee brings frames or pages."""
    on_closed: Callable[["Subscriber"], None]
    """Called when one's connection is over."""
    on_paced: Callable[["Subscriber", float], None]
    """Called with a paced one and when it is due; the callee calls its `send_next` then."""


class _Pacing:
    """What a paced subscriber keeps in mind besides."""

    __slots__ = ("due", "ends", "pending", "reached", "rests")

    def __init__(self, now: float) -> None:
        self.due = now
        """When the next event may be sent."""
        self.pending: deque[tuple[bytes, StreamId | None]] = deque()
        """Events, or pieces of them, that are taken and not sent; of a few frames at most. With
        the position after each, where that is known."""
        self.reached = START
        """The position after all of them."""
        self.ends = False
        """Whether the run ends with them."""
        self.rests = False
        """Whether it waits at the feed's end."""


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
        "_pacing",
        "_position",
        "_sent",
        "_status_at",
        "_surroundings",
        "_taken",
        "_taken_at",
        "_term",
        "_view",
        "_wrote_at",
        "address",
        "ending",
        "feed",
        "lenient",
        "number",
        "profile",
        "sink",
        "started_at",
        "state",
        "subject",
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
        term: Term = UNLIMITED,
        visitor: Visitor = UNKNOWN,
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
            term: how long it may stay.
            visitor: who is behind it.
        """
        self.feed = feed
        # Not as an object: there are many of them, each with one more to keep.
        self.number = visitor.number
        self.profile = visitor.profile
        self.subject = visitor.subject
        self.address = visitor.address
        self.sink = sink
        self.state = State.REPLAYING
        self.lenient = lenient
        self.ending: Ending | None = None
        self.started_at = surroundings.clock()
        """When it came, in seconds of the clock."""
        self._view = view
        self._term = term
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
        self._pacing = _Pacing(self.started_at) if view.delay_seconds else None
        seconds = view.status_seconds
        self._status_at = math.inf if seconds is None else self.started_at + seconds

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

    @property
    def of_one_run(self) -> bool:
        """Whether it may not see another run that takes the place of its own."""
        return self._term.one_run

    @property
    def look_at(self) -> float:
        """When to look at it first, in seconds of the clock."""
        return min(self.started_at + self._surroundings.limits.look_seconds, self._term.at)

    @property
    def pulls(self) -> bool:
        """Whether it wants frames or pages now."""
        pacing = self._pacing
        resting = pacing is not None and (pacing.rests or bool(pacing.pending))
        return self.state is State.REPLAYING and not resting

    @property
    def pull_bytes(self) -> int:
        """About how much it wants at a time."""
        limits = self._surroundings.limits
        return limits.page_bytes if self._pacing is None else limits.paced_bytes

    @property
    def pull_events(self) -> int | None:
        """How many events of a page it wants at most; `None` for as many as a page has."""
        return None if self._pacing is None else self._surroundings.limits.paced_events

    def join(self) -> None:
        """Becomes one of the feed's subscribers: live if it is at the end, else it pulls."""
        self._attach()
        self._surroundings.stats.subscribed += 1
        self._settle()
        self._go_on()

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
        if not self.pulls or page.after != self._position:
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
            rest = window.tail(start, self.pull_bytes)
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
            if self._term.one_run:
                self.end(Ending.RIGHT_UNKNOWN)
                return
            self._detach()
            self.feed = feed
            self._attach()
            self._settle()

    def restart(self, gap: Gap, *, headless: bool) -> None:
        """The feed says that the run begins anew: all that the viewer has is void.

        Args:
            gap: what to say of it.
            headless: whether the beginning of what follows may be gone.
        """
        if self.state is State.ENDED:
            return
        if self._term.one_run:
            self.end(Ending.RIGHT_UNKNOWN)
            return
        if self._pacing is not None:
            self._pacing.pending.clear()
        # Who stands at the start has nothing that could be.
        if self._position != START:
            self._say(Gap(self._position, gap.resumed_at, gap.reason), START)
            self.lenient = False
        elif headless and not self.lenient:
            # They want it all: a page of their own tells what is not there any more.
            self._go_on()
            return
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
            self._go_on()

    def send_next(self) -> None:
        """It is time for a paced one's next event."""
        pacing = self._pacing
        if self.state is not State.REPLAYING or pacing is None or not pacing.pending:
            return
        if self.sink.unsent_bytes:
            self.lag()
            return
        pacing.due = self._surroundings.clock() + self._view.delay_seconds
        self._frames += 1
        self._surroundings.stats.frames_delivered += 1
        data, position = pacing.pending.popleft()
        self._write(data)
        if position is not None:
            self._sent = self._position = position
        if not pacing.pending:
            self._move_past(pacing)
        self._go_on()

    def closed(self) -> None:
        """The connection is over."""
        self.end(Ending.CLIENT_GONE)
        self._surroundings.on_closed(self)

    def tick(self, now: float) -> float:
        """Looks at the clock: heartbeat, stall, a run that does not begin, the end of its term.

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
        elif now >= self._term.at:
            self.end(self._term.ending)
        elif self._waited_for_run(now):
            self.end(Ending.RUN_MISSING)
        else:
            heartbeat_at = self._quiet_since + limits.heartbeat_seconds
            if now >= heartbeat_at:
                self._heartbeat()
            else:
                again = min(again, heartbeat_at)
            again = min(again, self._say_status(now), self._term.at)
        return again

    def end(self, ending: Ending, last_line: bytes = b"") -> None:
        """Ends the stream; the first reason stands.

        Args:
            ending: the reason.
            last_line: what is still said, where the client is there to read it.
        """
        if self.state is State.ENDED:
            return
        if not ending.abrupt:
            self._carry_position()
            self._write(last_line)
        self._leave_group()
        self.state = State.ENDED
        self.ending = ending
        self._surroundings.stats.endings[ending] += 1
        self.feed.left_bytes += self._bytes
        self._detach()
        if ending.abrupt or (ending.forfeits and self.sink.unsent_bytes):
            self.sink.abort()
        else:
            self.sink.finish()

    def abandon(self) -> None:
        """Drops the connection, whatever is unsent."""
        self.end(Ending.DRAIN)
        self.sink.abort()

    def _take(self, batch: Batch | None, reached: StreamId) -> None:
        """Sends `batch` and moves on: to its last frame, or to `reached` if that is further."""
        if self._pacing is not None:
            self._take_paced(batch, reached, self._pacing)
            return
        if batch is not None:
            self._send(batch)
        self._position = max(self._position, reached)
        self._settle()

    def _attach(self) -> None:
        self.feed.subscribers.add(self)
        if self._pacing is not None:
            self.feed.listeners.add(self._feed_moved)

    def _detach(self) -> None:
        self.feed.subscribers.discard(self)
        self.feed.listeners.discard(self._feed_moved)

    def _feed_moved(self) -> None:
        pacing = self._pacing
        if pacing is not None and pacing.rests:
            pacing.rests = False
            self._settle()
            self._go_on()

    def _go_on(self) -> None:
        """Pulls, or waits for its time, as it is."""
        if self.pulls:
            self._surroundings.on_pull(self)
        elif self._pacing is not None and self._pacing.pending and self.state is State.REPLAYING:
            self._surroundings.on_paced(self, self._pacing.due)

    def _take_paced(self, batch: Batch | None, reached: StreamId, pacing: _Pacing) -> None:
        view = self._view
        types = view.types
        kept = () if batch is None else batch.frames
        frames = [frame for frame in kept if types is None or frame.type in types]
        # Events may be split, merged or left out: of those that begin with an id of ours it is
        # known where the viewer is then.
        ids = {b"id: %d-%d" % frame.id: frame.id for frame in frames}
        for data in (view.history or view.dialect).encode(frames):
            pacing.pending.append((data, ids.get(data[: data.find(b"\n")])))
        pacing.ends = batch is not None and batch.last.final
        pacing.reached = reached if batch is None else max(batch.last.id, reached)
        if pacing.pending:
            self._surroundings.on_paced(self, pacing.due)
        else:
            self._move_past(pacing)

    def _move_past(self, pacing: _Pacing) -> None:
        """All that a paced one had taken is sent."""
        self._position = max(self._position, pacing.reached)
        if pacing.ends:
            self.end(Ending.TERMINAL)
        else:
            self._settle()

    def _send(self, batch: Batch) -> None:
        view = self._view
        joined = batch.joined(view.types, view.history or view.dialect)
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
        if data:
            self._count(len(data))
            self.sink.write(data)

    def _count(self, size: int) -> None:
        self._wrote_at = self._surroundings.clock()
        self._bytes += size
        self._surroundings.stats.bytes_delivered += size

    def _say(self, gap: Gap, position: StreamId) -> None:
        self._surroundings.stats.gaps[gap.reason] += 1
        self._position = position
        if self._pacing is not None:
            self._pacing.pending.clear()
        view = self._view
        self._write(view.dialect.gap(gap))
        following = view.dialect.after_gap()
        history = view.history
        if following is not view.dialect:
            # What keeps something in mind must be one for replay and live.
            history = None
        elif history is not None:
            history = history.after_gap()
        if following is view.dialect and history is view.history:
            return
        live = self._group is not None
        self._leave_group()
        self._view = replace(view, dialect=following, history=history)
        if live:
            self._join_group()

    def _settle(self) -> None:
        """Goes live if it is at the feed's end; a paced one rests there."""
        if self.state is not State.REPLAYING or self._position != self.feed.end:
            return
        pacing = self._pacing
        if pacing is not None and pacing.pending:
            return
        if self.feed.final is not None:
            self.end(Ending.TERMINAL)
            return
        if pacing is None:
            self._join_group()
        else:
            pacing.rests = True
            self._view = replace(self._view, history=None)
        if self.feed.doubted:
            self._say(Gap(self._position, None, GapReason.FAILOVER), self._position)
        if not self._caught_up_said:
            self._caught_up_said = True
            self._write(self._view.dialect.caught_up(self._position))

    def _join_group(self) -> None:
        self.state = State.LIVE
        group = self._group = self.feed.live.join(self, self._view.types, self._view.dialect)
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
        self._write(self._view.dialect.heartbeat(moved))

    def _say_status(self, now: float) -> float:
        """Says how the run stands when it is time to; returns when it is next."""
        seconds, dialect = self._view.status_seconds, self._view.dialect
        if now >= self._status_at and seconds is not None and isinstance(dialect, SaysStatus):
            self._status_at = now + seconds
            if not self.sink.unsent_bytes:
                self._write(dialect.status(self.feed.status))
        return self._status_at

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
            self._write(self._view.dialect.moved(moved))
