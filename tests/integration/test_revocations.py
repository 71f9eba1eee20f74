"""`runcast revoke`: whoever is revoked is out within one heartbeat, and stays out."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from typing import Final
from uuid import uuid4

import httpx
import pytest
from click.testing import CliRunner
from redis.asyncio import Redis
from structlog.testing import capture_logs

from broker.cli import cli
from broker.commands.failure import CommandFailed
from broker.edge.auth.identity import Identity
from broker.edge.auth.revoked import Revoked
from broker.edge.auth.rights import NO_RIGHTS, Action
from broker.edge.auth.tickets import Tickets
from broker.engine.log import LogUnavailable
from broker.redis import revocations as module
from broker.redis.deployment import Deployment
from broker.redis.opening import make_deployment
from broker.redis.revocations import RedisRevocations, Revocation
from broker.wire.ids import RunId, StreamId
from tests.support.commands import Outcome, run_command
from tests.support.deployments import ClusterDeployment
from tests.support.edges import Edge
from tests.support.keys_file import KeysFile
from tests.support.producer import append
from tests.support.servers import RedisProcess, available_kinds, binary_of, free_port
from tests.support.viewer import watch

SECRET: Final = "of-the-edges-of-this-test-and-of-32-bytes"
HEARTBEAT_SECONDS: Final = 1
DAY: Final = 24 * 3600


@pytest.fixture(scope="session")
def redis_kind() -> str:
    """XADD, XTRIM and XREVRANGE are tested on each kind elsewhere."""
    return available_kinds()[0]


@pytest.fixture(scope="module")
def key() -> str:
    """Of the stream that these edges read."""
    return f"revoked-{uuid4().hex}"


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> KeysFile:
    file = KeysFile(tmp_path_factory.mktemp("keys") / "keys.toml")
    file.add("first", "watch:*")
    file.add("second", "watch:*")
    return file


@pytest.fixture(scope="module")
def edge(redis_url: str, keys: KeysFile, key: str) -> Iterator[Edge]:
    edge = Edge(
        redis_url,
        api_keys_file=keys.path,
        ticket_secret=SECRET,
        revocations_key=key,
        heartbeat_seconds=HEARTBEAT_SECONDS,
    )
    yield edge
    edge.close()


@pytest.fixture
async def deployment(redis_url: str) -> AsyncIterator[Deployment]:
    async with make_deployment(redis_url, connections=1, timeout_seconds=5) as opened:
        yield opened


@pytest.fixture
def log(deployment: Deployment) -> RedisRevocations:
    """A stream of one's own."""
    return RedisRevocations(deployment, f"revoked-{uuid4().hex}")


def ticket(run_id: str, subject: str | None, made_at: float | None, *marks: str) -> str:
    """One that somebody has got whose credential was made at this time."""
    parent = Identity(subject, NO_RIGHTS, issued_at=made_at, marks=frozenset(marks))
    tickets = Tickets([SECRET.encode()], audience="runcast", longest_seconds=300)
    return tickets.make(parent, RunId(run_id), [Action.WATCH], None).text


async def revoke(redis_url: str, key: str, *arguments: str) -> Outcome:
    """`runcast revoke`."""
    names = ("--redis-url", redis_url, "--revocations-key", key)
    outcome = await run_command("revoke", *arguments, *names)
    assert outcome.code == 0, outcome.err
    return outcome


def status(url: str, **headers: str) -> int:
    json = {"accept": "application/json", **headers}
    return httpx.get(url, headers=json).status_code


# ---- what an edge does


async def test_a_subject_is_out_within_a_heartbeat(
    edge: Edge, redis_url: str, key: str, client: Redis, run_id: str
) -> None:
    made_at = time.time()
    ada = edge.events_url(run_id, f"ticket={ticket(run_id, 'ada', made_at)}")
    undated = edge.events_url(run_id, f"ticket={ticket(run_id, 'ada', None)}")
    bob = edge.events_url(run_id, f"ticket={ticket(run_id, 'bob', made_at)}")
    async with watch(ada) as out, watch(undated) as out_too, watch(bob) as stays:
        for viewer in (out, out_too, stays):
            await viewer.until_caught_up()
        outcome = await revoke(redis_url, key, "--subject", "ada")
        revoked_at = time.monotonic()
        assert outcome.out == "revoked subject 'ada'\n"
        assert "within one heartbeat" in outcome.complaint
        await out.until_ended(within=HEARTBEAT_SECONDS)
        await out_too.until_ended(within=HEARTBEAT_SECONDS)
        assert time.monotonic() - revoked_at < HEARTBEAT_SECONDS
        assert out.whole
        event = await append(client, run_id)
        await stays.until(1)
        assert (stays.ids, out.ids, out_too.ids) == ([event], [], [])
    assert [status(url) for url in (ada, undated, bob)] == [401, 401, 200]
    reasons = [
        line["reason"]
        for line in edge.log()
        if (line["event"], line.get("run")) == ("stream ended", run_id)
    ]
    assert sorted(reasons) == ["client_gone", "right_ended", "right_ended"]
    # What their identity provider gives them from then on is good; what they have is not, nor is
    # a ticket that they made with it just before this edge heard of it.
    later = ticket(run_id, "ada", time.time() + 2)
    assert status(edge.events_url(run_id, f"ticket={later}")) == 200
    assert status(edge.events_url(run_id, f"ticket={ticket(run_id, 'ada', made_at)}")) == 401


async def test_a_key_a_token_and_what_was_made_with_them(
    edge: Edge, keys: KeysFile, redis_url: str, key: str, run_id: str
) -> None:
    events = edge.events_url(run_id)
    of_key = ticket(run_id, None, None, "key:first")
    of_token = ticket(run_id, "carol", 1000, "token:t1")
    of_another = ticket(run_id, "carol", 1000, "token:t2")
    async with (
        watch(events, headers=keys.headers("first")) as by_key,
        watch(f"{events}?ticket={of_key}") as by_ticket_of_key,
        watch(f"{events}?ticket={of_token}") as by_ticket_of_token,
        watch(f"{events}?ticket={of_another}") as stays,
        watch(events, headers=keys.headers("second")) as stays_too,
    ):
        gone = (by_key, by_ticket_of_key, by_ticket_of_token)
        for viewer in (*gone, stays, stays_too):
            await viewer.until_caught_up()
        outcome = await revoke(redis_url, key, "--key", "first", "--token", "t1")
        assert outcome.out == "revoked key 'first'\nrevoked token 't1'\n"
        for viewer in gone:
            await viewer.until_ended(within=HEARTBEAT_SECONDS)
        assert not stays.ended.is_set()
        assert not stays_too.ended.is_set()
    assert status(events, **keys.headers("first")) == 401
    assert status(events, **keys.headers("second")) == 200
    assert status(f"{events}?ticket={of_token}") == 401
    assert status(f"{events}?ticket={of_another}") == 200


async def test_an_edge_begins_without_redis_and_then_knows(
    redis_url: str, keys: KeysFile, run_id: str
) -> None:
    server = RedisProcess(binary_of(available_kinds()[0]))
    server.start()
    revoked = ticket(run_id, "ada", time.time())
    edge = None
    try:
        await revoke(server.url, "revoked", "--subject", "ada")
        server.pause()
        # It does not answer, which takes longer than to be refused.
        edge = Edge(
            server.url,
            api_keys_file=keys.path,
            ticket_secret=SECRET,
            revocations_key="revoked",
            redis_timeout_seconds=1,
        )
        warnings = [one for one in edge.log() if "revocations can't be read" in one["event"]]
        assert len(warnings) == 1
        server.resume()
        url = edge.events_url(run_id, f"ticket={revoked}")
        deadline = time.monotonic() + 5
        while status(url) != 401:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.05)
        assert edge.traces() == ""
    finally:
        server.close()
        if edge is not None:
            edge.close()


# ---- what is read


async def test_what_is_appended_is_read_once(log: RedisRevocations) -> None:
    assert await log.since(None) == ([], None, True)
    began = int(time.time())
    first = await log.append("subject:ada", DAY)
    second = await log.append("key:k", DAY)
    looked = await log.since(None)
    assert [one.mark for one in looked.found] == ["subject:ada", "key:k"]
    assert all(began <= one.at <= time.time() for one in looked.found)
    assert (looked.newest, looked.complete) == (second, True)
    assert await log.since(second) == ([], second, True)
    assert [one.mark for one in (await log.since(first)).found] == ["key:k"]


async def test_pages_are_put_together(
    log: RedisRevocations, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_PAGE", 3)
    monkeypatch.setattr(module, "MOST_REVOCATIONS", 7)
    ids = [await log.append(f"token:{number}", DAY) for number in range(7)]
    for known in (None, *ids):
        expected = [f"token:{n}" for n in range(7) if known is None or ids[n] > known]
        looked = await log.since(known)
        assert [one.mark for one in looked.found] == expected
        assert (looked.newest, looked.complete) == (ids[-1], True)
    ids.append(await log.append("token:7", DAY))
    looked = await log.since(None)
    assert [one.mark for one in looked.found] == [f"token:{n}" for n in range(1, 8)]
    assert not looked.complete


async def test_old_ones_are_dropped(
    log: RedisRevocations, client: Redis, deployment: Deployment
) -> None:
    key = log._key
    now = int(time.time() * 1000)
    for number in range(300):
        # Two days ago; Redis drops whole nodes of a hundred.
        await client.xadd(
            key, {"mark": f"token:{number}"}, id=f"{now - 2 * DAY * 1000}-{number + 1}"
        )
    await log.append("token:new", DAY)
    found = (await log.since(None)).found
    assert len(found) <= 101
    assert found[-1].mark == "token:new"
    await log.append("token:newer", 10 * DAY)
    assert len((await log.since(None)).found) == len(found) + 1


async def test_a_stream_that_was_replaced_is_read_anew(
    log: RedisRevocations, client: Redis
) -> None:
    revoked = Revoked(log)
    ada, bob, eve = (Identity(None, NO_RIGHTS, marks=frozenset({f"subject:{n}"})) for n in "abe")
    await log.append("subject:a", DAY)
    assert await revoked.look()
    assert not await revoked.look()
    # The clock has gone back.
    await client.delete(log._key)
    await client.xadd(log._key, {"mark": "subject:b"}, id="1000-1")
    assert not revoked.revoked(bob)
    assert await revoked.look()
    assert revoked.revoked(bob)
    # Nobody is let in again for that what was known is lost.
    assert revoked.revoked(ada)
    await client.delete(log._key)
    assert not await revoked.look()
    assert revoked.revoked(bob)
    await log.append("subject:e", DAY)
    assert await revoked.look()
    assert revoked.revoked(eve)
    # Something else of the operator's in the stream is none of ours.
    await client.xadd(log._key, {"note": "x"})
    await client.xadd(log._key, {"mark": b"\xff"})
    assert await revoked.look()


@pytest.mark.parametrize(
    ("made_at", "out"),
    [
        (None, True),
        (99.0, True),
        (100.0, True),
        (100.9, True),
        (101.0, False),
        (float("nan"), True),
    ],
)
def test_what_was_made_later_is_good(made_at: float | None, *, out: bool) -> None:
    revoked = Revoked(None)  # type: ignore[arg-type]  # not asked
    revoked._at = {"subject:ada": 100}
    for marks, expected in (
        ({"subject:ada", "token:x"}, out),
        ({"subject:adam"}, False),
        ({"ada"}, False),
        (set(), False),
    ):
        identity = Identity("ada", NO_RIGHTS, issued_at=made_at, marks=frozenset(marks))
        assert revoked.revoked(identity) is expected


async def test_the_newest_are_remembered_if_there_are_too_many(
    log: RedisRevocations, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_REVOCATIONS", 3)
    monkeypatch.setattr("broker.edge.auth.revoked.MOST_REVOCATIONS", 3)
    revoked = Revoked(log)
    for number in (0, 1, 2, 0):
        await log.append(f"token:{number}", DAY)
    with capture_logs() as logs:
        assert await revoked.look()
        assert list(revoked._at) == ["token:1", "token:2", "token:0"]
        for number in (3, 4):
            await log.append(f"token:{number}", DAY)
            await revoked.look()
        assert list(revoked._at) == ["token:0", "token:3", "token:4"]
    assert [line["log_level"] for line in logs] == ["error"]


async def test_without_redis_it_keeps_what_it_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    server = RedisProcess(binary_of(available_kinds()[0]), append_only=True)
    server.start()
    ada = Identity("ada", NO_RIGHTS, marks=frozenset({"subject:ada"}))
    try:
        async with make_deployment(server.url, connections=1, timeout_seconds=1) as deployment:
            log = RedisRevocations(deployment, "revoked")
            revoked = Revoked(log)
            await log.append("subject:ada", DAY)
            assert await revoked.look()
            server.kill()
            with capture_logs() as logs:
                for _ in range(3):
                    assert not await revoked.look()
                    assert revoked.revoked(ada)
                server.start()
                server.pause()
                monkeypatch.setattr("broker.edge.auth.revoked._LOOK_SECONDS", 0.3)
                began = time.monotonic()
                assert not await revoked.look()
                assert time.monotonic() - began < 1
                server.resume()
                monkeypatch.undo()
                await log.append("subject:bob", DAY)
                assert await revoked.look()
                server.kill()
                assert not await revoked.look()
            assert [line["log_level"] for line in logs] == ["warning", "info", "warning"]
            with pytest.raises(LogUnavailable):
                await log.since(None)
    finally:
        server.close()


async def test_in_a_cluster() -> None:
    with ClusterDeployment(binary_of(available_kinds()[0])) as cluster:
        async with make_deployment(cluster.url, connections=1, timeout_seconds=5) as deployment:
            log = RedisRevocations(deployment, "runcast:revoked")
            newest: StreamId = await log.append("subject:ada", DAY)
            looked = await log.since(None)
            assert looked == ([Revocation("subject:ada", newest.ms // 1000)], newest, True)
            assert await log.since(newest) == ([], newest, True)


# ---- the command


def test_what_can_not_be_revoked() -> None:
    nowhere = f"redis://127.0.0.1:{free_port()}"
    for arguments, code, said in (
        ([], 2, "nothing to revoke"),
        (["--subject", ""], 2, "a name has"),
        (["--token", "x" * 1025], 2, "a name has"),
    ):
        outcome = CliRunner().invoke(cli, ["revoke", *arguments, "--redis-url", nowhere])
        assert isinstance(outcome.exception, CommandFailed)
        assert outcome.exception.exit_code == code
        assert said in str(outcome.exception)
        assert outcome.output == ""
    outcome = CliRunner().invoke(cli, ["revoke", "--subject", "x", "--keep-days", "30"])
    assert outcome.exit_code == 2


async def test_it_says_what_is_not_known_to_be_revoked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_RETRY_SECONDS", 0)
    nowhere = f"redis://user:secret@127.0.0.1:{free_port()}"
    outcome = await asyncio.to_thread(
        CliRunner().invoke, cli, ["revoke", "--subject", "ada", "--redis-url", nowhere]
    )
    assert isinstance(outcome.exception, CommandFailed)
    said = str(outcome.exception)
    assert outcome.exception.exit_code == 1
    assert "subject 'ada' is not known to be revoked" in said
    assert "secret" not in said
