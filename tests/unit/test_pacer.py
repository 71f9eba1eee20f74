"""Whoever's time has come is woken, in order, once, and by one task for all."""

import asyncio
import time

from hypothesis import given
from hypothesis import strategies as st

from broker.engine.cancelling import cancel
from broker.engine.pacer import Pacer, Schedule
from tests.support.waiting import eventually


def test_items_come_up_in_the_order_of_their_times() -> None:
    schedule: Schedule[str] = Schedule()
    for item, due in {"c": 3.0, "a": 1.0, "b": 2.0}.items():
        schedule.put(item, due)
    assert schedule.next_due == 1
    assert schedule.take_due(0.5) == []
    assert schedule.take_due(2) == ["a", "b"]
    assert len(schedule) == 1


def test_what_is_put_anew_comes_up_once_and_at_the_new_time() -> None:
    schedule: Schedule[str] = Schedule()
    schedule.put("a", 1)
    schedule.put("a", 5)
    assert schedule.take_due(4) == []
    assert schedule.next_due == 5
    schedule.put("a", 2)
    assert schedule.take_due(9) == ["a"]
    assert schedule.next_due is None


def test_what_is_taken_out_does_not_come_up_and_is_not_held() -> None:
    schedule: Schedule[str] = Schedule()
    schedule.put("a", 1)
    schedule.discard("a")
    schedule.discard("never there")
    assert len(schedule) == 0
    assert schedule.next_due is None
    assert schedule.take_due(9) == []


@given(
    steps=st.lists(
        st.tuples(st.sampled_from(["put", "discard", "take"]), st.integers(0, 4), st.integers(0, 9))
    )
)
def test_a_schedule_is_a_sorted_list(steps: list[tuple[str, int, int]]) -> None:
    schedule: Schedule[int] = Schedule()
    model: dict[int, int] = {}
    for step, item, when in steps:
        match step:
            case "put":
                schedule.put(item, when)
                model.pop(item, None)
                model[item] = when
            case "discard":
                schedule.discard(item)
                model.pop(item, None)
            case _:
                due = [each for each in model if model[each] <= when]
                assert schedule.take_due(when) == sorted(due, key=model.__getitem__)
                for each in due:
                    del model[each]
        assert schedule.next_due == min(model.values(), default=None)
        assert len(schedule) == len(model)


async def test_items_are_acted_on_when_they_are_due() -> None:
    acted: list[tuple[str, float]] = []
    pacer: Pacer[str] = Pacer(time.monotonic, lambda item: acted.append((item, time.monotonic())))
    task = asyncio.create_task(pacer.run())
    try:
        begun = time.monotonic()
        pacer.put("late", begun + 0.2)
        await asyncio.sleep(0)
        # It sleeps until then by now: what comes sooner has to wake it.
        pacer.put("soon", begun + 0.05)
        pacer.put("never", begun + 0.1)
        pacer.discard("never")
        await eventually(lambda: len(acted) == 2)
    finally:
        await cancel([task])
    assert [item for item, _ in acted] == ["soon", "late"]
    assert acted[0][1] - begun >= 0.05
    assert acted[1][1] - begun >= 0.2


async def test_one_that_is_put_anew_while_it_is_acted_on_comes_up_again() -> None:
    count = 0

    def act(item: str) -> None:
        nonlocal count
        count += 1
        pacer.put(item, time.monotonic() + 0.001)

    pacer: Pacer[str] = Pacer(time.monotonic, act)
    pacer.put("a", 0)
    task = asyncio.create_task(pacer.run())
    try:
        await eventually(lambda: count >= 5)
    finally:
        await cancel([task])
