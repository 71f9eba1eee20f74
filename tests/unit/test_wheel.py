"""The timer wheel: nothing early, nothing lost, late by one slot at most."""

from hypothesis import given
from hypothesis import strategies as st

from broker.engine.wheel import TimerWheel


def test_what_is_due_comes_up_and_stays_until_it_is_put_anew() -> None:
    wheel: TimerWheel[str] = TimerWheel(0.5)
    wheel.put("a", 1.0)
    wheel.put("b", 3.0)
    assert wheel.due(0.99) == []
    assert wheel.due(1.0) == ["a"]
    assert wheel.due(1.0) == ["a"]
    wheel.put("a", 9.0)
    assert wheel.due(3.0) == ["b"]
    assert (len(wheel), set(wheel), "a" in wheel) == (2, {"a", "b"}, True)


def test_what_was_taken_out_does_not_come_up() -> None:
    wheel: TimerWheel[str] = TimerWheel(0.5)
    wheel.put("a", 1.0)
    wheel.discard("a")
    wheel.discard("never there")
    assert wheel.due(100) == []
    assert (len(wheel), "a" in wheel) == (0, False)


@given(
    st.lists(st.tuples(st.integers(0, 20), st.floats(0, 100)), max_size=60),
    st.floats(0.01, 5),
    st.floats(0, 100),
)
def test_it_is_a_dict_of_due_times(puts: list[tuple[int, float]], width: float, now: float) -> None:
    wheel: TimerWheel[int] = TimerWheel(width)
    for item, due in puts:
        wheel.put(item, due)
    latest = dict(puts)
    found = wheel.due(now)
    assert len(found) == len(set(found))
    # Rounding may be off by a hair, in either direction.
    assert all(latest[item] <= now + 1e-9 for item in found)
    assert {item for item, due in latest.items() if due + width < now} <= set(found)
