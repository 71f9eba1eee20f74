"""Streams end when their right does. Sources are on paper; the clock is real, and short."""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace

import pytest

from broker.edge.auth.identity import CredentialKind, Identity
from broker.edge.auth.rights import Rights
from broker.edge.auth.standing import Standing
from broker.engine.ending import Ending
from broker.engine.subscriber import Subscriber
from broker.wire.problem import Forbidden, NotAuthenticated, Unavailable
from tests.support.waiting import eventually
from tests.unit.test_subscriber import Stage

ALICE = Identity("alice", Rights.parse("watch:*"), CredentialKind.BEARER)
BOB = Identity("bob", Rights.parse("watch:*"), CredentialKind.BEARER)


@dataclass
class Paper:
    """A source that is told what is revoked."""

    gone: set[str | None] = field(default_factory=set)
    fails: bool = False
    looks: int = 0
    changed: bool = False

    async def look(self) -> bool:
        self.looks += 1
        if self.fails:
            raise OSError("unreadable")
        changed, self.changed = self.changed, False
        return changed

    def revoked(self, identity: Identity) -> bool:
        return identity.subject in self.gone

    def revoke(self, subject: str) -> None:
        self.gone.add(subject)
        self.changed = True


def viewer() -> Subscriber:
    return Stage(position=4).join(4)[0]


async def test_a_revocation_ends_the_streams_of_that_one_alone() -> None:
    paper = Paper()
    async with Standing([paper], look_seconds=0.01, recheck_seconds=9) as standing:
        hers, his = viewer(), viewer()
        standing.began(hers, ALICE)
        standing.began(his, BOB)
        assert standing.stands(ALICE)
        paper.revoke("alice")
        await eventually(lambda: hers.ending is not None)
        assert hers.ending is Ending.RIGHT_ENDED
        assert not standing.stands(ALICE)
        assert his.ending is None
        assert standing.stands(BOB)


async def test_what_was_revoked_before_it_began_is_known_at_once() -> None:
    paper = Paper({"alice"})
    async with Standing([paper], look_seconds=9, recheck_seconds=9) as standing:
        assert paper.looks == 1
        assert not standing.stands(ALICE)


async def test_what_was_revoked_while_it_began_ends_as_it_begins() -> None:
    async with Standing([Paper({"alice"})], look_seconds=9, recheck_seconds=9) as standing:
        hers = viewer()
        standing.began(hers, ALICE)
        assert hers.ending is Ending.RIGHT_ENDED


async def test_a_source_that_fails_is_looked_at_again(caplog: pytest.LogCaptureFixture) -> None:
    paper = Paper()
    async with Standing([paper], look_seconds=0.01, recheck_seconds=9) as standing:
        hers = viewer()
        standing.began(hers, ALICE)
        paper.fails = True
        looks = paper.looks
        await eventually(lambda: paper.looks > looks + 1)
        paper.fails = False
        paper.revoke("alice")
        await eventually(lambda: hers.ending is Ending.RIGHT_ENDED)


def test_nothing_stands_beyond_its_time() -> None:
    standing = Standing([], look_seconds=1, recheck_seconds=1)
    assert standing.stands(replace(ALICE, until=time.time() + 5))
    assert not standing.stands(replace(ALICE, until=time.time()))


def again(outcome: Exception | Identity) -> Callable[[], Awaitable[Identity]]:
    async def ask() -> Identity:
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    return ask


@pytest.mark.parametrize(
    ("outcome", "ending"),
    [
        (NotAuthenticated("gone"), Ending.RIGHT_ENDED),
        (Forbidden("no"), Ending.RIGHT_ENDED),
        (Unavailable("down", 1), Ending.RIGHT_UNKNOWN),
        (replace(ALICE, until=0), Ending.RIGHT_ENDED),
    ],
)
async def test_a_right_that_is_asked_for_anew_and_not_given(
    outcome: Exception | Identity, ending: Ending
) -> None:
    async with Standing([], look_seconds=9, recheck_seconds=0.01) as standing:
        hers, his = viewer(), viewer()
        standing.began(hers, replace(ALICE, again=again(outcome)))
        standing.began(his, BOB)
        await eventually(lambda: hers.ending is not None)
        assert hers.ending is ending
        assert his.ending is None


async def test_one_that_is_given_is_asked_for_again_and_again_until_they_leave() -> None:
    asked = 0

    async def ask() -> Identity:
        nonlocal asked
        asked += 1
        return hers_now

    hers_now = replace(ALICE, again=ask)
    async with Standing([], look_seconds=9, recheck_seconds=0.01) as standing:
        hers = viewer()
        standing.began(hers, hers_now)
        await eventually(lambda: asked >= 2)
        assert hers.ending is None
        standing.left(hers)
        assert standing.present == 0
