"""What edges write beside events: requests for runs, commands, and the end of lost runs."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import pytest
from redis.asyncio import Redis

from broker.redis.appending import Appender, NewEvent, RunEnded
from broker.redis.commands import Commands
from broker.redis.deployment import Deployment
from broker.redis.leases import Leases
from broker.redis.meta import meta_key
from broker.redis.opening import make_deployment
from broker.redis.requests import KeyReused, Requests
from broker.redis.streams import KeyTemplate
from broker.wire.event import EventFormat
from broker.wire.ids import RunId
from tests.support.producer import append, key_of

EVENTS = EventFormat(terminal_types=frozenset({"done"}))
KEYS = KeyTemplate("run:{run_id}")


@pytest.fixture
async def deployment(redis_url: str) -> AsyncIterator[Deployment]:
    """The shared server."""
    async with make_deployment(redis_url, connections=2, timeout_seconds=5) as opened:
        yield opened


@pytest.fixture
def appender(deployment: Deployment) -> Appender:
    """An appender over it."""
    return Appender(deployment, KEYS, EVENTS)


@pytest.fixture
def leases(deployment: Deployment) -> Leases:
    """What ends lost runs."""
    return Leases(deployment, KEYS, EVENTS)


@pytest.fixture
def requests_key() -> str:
    """A stream of requests that no other test has."""
    return f"t:{uuid4().hex}:requests"


def make_requests(
    deployment: Deployment, appender: Appender, key: str, timeout: float | None = None
) -> Requests:
    """Requests on a stream of the test's own."""
    return Requests(deployment, appender, requests_key=key, queued_timeout_seconds=timeout)


async def entries(client: Redis, key: str) -> list[dict[str, str]]:
    """A stream's entries."""
    found: Any = await client.xrange(key)
    return [fields for _, fields in found]


# ---- requests


async def test_a_request_is_made_once_for_each_key(
    deployment: Deployment, appender: Appender, client: Redis, requests_key: str
) -> None:
    requests = make_requests(deployment, appender, requests_key)

    async def create(key: str | None, text: str = "{}") -> Any:
        return await requests.create(
            None, profile="native", agent="a", input=text, idempotency_key=key
        )

    created = await asyncio.gather(*(create("é once") for _ in range(5)))
    assert len({one.run_id for one in created}) == 1
    run_id = created[0].run_id
    assert (await create("é once")).repeated
    assert await entries(client, requests_key) == [
        {"run_id": run_id, "profile": "native", "agent": "a", "input": "{}"}
    ]
    assert await entries(client, key_of(run_id)) == [{"type": "queued", "data": "{}"}]
    with pytest.raises(KeyReused):
        await create("é once", '{"other": 1}')
    # Without a key, each is another one.
    assert len({(await create(None)).run_id for _ in range(2)} | {run_id}) == 3
    assert await client.xlen(requests_key) == 3


async def test_a_run_of_a_given_id_is_asked_for_once(
    deployment: Deployment, appender: Appender, client: Redis, requests_key: str, run_id: str
) -> None:
    requests = make_requests(deployment, appender, requests_key)

    async def create(text: str) -> Any:
        return await requests.create(RunId(run_id), profile="native", agent="", input=text)

    assert await create("1") == (run_id, False)
    assert await create("1") == (run_id, True)
    with pytest.raises(KeyReused):
        await create("2")
    await append(client, f"{run_id}-2", event_type="done")
    with pytest.raises(RunEnded):
        await requests.create(RunId(f"{run_id}-2"), profile="native", agent="", input="")
    assert await client.xlen(requests_key) == 1


async def test_a_repeated_request_brings_no_run_back_that_is_gone(
    deployment: Deployment, appender: Appender, client: Redis, requests_key: str, run_id: str
) -> None:
    requests = make_requests(deployment, appender, requests_key, 0.01)
    for repeated in (False, True):
        created = await requests.create(RunId(run_id), profile="native", agent="", input="1")
        assert created.repeated is repeated
        await client.delete(key_of(run_id), meta_key(key_of(run_id)))
    assert await client.exists(key_of(run_id), meta_key(key_of(run_id))) == 0


async def test_an_interrupted_request_is_completed_by_the_next_one(
    deployment: Deployment, appender: Appender, client: Redis, requests_key: str
) -> None:
    requests = make_requests(deployment, appender, requests_key)
    # The stream of requests can't be written to: the run is announced, and not asked for.
    await client.set(requests_key, "in the way")
    with pytest.raises(Exception, match="WRONGTYPE"):
        await requests.create(None, profile="p", agent="", input="1", idempotency_key="k")
    await client.delete(requests_key)
    created = await requests.create(None, profile="p", agent="", input="1", idempotency_key="k")
    assert not created.repeated
    assert [one["run_id"] for one in await entries(client, requests_key)] == [created.run_id]
    assert len(await entries(client, key_of(created.run_id))) == 1


# ---- leases


async def test_a_lease_that_runs_out_ends_the_run_once(
    appender: Appender, leases: Leases, client: Redis, run_id: str
) -> None:
    run = RunId(run_id)
    assert await leases.end_if_lost(run) == (None, None, False)
    events = [NewEvent("chunk", "1")]
    await appender.append(run, events, producer="p", sequence=1, lease_seconds=60)
    state = await leases.end_if_lost(run)
    assert state.seconds is not None
    assert 50 < state.seconds <= 60
    assert state.ended is None
    await appender.touch(run, lease_seconds=0.001)
    await asyncio.sleep(0.01)
    states = await asyncio.gather(*(leases.end_if_lost(run) for _ in range(10)))
    assert len({one.ended for one in states} - {None}) == 1
    assert sum(one.by_us for one in states) == 1
    found = await entries(client, key_of(run_id))
    assert [fields["type"] for fields in found] == ["chunk", "worker_lost"]
    said = json.loads(found[-1]["data"])
    assert found[-1]["final"] == "1"
    assert said["reason"] == "worker_lost"
    assert said["last_heard_ms"] > 1_700_000_000_000
    assert await client.hgetall(meta_key(key_of(run_id))) != {}
    # A worker that comes back learns it.
    for again in (
        appender.append(run, events, producer="p", sequence=2, lease_seconds=60),
        appender.touch(run, lease_seconds=60),
    ):
        with pytest.raises(RunEnded):
            await again
    assert await client.xlen(key_of(run_id)) == 2
    assert 0 < await client.ttl(key_of(run_id)) <= 3600


@pytest.mark.parametrize("end", ["ours", "plain"])
async def test_a_run_that_ended_by_itself_is_not_ended_again(
    appender: Appender, leases: Leases, client: Redis, run_id: str, end: str
) -> None:
    run = RunId(run_id)
    await appender.touch(run, lease_seconds=0.001)
    if end == "ours":
        await appender.append(run, [NewEvent("done", "{}")], producer="p", sequence=1)
    else:
        await append(client, run_id, event_type="done")
    await asyncio.sleep(0.01)
    state = await leases.end_if_lost(run)
    assert state.ended is not None
    assert not state.by_us
    assert await client.xlen(key_of(run_id)) == 1
    assert "lease" not in await client.hgetall(meta_key(key_of(run_id)))


async def test_the_end_of_a_run_with_dense_ids_has_one_too(
    appender: Appender, leases: Leases, run_id: str
) -> None:
    run = RunId(run_id)
    events = [NewEvent("chunk", "1")]
    await appender.append(
        run, events, producer="p", sequence=1, dense=True, above=7, lease_seconds=0.001
    )
    await asyncio.sleep(0.01)
    assert (await leases.end_if_lost(run)).ended == (0, 9)


async def test_a_queued_run_without_a_worker_is_ended(
    deployment: Deployment,
    appender: Appender,
    leases: Leases,
    client: Redis,
    requests_key: str,
) -> None:
    requests = make_requests(deployment, appender, requests_key, 0.001)
    queued = [
        (await requests.create(None, profile="native", agent="", input="")).run_id for _ in range(5)
    ]
    nobody, ours, plain, silent, begun = queued
    # The others have a worker, of which one keeps a lease and one knows nothing of any.
    await appender.append(ours, [NewEvent("a", "")], producer="p", sequence=1, lease_seconds=60)
    await append(client, plain)
    await appender.append(silent, [NewEvent("a", "")], producer="p", sequence=1)
    await appender.touch(begun, status="running")
    await asyncio.sleep(0.01)
    states = {run_id: await leases.end_if_lost(run_id) for run_id in queued}
    assert states[nobody].by_us
    assert states[ours].seconds is not None
    assert states[plain] == states[silent] == states[begun] == (None, None, False)
    found = await entries(client, key_of(nobody))
    assert [fields["type"] for fields in found] == ["queued", "no_worker"]


# ---- commands


async def test_commands_are_appended_once_and_say_whether_the_run_is_open(
    deployment: Deployment, appender: Appender, client: Redis, run_id: str
) -> None:
    commands = Commands(deployment, KEYS, appender)
    run = RunId(run_id)
    first = await commands.append(run, "input", '"a"')
    for _ in range(2):
        keyed = await commands.append(run, "done", "{}", idempotency_key="k")
    assert first.open
    assert keyed.open
    await appender.append(run, [NewEvent("done", "{}")], producer="p", sequence=1)
    last = await commands.append(run, "cancel", "{}")
    assert not last.open
    key = f"{key_of(run_id)}:commands"
    found: Any = await client.xrange(key)
    assert [(entry_id, fields["type"]) for entry_id, fields in found] == [
        (str(first.id), "input"),
        (str(keyed.id), "done"),
        (str(last.id), "cancel"),
    ]
    assert await client.ttl(key) > 0


async def test_few_requests_and_commands_are_kept(
    deployment: Deployment, appender: Appender, client: Redis, requests_key: str
) -> None:
    requests = Requests(deployment, appender, requests_key=requests_key, most_requests=1)
    # A stream is cut in whole nodes, of a hundred entries.
    for _ in range(220):
        await requests.create(None, profile="native", agent="", input="")
    assert await client.xlen(requests_key) < 150
