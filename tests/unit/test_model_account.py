"""The model's account of a viewer finds what is wrong, and nothing else."""

import pytest

from broker.wire.gap import Gap, GapReason
from broker.wire.ids import START, StreamId
from tests.model.account import Account, Place
from tests.model.world import Removal, World


def at(number: int, seq: int = 0) -> StreamId:
    return StreamId(number, seq)


def world_of(*numbers: int, final: bool = False) -> World:
    world = World()
    world.append(((at(number), str(number)) for number in numbers), final=final)
    return world


def anew(world: World, *ids: StreamId) -> None:
    world.end()
    world.append((entry_id, f"new {entry_id}") for entry_id in ids)


def account_of(world: World, after: int = 0, *, lenient: bool = False) -> Account:
    return Account(world, Place(at(after), lenient=lenient), since=world.version)


def tell(account: Account, world: World, *ids: StreamId) -> None:
    for entry_id in ids:
        account.event(entry_id, world.data[entry_id])


def test_everything_in_order_is_right() -> None:
    world = world_of(1, 2, 3)
    account = account_of(world, 1)
    assert not account.owes_nothing()
    tell(account, world, at(2), at(3))
    assert account.owes_nothing()


@pytest.mark.parametrize("ids", [[at(3)], [at(2), at(2)], [at(2), at(4), at(3)], [at(1)]])
def test_lost_doubled_and_out_of_order(ids: list[StreamId]) -> None:
    world = world_of(1, 2, 3, 4)
    with pytest.raises(AssertionError, match="lost, doubled"):
        tell(account_of(world, 1), world, *ids)


def test_another_runs_event() -> None:
    world = world_of(1, 2)
    with pytest.raises(AssertionError, match="foreign"):
        account_of(world).event(at(9), "9")
    with pytest.raises(AssertionError, match="another"):
        account_of(world).event(at(1), "2")


def test_what_was_deleted_by_itself_may_be_left_out_and_what_was_trimmed_may_not() -> None:
    for how, right in ((Removal.DELETED, True), (Removal.TRIMMED, False)):
        world = world_of(1, 2, 3)
        world.remove([at(2)], how)
        account = account_of(world, 1)
        if right:
            tell(account, world, at(3))
        else:
            with pytest.raises(AssertionError, match="lost"):
                tell(account, world, at(3))


def test_who_asked_for_nothing_in_particular_gets_what_is_there() -> None:
    world = world_of(1, 2, 3)
    world.remove([at(1)], Removal.TRIMMED)
    tell(account_of(world, lenient=True), world, at(2), at(3))
    with pytest.raises(AssertionError, match="lost"):
        tell(account_of(world), world, at(2))
    with pytest.raises(AssertionError, match="lost"):
        tell(account_of(world, lenient=True), world, at(3))


def test_a_gap_over_what_was_trimmed_is_right() -> None:
    world = world_of(1, 2, 3, 4)
    world.remove([at(1), at(2)], Removal.TRIMMED)
    account = account_of(world, 1)
    account.gap(Gap(at(1), at(3), GapReason.TRIMMED))
    tell(account, world, at(3), at(4))
    assert account.owes_nothing()


@pytest.mark.parametrize(
    ("gap", "why"),
    [
        (Gap(at(1), at(4), GapReason.TRIMMED), "over what is there"),
        (Gap(at(1), at(9), GapReason.TRIMMED), "over what is there"),
        (Gap(at(1), None, GapReason.TRIMMED), "over what is there"),
        (Gap(at(2), at(3), GapReason.TRIMMED), "elsewhere"),
        (Gap(at(1), at(3), GapReason.RESET), "without cause"),
        (Gap(at(1), at(3), GapReason.UNKNOWN), "without cause"),
    ],
)
def test_a_gap_that_is_not_what_happened(gap: Gap, why: str) -> None:
    world = world_of(1, 2, 3, 4)
    world.remove([at(1), at(2)], Removal.TRIMMED)
    with pytest.raises(AssertionError, match=why):
        account_of(world, 1).gap(gap)


def test_a_gap_where_nothing_is_missing() -> None:
    world = world_of(1, 2, 3)
    for reason in GapReason:
        with pytest.raises(AssertionError, match="without cause"):
            account_of(world, 1).gap(Gap(at(1), at(2), reason))


def test_a_run_that_began_anew() -> None:
    world = world_of(1, 2)
    account = account_of(world, 2)
    anew(world, at(1, 5), at(3, 5))
    assert not account.owes_nothing()
    account.gap(Gap(at(2), at(1, 5), GapReason.RESET))
    tell(account, world, at(1, 5), at(3, 5))
    assert account.owes_nothing()


def test_a_run_that_began_anew_must_be_said_to_have() -> None:
    world = world_of(1, 2)
    anew(world, at(1, 5), at(3, 5))
    with pytest.raises(AssertionError, match="lost"):
        tell(account_of(world, 2), world, at(3, 5))
    with pytest.raises(AssertionError, match="over what is there"):
        account_of(world, 2).gap(Gap(at(2), at(3, 5), GapReason.RESET))


def test_two_lives_are_not_mixed() -> None:
    world = world_of(1, 2, 4)
    anew(world, at(3, 5), at(5, 5))
    account = account_of(world)
    tell(account, world, at(1), at(2))
    with pytest.raises(AssertionError, match="lost"):
        tell(account, world, at(3, 5))


def test_what_a_failover_did_not_lose_goes_on() -> None:
    world = world_of(1, 2)
    behind = world.lives[0].copy()
    world.append([(at(3), "3")])
    world.begin(behind)
    world.append([(at(4, 5), "new")])
    account = account_of(world, 2)
    tell(account, world, at(4, 5))
    assert account.owes_nothing()
    # Who has what was lost is told.
    with pytest.raises(AssertionError, match="lost"):
        tell(account_of(world, 3), world, at(4, 5))


def test_a_run_that_is_gone() -> None:
    world = world_of(1, 2)
    account = account_of(world, 1)
    world.end()
    assert not account.owes_nothing()
    account.gap(Gap(at(1), None, GapReason.UNKNOWN))
    assert account.owes_nothing()
    anew(world, at(7, 5))
    tell(account, world, at(7, 5))


def test_an_end_before_the_end() -> None:
    world = world_of(1, 2, 3, final=True)
    account = account_of(world, 1)
    assert not account.ended_rightly()
    tell(account, world, at(2), at(3))
    assert account.ended_rightly()
    assert account_of(world, 9).ended_rightly()


def test_caught_up_before_it_is() -> None:
    world = world_of(1, 2)
    account = account_of(world)
    with pytest.raises(AssertionError, match="before"):
        account.caught_up(START, world.present)
    tell(account, world, at(1))
    with pytest.raises(AssertionError, match="elsewhere"):
        account.caught_up(at(2), [])
    tell(account, world, at(2))
    account.caught_up(at(2), world.present)


def test_after_all_is_settled_what_was_before_explains_nothing() -> None:
    world = world_of(1, 2, 3)
    world.remove([at(1)], Removal.TRIMMED)
    account = account_of(world, 2)
    tell(account, world, at(3))
    account.settle()
    with pytest.raises(AssertionError, match="without cause"):
        account.gap(Gap(at(3), None, GapReason.TRIMMED))
