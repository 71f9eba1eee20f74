"""The window: order, bounds, and what it may answer for."""

from hypothesis import given
from hypothesis import strategies as st

from broker.engine.window import Window, WindowBudget
from broker.wire.frame import Frame
from broker.wire.ids import START, StreamId


def frame(number: int, size: int = 100) -> Frame:
    return Frame(StreamId(number, 0), "chunk", b"x" * size, final=False)


def read(window: Window, after: StreamId, max_bytes: int = 1 << 30) -> list[int]:
    """The numbers of the frames that are read."""
    batch = window.read(after, max_bytes)
    return [] if batch is None else [frame.id.ms for frame in batch.frames]


def test_it_covers_its_head_and_each_of_its_ids() -> None:
    window = Window(StreamId(5, 0), 10_000, WindowBudget(1 << 30))
    window.append([frame(7), frame(9)])
    assert [window.covers(StreamId(number, 0)) for number in (4, 5, 6, 7, 8, 9, 10)] == [
        False, True, False, True, False, True, False,
    ]  # fmt: skip
    assert window.end == StreamId(9, 0)
    assert window.first == StreamId(7, 0)


def test_it_reads_what_follows() -> None:
    window = Window(START, 10_000, WindowBudget(1 << 30))
    window.append([frame(1), frame(2), frame(3)])
    assert read(window, START, 10_000) == [1, 2, 3]
    assert read(window, StreamId(2, 0), 10_000) == [3]
    assert window.read(StreamId(3, 0), 10_000) is None
    assert window.read(StreamId(2, 1), 10_000) is None


def test_a_read_is_bounded_but_never_empty_for_its_bound() -> None:
    window = Window(START, 1 << 20, WindowBudget(1 << 30))
    window.append([frame(number, 1000) for number in range(1, 6)])
    assert len(read(window, START, 2500)) == 2
    assert len(read(window, START, 1)) == 1


def test_the_newest_frame_stays_however_large() -> None:
    window = Window(START, 1000, WindowBudget(1 << 30))
    window.append([frame(1), frame(2, 50_000)])
    assert window.head == StreamId(1, 0)
    assert read(window, StreamId(1, 0), 1) == [2]


def test_after_a_restart_it_knows_nothing_else() -> None:
    window = Window(START, 10_000, WindowBudget(1 << 30))
    window.append([frame(1)])
    window.restart(StreamId(9, 0))
    assert not window.covers(StreamId(1, 0))
    assert window.read(StreamId(9, 0), 100) is None


@given(st.lists(st.integers(1, 3000), min_size=1, max_size=80), st.integers(1000, 20_000))
def test_it_is_a_bounded_suffix_of_what_it_was_given(sizes: list[int], limit: int) -> None:
    window = Window(START, limit, WindowBudget(1 << 30))
    frames = [frame(number, size) for number, size in enumerate(sizes, 1)]
    for one in frames:
        window.append([one])
    kept = read(window, window.head)
    assert kept == [f.id.ms for f in frames][-len(kept) :]
    assert sum(len(f.wire) for f in frames if f.id > window.head) <= max(limit, sizes[-1])
    assert all(window.covers(StreamId(number, 0)) for number in kept)


def test_all_windows_together_are_bounded_and_the_quietest_gives_first() -> None:
    budget = WindowBudget(5_000)
    quiet, busy = (Window(START, 1 << 20, budget) for _ in range(2))
    quiet.append([frame(number) for number in range(1, 11)])
    assert quiet.covers(StreamId(5, 0))
    busy.append([frame(number) for number in range(1, 11)])
    assert budget.used <= 5_000
    assert not quiet.covers(StreamId(5, 0))
    assert busy.covers(StreamId(5, 0))
    # Its newest stays: a reconnect to it must not need Redis.
    assert read(quiet, StreamId(9, 0), 1000) == [10]
    quiet.append([frame(11)])
    assert read(quiet, StreamId(9, 0), 1000) == [10, 11]


def test_a_window_that_is_let_go_counts_no_more() -> None:
    budget = WindowBudget(1 << 20)
    window = Window(START, 1 << 20, budget)
    window.append([frame(1), frame(2)])
    assert budget.used > 0
    window.restart(StreamId(2, 0))
    assert budget.used == 0
