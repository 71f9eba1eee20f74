"""The subscriber's states: a test per cell of the table in its docstring. No I/O."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import pytest

from broker.engine.delivery import Joined, OneByOne, View
from broker.engine.ending import Ending
from broker.engine.feed import Feed
from broker.engine.limits import Limits
from broker.engine.page import Page
from broker.engine.stats import Stats
from broker.engine.subscriber import State, Subscriber, Surroundings
from broker.engine.window import WindowBudget
from broker.wire.dialect import Native
from broker.wire.event import Event
from broker.wire.frame import Frame
from broker.wire.gap import Gap, GapReason
from broker.wire.id_schemes import ID_SCHEMES
from broker.wire.ids import START, RunId, StreamId
from broker.wire.shape import Shape
from broker.wire.shaped import BLOCK_PLACES, Block, Rules, Shaped, Words
from broker.wire.status import RunStatus
from tests.support.sse import Decoder, Message

LIMITS = Limits(
    window_bytes=1 << 20,
    unsent_bytes=1000,
    heartbeat_seconds=10,
    stall_timeout_seconds=30,
    missing_run_timeout_seconds=60,
)


def at(number: int) -> StreamId:
    return StreamId(number, 0)


def event(number: int, event_type: str = "chunk", *, size: int = 2, final: bool = False) -> Event:
    return Event(at(number), event_type, b"x" * size, final)


def page(
    after: StreamId,
    *events: Event,
    more: bool = False,
    gap: GapReason | None = None,
    start: StreamId | None = None,
) -> Page:
    said = None if gap is None else Gap(after, events[0].id if events else None, gap)
    return Page(after, after if start is None else start, tuple(events), said, more)


@dataclass(eq=False)
class SinkOnPaper:
    """A sink whose client takes everything at once, until it is told to stop."""

    fan = OneByOne

    stuck: bool = False
    written: bytearray = field(default_factory=bytearray)
    taken_bytes: int = 0
    finished: bool = False
    aborted: bool = False

    @property
    def unsent_bytes(self) -> int:
        return len(self.written) - self.taken_bytes

    def write(self, data: bytes) -> None:
        assert not self.finished
        self.written += data
        if not self.stuck:
            self.taken_bytes = len(self.written)

    def send(self, joined: Joined) -> int:
        self.write(joined.data)
        return self.unsent_bytes

    def take(self, count: int | None = None) -> None:
        self.taken_bytes = min(
            len(self.written), self.taken_bytes + (1 << 30 if count is None else count)
        )

    def finish(self) -> None:
        self.finished = True

    def abort(self) -> None:
        self.aborted = True


class Stage:
    """A feed, and subscribers that are asked to pull by being put on a list."""

    def __init__(self, *held: int, position: int = 0, final: int | None = None) -> None:
        self.stats = Stats()
        self.feed = Feed(
            RunId("r"),
            position=at(position),
            final=None if final is None else at(final),
            limits=LIMITS,
            budget=WindowBudget(LIMITS.windows_bytes),
            stats=self.stats,
        )
        self.now = 0.0
        self.pulling: list[Subscriber] = []
        self.left: list[Subscriber] = []
        self.due: dict[Subscriber, float] = {}
        self.surroundings = Surroundings(
            LIMITS,
            self.stats,
            lambda: self.now,
            self.pulling.append,
            self.left.append,
            self.due.__setitem__,
        )
        if held:
            self.tail(*(event(number) for number in held))

    def tail(self, *events: Event) -> None:
        self.apply(page(self.feed.end, *events))

    def tick(self, subscriber: Subscriber, now: float) -> float:
        self.now = now
        return subscriber.tick(now)

    def apply(self, what: Page) -> None:
        self.feed.apply(what, now=self.now, wall_ms=0)

    def join(self, position: int, view: View | None = None) -> tuple[Subscriber, SinkOnPaper]:
        sink = SinkOnPaper()
        subscriber = Subscriber(
            self.feed,
            sink,
            view or View(),
            self.surroundings,
            position=at(position),
            lenient=position == 0,
        )
        subscriber.join()
        return subscriber, sink

    def pull_from_window(self, subscriber: Subscriber) -> None:
        batch = self.feed.window.read(subscriber.position, 1 << 20)
        assert batch is not None
        subscriber.replay(batch)


def seen(sink: SinkOnPaper) -> list[Message]:
    decoder = Decoder()
    messages = decoder.feed(bytes(sink.written))
    assert not decoder.mid_frame
    return messages


def numbers(sink: SinkOnPaper) -> list[int]:
    return [int(message.id.split("-")[0]) for message in seen(sink) if message.own_id]


def types(sink: SinkOnPaper) -> list[str]:
    return [message.type for message in seen(sink)]


# ---- joining


def test_at_the_feeds_end_it_is_live_at_once() -> None:
    stage = Stage(position=4)
    subscriber, sink = stage.join(4)
    assert subscriber.state is State.LIVE
    assert stage.pulling == []
    assert types(sink) == ["runcast.caught-up"]


def test_anywhere_else_it_pulls() -> None:
    stage = Stage(5, 6, position=4)
    subscriber, sink = stage.join(4)
    assert subscriber.state is State.REPLAYING
    assert stage.pulling == [subscriber]
    assert types(sink) == []


# ---- replaying


def test_it_turns_live_in_the_step_that_reaches_the_end() -> None:
    stage = Stage(5, 6, position=4)
    subscriber, sink = stage.join(4)
    stage.pull_from_window(subscriber)
    assert subscriber.state is State.LIVE
    assert types(sink) == ["chunk", "chunk", "runcast.caught-up"]
    stage.tail(event(7))
    assert numbers(sink) == [5, 6, 7]


def test_what_is_pushed_while_it_replays_it_pulls_itself() -> None:
    stage = Stage(5, position=4)
    subscriber, sink = stage.join(4)
    stage.tail(event(6))
    assert numbers(sink) == []
    stage.pull_from_window(subscriber)
    assert numbers(sink) == [5, 6]


def test_from_a_page_it_takes_what_lies_below_the_window_and_no_more() -> None:
    stage = Stage(5, 6, position=4)
    subscriber, sink = stage.join(1)
    subscriber.receive(page(at(1), event(2), event(4), event(5), event(6)), head=at(4))
    assert numbers(sink) == [2, 4]
    assert subscriber.position == at(4)
    stage.pull_from_window(subscriber)
    assert numbers(sink) == [2, 4, 5, 6]


def test_a_page_cut_short_is_not_taken_for_all_there_is() -> None:
    stage = Stage(9, position=8)
    subscriber, _ = stage.join(1)
    subscriber.receive(page(at(1), event(2), event(3), more=True), head=at(8))
    assert subscriber.position == at(3)


def test_the_rest_below_the_window_was_deleted() -> None:
    stage = Stage(9, position=8)
    subscriber, _ = stage.join(1)
    subscriber.receive(page(at(1), event(2)), head=at(8))
    assert subscriber.position == at(8)


def test_a_window_that_moved_during_the_read_does_not_hide_what_it_let_go() -> None:
    # The page was read when the window began at 4; meanwhile it has let go of 5 and 6.
    stage = Stage(7, position=6)
    subscriber, _ = stage.join(1)
    subscriber.receive(page(at(1), event(2), event(4)), head=at(4))
    assert subscriber.position == at(4)


def test_a_page_for_another_position_is_ignored() -> None:
    stage = Stage(5, position=4)
    subscriber, sink = stage.join(1)
    subscriber.receive(page(at(2), event(3)), head=at(4))
    assert subscriber.position == at(1)
    assert numbers(sink) == []


def test_a_proven_position_between_the_windows_ids_goes_on_in_the_window() -> None:
    stage = Stage(5, 8, position=4)
    subscriber, sink = stage.join(6)
    subscriber.receive(page(at(6), event(8)), head=at(4))
    assert numbers(sink) == [8]
    assert subscriber.state is State.LIVE


def test_a_hole_is_said_before_what_follows_it() -> None:
    stage = Stage(9, position=8)
    subscriber, sink = stage.join(1)
    gap_page = page(at(1), event(6), event(8), gap=GapReason.TRIMMED, start=at(6).predecessor())
    subscriber.receive(gap_page, head=at(8))
    assert types(sink) == ["runcast.gap", "chunk", "chunk"]
    assert numbers(sink) == [6, 8]
    assert stage.stats.gaps[GapReason.TRIMMED] == 1


def test_the_window_makes_a_hole_smaller() -> None:
    # The stream has lost all up to 7, but the window still has 5 and 6.
    stage = Stage(5, 6, 7, position=4)
    subscriber, sink = stage.join(1)
    subscriber.receive(
        page(at(1), event(7), gap=GapReason.TRIMMED, start=at(7).predecessor()), head=at(4)
    )
    assert '"resumed_at":"5-0"' in seen(sink)[0].data
    assert numbers(sink) == [5, 6, 7]


def test_the_window_closes_a_hole() -> None:
    stage = Stage(5, 7, position=4)
    subscriber, sink = stage.join(5)
    subscriber.receive(
        page(at(5), event(9), gap=GapReason.TRIMMED, start=at(9).predecessor()), head=at(4)
    )
    assert types(sink) == ["chunk", "runcast.caught-up"]
    assert numbers(sink) == [7]


def test_the_window_closes_no_hole_after_a_position_that_it_does_not_know() -> None:
    # 6 may be of another stream, whose 1 to 5 are not this one's.
    stage = Stage(5, 7, position=0)
    subscriber, sink = stage.join(6)
    subscriber.receive(
        page(at(6), event(9), gap=GapReason.TRIMMED, start=at(9).predecessor()), head=at(0)
    )
    assert types(sink) == ["runcast.gap", "chunk", "runcast.caught-up"]
    assert '"resumed_at":"7-0"' in seen(sink)[0].data


def test_a_cursor_of_another_run_starts_anew() -> None:
    stage = Stage(position=5)
    subscriber, sink = stage.join(3)
    subscriber.receive(
        page(at(3), event(1), event(5), gap=GapReason.RESET, start=START), head=at(5)
    )
    assert types(sink) == ["runcast.gap", "chunk", "chunk", "runcast.caught-up"]
    assert subscriber.state is State.LIVE


def test_beyond_the_feed_it_goes_back_to_its_end() -> None:
    stage = Stage(position=5)
    subscriber, sink = stage.join(6)
    subscriber.rewind()
    assert subscriber.state is State.LIVE
    stage.tail(event(7))
    assert numbers(sink) == [7]


def test_a_page_that_says_the_run_is_over_ends_it() -> None:
    stage = Stage(position=5)
    subscriber, sink = stage.join(3)
    subscriber.receive(Page(at(3), at(3), (), ended=True), head=at(5))
    assert subscriber.ending is Ending.TERMINAL
    assert sink.finished


def test_beyond_the_end_of_the_run_nothing_is_served() -> None:
    stage = Stage(position=5)
    subscriber, sink = stage.join(7)
    stage.tail(event(6, "done", final=True))
    gap_page = page(at(7), event(9), gap=GapReason.TRIMMED, start=at(9).predecessor())
    subscriber.receive(gap_page, head=at(5))
    assert subscriber.ending is Ending.TERMINAL
    assert numbers(sink) == []


def test_the_terminal_event_ends_the_replay() -> None:
    stage = Stage(position=5, final=5)
    subscriber, sink = stage.join(3)
    subscriber.receive(page(at(3), event(4), event(5, "done", final=True)), head=at(5))
    assert numbers(sink) == [4, 5]
    assert subscriber.ending is Ending.TERMINAL
    assert "runcast.caught-up" not in types(sink)


def test_an_ended_run_whose_terminal_event_is_gone_ends_all_the_same() -> None:
    stage = Stage(position=5, final=5)
    subscriber, _ = stage.join(3)
    subscriber.receive(page(at(3), event(4)), head=at(5))
    assert subscriber.ending is Ending.TERMINAL


# ---- live


def test_one_write_per_batch() -> None:
    stage = Stage(position=4)
    _, sink = stage.join(4)
    before = len(sink.written)
    stage.tail(event(5), event(6), event(7))
    assert numbers(sink) == [5, 6, 7]
    assert stage.stats.frames_delivered == 3
    assert stage.stats.bytes_delivered == len(sink.written)
    assert before < len(sink.written)


def test_all_viewers_share_the_same_bytes() -> None:
    written: list[bytes] = []

    class Recorder(SinkOnPaper):
        def write(self, data: bytes) -> None:
            written.append(data)
            super().write(data)

    stage = Stage(position=4)
    for _ in range(2):
        Subscriber(
            stage.feed, Recorder(), View(dialect=Native(control=False)), stage.surroundings,
            position=at(4), lenient=False,
        ).join()  # fmt: skip
    stage.tail(event(5), event(6))
    assert written[0] is written[1]


def test_a_slow_viewer_goes_back_to_pulling_and_misses_nothing() -> None:
    stage = Stage(position=4)
    subscriber, sink = stage.join(4)
    sink.stuck = True
    stage.tail(event(5, size=2000))
    assert subscriber.state is State.LAGGING
    assert stage.stats.slow == 1
    stage.tail(event(6), event(7))
    assert numbers(sink) == [5]
    sink.stuck = False
    sink.take()
    subscriber.drained()
    assert subscriber.state is State.REPLAYING
    assert stage.pulling == [subscriber]
    stage.pull_from_window(subscriber)
    assert numbers(sink) == [5, 6, 7]
    assert subscriber.state is State.LIVE
    assert types(sink).count("runcast.caught-up") == 1


def test_memory_of_a_slow_viewer_is_bounded() -> None:
    stage = Stage(position=4)
    _, sink = stage.join(4)
    sink.stuck = True
    for number in range(5, 500):
        stage.tail(event(number, size=400))
    assert sink.unsent_bytes < LIMITS.unsent_bytes + 600


def test_a_slow_viewer_that_drained_with_nothing_missed_is_live_again() -> None:
    stage = Stage(position=4)
    subscriber, sink = stage.join(4)
    sink.stuck = True
    stage.tail(event(5, size=2000))
    sink.take()
    subscriber.drained()
    assert subscriber.state is State.LIVE


def test_what_the_stream_lost_under_the_tail_is_said() -> None:
    stage = Stage(position=4)
    subscriber, sink = stage.join(4)
    lost = page(at(4), event(9), gap=GapReason.TRIMMED, start=at(9).predecessor())
    stage.apply(lost)
    assert types(sink) == ["runcast.caught-up", "runcast.gap", "chunk"]
    assert numbers(sink) == [9]
    assert subscriber.state is State.LIVE


def test_a_run_that_begins_anew_is_told_to_everyone() -> None:
    stage = Stage(5, 6, position=4)
    live, live_sink = stage.join(6)
    replaying, replaying_sink = stage.join(1)
    lagging, lagging_sink = stage.join(6)
    lagging_sink.stuck = True
    stage.tail(event(7, size=2000))
    stage.apply(page(at(7), event(1), event(2), gap=GapReason.RESET, start=START))
    assert numbers(live_sink) == [7, 1, 2]
    assert numbers(replaying_sink) == [1, 2]
    lagging_sink.take()
    lagging.drained()
    stage.pull_from_window(lagging)
    assert numbers(lagging_sink) == [7, 1, 2]
    assert {live.state, replaying.state, lagging.state} == {State.LIVE}
    for sink in (live_sink, replaying_sink, lagging_sink):
        assert types(sink).count("runcast.gap") == 1


def test_the_terminal_event_ends_the_stream() -> None:
    stage = Stage(position=4)
    subscriber, sink = stage.join(4)
    stage.tail(event(5), event(6, "done", final=True))
    assert numbers(sink) == [5, 6]
    assert sink.finished
    assert subscriber.ending is Ending.TERMINAL
    assert stage.feed.subscribers == set()
    assert stage.feed.final == at(6)


# ---- views


def test_only_the_wanted_types() -> None:
    stage = Stage(position=4)
    subscriber, sink = stage.join(4, View(types=frozenset({"a"})))
    stage.tail(event(5, "a"), event(6, "b"), event(7, "a"), event(8, "b"))
    assert numbers(sink) == [5, 7]
    assert subscriber.position == at(8)


def test_the_heartbeat_moves_the_cursor_over_unwanted_events() -> None:
    stage = Stage(position=4)
    subscriber, sink = stage.join(4, View(types=frozenset({"a"})))
    stage.tail(event(5, "b"))
    stage.tick(subscriber, 0)
    stage.tick(subscriber, 10)
    assert bytes(sink.written).endswith(b": heartbeat\nid: 5-0\n\n")
    stage.tick(subscriber, 20)
    assert bytes(sink.written).endswith(b"\n: heartbeat\n")


def test_an_unwanted_terminal_event_still_moves_the_cursor_so_that_a_reconnect_ends() -> None:
    stage = Stage(position=4)
    _, sink = stage.join(4, View(types=frozenset({"a"})))
    stage.tail(event(5, "done", final=True))
    assert bytes(sink.written).endswith(b"id: 5-0\n\n")
    assert sink.finished


def test_without_control_events() -> None:
    stage = Stage(position=4)
    subscriber, sink = stage.join(4, View(dialect=Native(control=False)))
    stage.apply(page(at(4), event(9), gap=GapReason.TRIMMED, start=at(9).predecessor()))
    assert types(sink) == ["chunk"]
    assert stage.stats.gaps[GapReason.TRIMMED] == 1
    assert subscriber.state is State.LIVE


# ---- time


def test_a_heartbeat_to_who_was_quiet() -> None:
    stage = Stage(position=4)
    subscriber, sink = stage.join(4)
    for second in range(9):
        stage.tick(subscriber, second)
    assert b"heartbeat" not in sink.written
    stage.now = 9
    stage.tail(event(5))
    for second in range(9, 19):
        stage.tick(subscriber, second)
    assert b"heartbeat" not in sink.written
    stage.tick(subscriber, 19)
    assert sink.written.count(b": heartbeat\n") == 1


def test_it_says_when_to_look_again() -> None:
    stage = Stage(position=4)
    subscriber, _ = stage.join(4)
    assert LIMITS.look_seconds == 7.5
    assert stage.tick(subscriber, 1) == 8.5
    # Not later than its heartbeat.
    assert stage.tick(subscriber, 8.5) == 10
    assert stage.tick(subscriber, 10) == 17.5


def test_what_was_pushed_to_its_group_counts_as_its_own() -> None:
    stage = Stage(position=4)
    stage.join(4)
    stage.tail(event(5), event(6))
    subscriber, sink = stage.join(6)
    before = len(sink.written)
    assert (subscriber.sent_frames, subscriber.sent_bytes) == (0, before)
    stage.tail(event(7))
    assert (subscriber.sent_frames, subscriber.sent_bytes) == (1, len(sink.written))
    subscriber.end(Ending.DRAIN)
    stage.tail(event(8))
    assert (subscriber.sent_frames, subscriber.sent_bytes) == (1, len(sink.written))


def test_an_id_that_its_group_was_sent_before_it_came_is_not_its_own() -> None:
    stage = Stage(position=4)
    view = View(types=frozenset({"a"}))
    stage.join(4, view)
    stage.tail(event(5, "a"))
    late, late_sink = stage.join(5, view)
    stage.tick(late, 10)
    assert bytes(late_sink.written).endswith(b": heartbeat\nid: 5-0\n\n")


def test_a_heartbeat_as_an_event() -> None:
    stage = Stage(position=4)
    subscriber, sink = stage.join(4, View(dialect=Native(heartbeat_as_event=True)))
    stage.tick(subscriber, 0)
    stage.tick(subscriber, 10)
    assert types(sink)[-1] == "heartbeat"


def test_no_heartbeat_behind_unsent_bytes() -> None:
    stage = Stage(position=4)
    subscriber, sink = stage.join(4)
    sink.stuck = True
    stage.tail(event(5))
    for second in range(29):
        stage.tick(subscriber, second)
    assert b"heartbeat" not in sink.written


@pytest.mark.parametrize("size", [2, 2000])
def test_who_takes_nothing_is_dropped(size: int) -> None:
    stage = Stage(position=4)
    subscriber, sink = stage.join(4)
    stage.tick(subscriber, 0)
    sink.stuck = True
    stage.tail(event(5, size=size))
    stage.tick(subscriber, 29)
    assert subscriber.ending is None
    stage.tick(subscriber, 30)
    assert subscriber.ending is Ending.STALLED
    assert sink.aborted


def test_who_takes_a_little_is_not_dropped() -> None:
    stage = Stage(position=4)
    subscriber, sink = stage.join(4)
    sink.stuck = True
    stage.tail(event(5, size=2000))
    for second in range(0, 200, 20):
        sink.take(1)
        stage.tick(subscriber, second)
    assert subscriber.state is State.LAGGING


def test_last_bytes_are_not_waited_for_for_ever() -> None:
    stage = Stage(position=4)
    subscriber, sink = stage.join(4)
    sink.stuck = True
    stage.tick(subscriber, 0)
    stage.tail(event(5, "done", final=True))
    stage.tick(subscriber, 1)
    assert sink.finished
    assert not sink.aborted
    stage.tick(subscriber, 31)
    assert sink.aborted


def test_a_run_that_does_not_begin() -> None:
    stage = Stage()
    subscriber, sink = stage.join(0)
    for second in range(0, 60, 5):
        stage.tick(subscriber, second)
    assert subscriber.ending is None
    stage.tick(subscriber, 60)
    assert subscriber.ending is Ending.RUN_MISSING
    assert sink.finished


def test_a_run_that_begins_is_not_missing() -> None:
    stage = Stage()
    subscriber, _ = stage.join(0)
    stage.tick(subscriber, 0)
    stage.tail(event(1))
    stage.tick(subscriber, 1000)
    assert subscriber.state is State.LIVE


# ---- the end


@pytest.mark.parametrize("state", [State.LIVE, State.LAGGING, State.REPLAYING])
def test_it_can_end_from_every_state(state: State) -> None:
    stage = Stage(5, position=4)
    subscriber, sink = stage.join(4 if state is State.REPLAYING else 5)
    if state is State.LAGGING:
        sink.stuck = True
        stage.tail(event(6, size=2000))
    assert subscriber.state is state
    subscriber.end(Ending.DRAIN)
    assert (subscriber.ending, sink.finished) == (Ending.DRAIN, True)
    assert not stage.feed.subscribers
    assert not stage.feed.live
    subscriber.end(Ending.CLIENT_GONE)
    assert subscriber.ending is Ending.DRAIN
    assert stage.stats.endings[Ending.DRAIN] == 1
    assert stage.stats.endings[Ending.CLIENT_GONE] == 0


def test_after_the_end_nothing_is_written() -> None:
    stage = Stage(5, position=4)
    subscriber, sink = stage.join(4)
    subscriber.end(Ending.CLIENT_GONE)
    before = bytes(sink.written)
    subscriber.receive(page(at(4), event(5)), head=at(4))
    subscriber.drained()
    subscriber.rewind()
    subscriber.restart(Gap(at(4), None, GapReason.RESET), headless=False)
    stage.tick(subscriber, 1000)
    stage.tail(event(6))
    assert bytes(sink.written) == before


def test_endings_say_whether_to_come_back() -> None:
    assert not Ending.TERMINAL.come_back
    assert Ending.DRAIN.come_back
    assert all(isinstance(ending.come_back, bool) for ending in Ending)


@dataclass(frozen=True)
class Upper(Native):
    """Another dialect, to tell who gets what."""

    broken: bool = False
    mended: bool = False

    def encode(self, frames: Sequence[Frame]) -> Sequence[bytes]:
        if self.broken:
            raise ZeroDivisionError
        return [frame.wire.upper() for frame in frames]

    def after_gap(self) -> "Upper":
        return replace(self, mended=True)


def test_viewers_with_equal_dialects_share_their_bytes() -> None:
    stage = Stage(1, 2)
    sinks = [stage.join(2, View(dialect=Upper()))[1] for _ in range(2)]
    _, native = stage.join(2)
    stage.tail(event(3))
    assert len(stage.feed.live.groups) == 2
    assert sinks[0].written == sinks[1].written
    assert bytes(native.written).endswith(b"id: 3-0\nevent: chunk\ndata: xx\n\n")
    assert bytes(sinks[0].written).endswith(b"ID: 3-0\nEVENT: CHUNK\nDATA: XX\n\n")


def test_a_dialect_that_fails_ends_only_its_own_streams() -> None:
    stage = Stage(1, 2)
    broken, _ = stage.join(2, View(dialect=Upper(broken=True)))
    fine, sink = stage.join(2)
    stage.tail(event(3))
    assert broken.ending is Ending.ERROR
    assert fine.state is State.LIVE
    assert bytes(sink.written).endswith(b"id: 3-0\nevent: chunk\ndata: xx\n\n")


def test_history_has_a_dialect_of_its_own() -> None:
    stage = Stage(1, 2, 3)
    subscriber, sink = stage.join(1, View(history=Upper()))
    stage.pull_from_window(subscriber)
    stage.tail(event(4))
    assert b"ID: 3-0\n" in sink.written
    assert bytes(sink.written).endswith(b"id: 4-0\nevent: chunk\ndata: xx\n\n")


def test_a_gap_may_change_the_dialect() -> None:
    """Of who is live, too: they have another group from then on."""
    stage = Stage(1, 2)
    subscriber, sink = stage.join(2, View(dialect=Upper(), history=Upper()))
    stage.apply(page(stage.feed.end, event(9), gap=GapReason.TRIMMED, start=at(8)))
    assert subscriber.state is State.LIVE
    (group,) = stage.feed.live.groups
    assert group.key[1] == Upper(mended=True)
    assert bytes(sink.written).endswith(b"ID: 9-0\nEVENT: CHUNK\nDATA: XX\n\n")


def test_the_status_is_said_now_and_then() -> None:
    stage = Stage(1)
    words = Words(
        ID_SCHEMES["stream"],
        Rules(Block(None, None)),
        status=Block("", Shape('{"status": $status}', BLOCK_PLACES["status"])),
    )
    subscriber, sink = stage.join(1, View(dialect=Shaped(words, "r"), status_seconds=1.5))
    stage.feed.status = RunStatus("running")
    assert stage.tick(subscriber, 1.0) <= 1.5
    assert not sink.written
    stage.tick(subscriber, 1.5)
    assert bytes(sink.written) == b'data: {"status":"running"}\n\n'
    stage.tick(subscriber, 2.9)
    assert sink.written.count(b"running") == 1
    stage.tick(subscriber, 3.0)
    assert sink.written.count(b"running") == 2
