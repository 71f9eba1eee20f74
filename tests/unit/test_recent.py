"""Pages that were read lately: found where they belong, bounded, and forgotten with their run."""

from broker.engine.delivery import Batch
from broker.engine.recent import RecentPages
from broker.wire.frame import Frame
from broker.wire.ids import START, StreamId


def batch(number: int, size: int = 100) -> Batch:
    return Batch([Frame(StreamId(number, 0), "chunk", b"x" * size, final=False)])


def recent_pages(limit_bytes: int = 1 << 20) -> RecentPages:
    return RecentPages(limit_bytes, 10, lambda: 0)


def test_a_page_is_found_by_where_it_begins() -> None:
    recent = recent_pages()
    kept = batch(2)
    recent.put(7, StreamId(1, 0), kept, lenient=False)
    assert recent.get(7, StreamId(1, 0), lenient=False) is kept
    assert recent.get(7, StreamId(2, 0), lenient=False) is None


def test_another_epoch_knows_nothing_of_it() -> None:
    recent = recent_pages()
    recent.put(7, START, batch(2), lenient=False)
    assert recent.get(8, START, lenient=False) is None


def test_who_claims_to_be_there_from_the_start_does_not_get_what_was_merely_first() -> None:
    recent = recent_pages()
    recent.put(7, START, batch(5), lenient=True)
    assert recent.get(7, START, lenient=False) is None


def test_above_the_bound_the_oldest_goes() -> None:
    recent = recent_pages(1000)
    for number in (1, 2, 3):
        recent.put(1, StreamId(number, 0), batch(number + 1), lenient=False)
    assert recent.used <= 1000
    assert recent.get(1, StreamId(1, 0), lenient=False) is None
    assert recent.get(1, StreamId(3, 0), lenient=False) is not None


def test_it_is_forgotten_after_a_while() -> None:
    """A page may hold what its producer has deleted since."""
    now = [0.0]
    recent = RecentPages(1 << 20, 10, lambda: now[0])
    recent.put(1, START, batch(1), lenient=False)
    now[0] = 9.9
    assert recent.get(1, START, lenient=False) is not None
    now[0] = 10
    assert recent.get(1, START, lenient=False) is None
    assert recent.used == 0


def test_a_page_larger_than_all_that_may_be_kept_is_not() -> None:
    recent = recent_pages(1000)
    recent.put(1, START, batch(1, size=5000), lenient=False)
    assert recent.used == 0
    assert recent.get(1, START, lenient=False) is None
