"""Connections: how many, how quickly, and how long for a request's head. Time is the test's own."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.edge.limits import ConnectionLimits, connections_that_fit
from broker.edge.refusals import ConnectionRefusal, Refusals
from broker.server.connection_limits import ConnectionLimiter
from broker.server.slow_headers import SlowHeaders


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def make(connections: int = 1000, **limits: int) -> tuple[ConnectionLimiter, Refusals, Clock]:
    refusals, clock = Refusals(), Clock()
    chosen = ConnectionLimits(connections, trusted_proxies=["10.0.0.0/8"], **limits)
    return ConnectionLimiter(chosen, refusals, clock), refusals, clock


def come(limiter: ConnectionLimiter, host: str | None = "203.0.113.1") -> ConnectionRefusal | None:
    return limiter.enter(limiter.address_of(host))


def go(limiter: ConnectionLimiter, host: str | None = "203.0.113.1") -> None:
    limiter.leave(limiter.address_of(host))


def test_a_process_takes_so_many() -> None:
    limiter, refusals, _ = make(connections=2)
    assert [come(limiter, f"203.0.113.{n}") for n in range(3)] == [
        None,
        None,
        ConnectionRefusal.PROCESS,
    ]
    go(limiter, "203.0.113.0")
    assert come(limiter, None) is None
    assert len(limiter) == 2
    assert refusals.connections == {ConnectionRefusal.PROCESS: 1}


def test_an_address_has_so_many_and_leaves_the_others_theirs() -> None:
    limiter, refusals, _ = make(per_address=2)
    assert [come(limiter) for _ in range(3)] == [None, None, ConnectionRefusal.ADDRESS]
    assert come(limiter, "203.0.113.2") is None
    go(limiter)
    assert come(limiter) is None
    assert come(limiter) is ConnectionRefusal.ADDRESS
    assert refusals.connections == {ConnectionRefusal.ADDRESS: 2}


def test_one_network_of_ipv6_counts_as_one_address() -> None:
    limiter, _, _ = make(per_address=1)
    assert come(limiter, "2001:db8::1") is None
    assert come(limiter, "2001:db8::2") is ConnectionRefusal.ADDRESS
    assert come(limiter, "2001:db8:0:1::1") is None


def test_a_trusted_proxy_may_have_as_many_as_all_its_clients() -> None:
    limiter, _, _ = make(per_address=1)
    assert [come(limiter, "10.0.0.1") for _ in range(5)] == [None] * 5


def test_new_ones_come_at_a_rate_and_a_seconds_worth_at_once() -> None:
    limiter, _, clock = make(per_second=10)
    taken = [come(limiter) for _ in range(15)]
    assert taken == [None] * 10 + [ConnectionRefusal.RATE] * 5
    clock.now += 0.35
    assert [come(limiter) for _ in range(5)] == [None] * 3 + [ConnectionRefusal.RATE] * 2
    clock.now += 100
    assert [come(limiter) for _ in range(15)].count(None) == 10


def test_who_is_refused_for_their_address_uses_up_no_rate() -> None:
    limiter, _, _ = make(per_address=1, per_second=5)
    assert come(limiter) is None
    for _ in range(100):
        assert come(limiter) is ConnectionRefusal.ADDRESS
    assert [come(limiter, f"203.0.113.{n}") for n in range(2, 6)] == [None] * 4


@given(st.lists(st.tuples(st.booleans(), st.sampled_from(["203.0.113.1", "10.1.1.1", "::1"]))))
def test_whoever_comes_and_goes_leaves_nothing(steps: list[tuple[bool, str]]) -> None:
    limiter, _, _ = make(connections=4, per_address=2)
    present: list[str] = []
    for comes, host in steps:
        if comes:
            if come(limiter, host) is None:
                present.append(host)
        elif host in present:
            present.remove(host)
            go(limiter, host)
        assert len(limiter) == len(present) <= 4
    for host in present:
        go(limiter, host)
    assert len(limiter) == 0
    assert limiter._counts == {}


def test_as_many_as_files_may_be_open_and_some_are_left(monkeypatch: pytest.MonkeyPatch) -> None:
    def allow(files: int) -> int:
        monkeypatch.setattr("resource.getrlimit", lambda _: (files, files))
        return connections_that_fit()

    assert allow(1024) == 768
    assert allow(100_000) == 99_744
    assert allow(64) == 32
    assert allow(-1) > 1_000_000, "without a limit"


class Client:
    def __init__(self) -> None:
        self.overdue = 0

    def head_overdue(self) -> None:
        self.overdue += 1


def test_who_sends_no_head_in_time_is_told_once() -> None:
    clock = Clock()
    slow = SlowHeaders(10, clock)
    first, quick, second = Client(), Client(), Client()
    slow.expect(first)
    slow.expect(quick)
    clock.now += 5
    slow.expect(second)
    slow.came(quick)
    slow.came(quick)
    clock.now += 4.9
    assert not slow.close_overdue()
    clock.now += 0.2
    slow.close_overdue()
    assert (first.overdue, quick.overdue, second.overdue) == (1, 0, 0)
    clock.now += 5
    slow.close_overdue()
    slow.close_overdue()
    assert (first.overdue, quick.overdue, second.overdue) == (1, 0, 1)
    assert len(slow) == 0


def test_who_owes_another_head_has_the_whole_time_again() -> None:
    clock = Clock()
    slow = SlowHeaders(10, clock)
    client, other = Client(), Client()
    slow.expect(client)
    slow.expect(other)
    clock.now += 9
    slow.came(client)
    slow.expect(client)
    clock.now += 2
    slow.close_overdue()
    assert (client.overdue, other.overdue) == (0, 1)
    clock.now += 9
    slow.close_overdue()
    assert client.overdue == 1


def test_of_many_who_are_overdue_some_are_closed_at_a_time() -> None:
    clock = Clock()
    slow = SlowHeaders(10, clock)
    clients = [Client() for _ in range(100)]
    for client in clients:
        slow.expect(client)
    clock.now += 11
    turns = 1
    while slow.close_overdue():
        turns += 1
        assert turns < 10
    assert turns >= 3
    assert all(client.overdue == 1 for client in clients)
