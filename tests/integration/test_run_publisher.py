"""The library for workers: what is emitted is in the run, once, whatever happens on the way."""

import asyncio
import json
import random
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
import redis
from redis.asyncio import Redis

import broker
from broker.publishing import (
    AppendError,
    BlockingRunPublisher,
    Command,
    PublishingSettings,
    Run,
    RunEnded,
    RunPublisher,
)
from broker.publishing.run import BATCH_EVENTS, BUFFERED_BYTES, BUFFERED_EVENTS
from broker.redis.commands import Commands
from broker.redis.leases import Leases
from broker.redis.meta import meta_key
from broker.wire.event import EventFormat
from broker.wire.ids import RunId
from tests.faults.line import Line
from tests.support.deployments import ClusterDeployment, SentinelDeployment
from tests.support.producer import append, key_of
from tests.support.servers import RedisProcess, binary_of
from tests.support.waiting import eventually, eventually_sync


@pytest.fixture
async def publisher(redis_url: str) -> AsyncIterator[RunPublisher]:
    """A publisher over the shared server."""
    async with RunPublisher(redis_url) as opened:
        yield opened


async def entries(client: Redis, run_id: str) -> list[dict[str, str]]:
    """The run's entries."""
    found: Any = await client.xrange(key_of(run_id))
    return [fields for _, fields in found]


async def meta(client: Redis, run_id: str) -> dict[str, str]:
    """What is known of the run."""
    found: Any = await client.hgetall(meta_key(key_of(run_id)))
    return dict(found)


async def numbers(client: Redis, run_id: str) -> list[int]:
    """The numbers that the run's chunks have for data."""
    return [int(one["data"]) for one in await entries(client, run_id) if one["type"] == "chunk"]


async def emit_numbers(run: Run, count: int, pause_seconds: float = 0.0) -> None:
    """Emits chunks with the numbers from 0 on."""
    for number in range(count):
        await run.emit("chunk", number)
        if pause_seconds:
            await asyncio.sleep(pause_seconds)


# ---- what is written


async def test_a_run_from_its_beginning_to_its_end(
    publisher: RunPublisher, client: Redis, run_id: str
) -> None:
    async with publisher.run(run_id) as run:
        assert (await meta(client, run_id))["status"] == "running"
        await run.emit("chunk", {"text": "é"})
        await run.emit("note", "as it is")
        await run.emit("", [1, None])
        newest = await run.flush()
        await run.progress(phase="planning")
        assert run.run_id == run_id
    found: Any = await client.xrange(key_of(run_id))
    assert [fields for _, fields in found] == [
        {"type": "chunk", "data": '{"text":"é"}'},
        {"type": "note", "data": "as it is"},
        {"data": "[1,null]"},
        {"type": "succeeded", "data": "{}", "final": "1"},
    ]
    assert str(newest) == found[2][0]
    known = await meta(client, run_id)
    assert (known["status"], known["phase"]) == ("succeeded", "planning")
    assert "lease" not in known
    assert 0 < await client.ttl(key_of(run_id)) <= 3600
    assert 0 < await client.ttl(meta_key(key_of(run_id))) <= 3600


async def test_an_exception_ends_it_with_failed_and_goes_on(
    publisher: RunPublisher, client: Redis, run_id: str
) -> None:
    async def work() -> None:
        async with publisher.run(run_id) as run:
            await run.emit("chunk", 0)
            raise KeyError("where")

    with pytest.raises(KeyError):
        await work()
    last = (await entries(client, run_id))[-1]
    assert (last["type"], last["final"]) == ("failed", "1")
    assert json.loads(last["data"]) == {"error": "'where'", "type": "KeyError"}
    assert (await meta(client, run_id))["status"] == "failed"


async def test_being_cancelled_ends_it_with_cancelled(
    publisher: RunPublisher, client: Redis, run_id: str
) -> None:
    begun = asyncio.Event()

    async def work() -> None:
        async with publisher.run(run_id) as run:
            await run.emit("chunk", 0)
            begun.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [one["type"] for one in await entries(client, run_id)] == ["chunk", "cancelled"]


@pytest.mark.parametrize(
    ("event_type", "final"), [("complete", True), ("done", False), ("timed_out", False)]
)
async def test_nothing_follows_what_ends_it(
    publisher: RunPublisher, client: Redis, run_id: str, event_type: str, final: bool
) -> None:
    async with publisher.run(run_id) as run:
        await run.emit(event_type, final=final)
        for _ in range(2):
            with pytest.raises(RunEnded):
                await run.emit("chunk")
            with pytest.raises(RunEnded):
                await run.progress(phase="more")
            await run.flush()
    assert [one["type"] for one in await entries(client, run_id)] == [event_type]
    with pytest.raises(RunEnded):
        await publisher.run(run_id).__aenter__()


async def test_names_are_settings(redis_url: str, client: Redis, run_id: str) -> None:
    settings = PublishingSettings(
        key_template="other:{run_id}",
        events=EventFormat(type_field="kind", data_field="body", final_field="over"),
        succeeded_type="complete",
    )
    async with (
        RunPublisher(redis_url, settings) as publisher,
        publisher.run(run_id) as run,
    ):
        await run.emit("done", 1)
    found: Any = await client.xrange(f"other:{run_id}")
    assert [fields for _, fields in found] == [
        {"kind": "done", "body": "1"},
        {"kind": "complete", "body": "{}", "over": "1"},
    ]


@pytest.mark.parametrize(
    ("event_type", "data"), [("a\nb", 1), ("runcast.gap", 1), ("a", "\ud800"), ("a", {1, 2})]
)
async def test_what_can_not_be_an_event_is_refused_and_harms_nothing(
    publisher: RunPublisher, client: Redis, run_id: str, event_type: str, data: Any
) -> None:
    async with publisher.run(run_id) as run:
        with pytest.raises((ValueError, TypeError)):
            await run.emit(event_type, data)
        await run.emit("chunk", 0)
    assert [one["type"] for one in await entries(client, run_id)] == ["chunk", "succeeded"]


async def test_bad_arguments_are_refused_before_anything_is_asked(
    publisher: RunPublisher, run_id: str
) -> None:
    with pytest.raises(ValueError):
        publisher.run("a b")
    with pytest.raises(ValueError):
        publisher.run(run_id, lease_seconds=0)
    with pytest.raises(ValueError):
        publisher.run(run_id, agent="no:name")
    assert len({publisher.run().run_id for _ in range(3)}) == 3


def test_the_library_is_exported_and_costs_nothing_until_it_is_used() -> None:
    assert broker.RunPublisher is RunPublisher
    assert broker.BlockingRunPublisher is BlockingRunPublisher
    assert callable(broker.worker)
    with pytest.raises(AttributeError):
        _ = broker.Nonsense


# ---- batches


async def test_what_is_emitted_meanwhile_goes_together_and_little_waits(
    own_redis: RedisProcess, run_id: str
) -> None:
    async with RunPublisher(own_redis.url) as publisher, publisher.run(run_id) as run:
        await run.flush()
        own_redis.pause()
        emitter = asyncio.create_task(emit_numbers(run, 3 * BUFFERED_EVENTS))
        # One batch is under way, one buffer is full, and the emitter waits.
        await eventually(lambda: run._emitted >= BUFFERED_EVENTS)
        for _ in range(5):
            await asyncio.sleep(0.01)
            assert run._emitted <= BUFFERED_EVENTS + BATCH_EVENTS
        own_redis.resume()
        await emitter
    async with Redis.from_url(own_redis.url, decode_responses=True) as client:
        assert await numbers(client, run_id) == list(range(3 * BUFFERED_EVENTS))
        calls = (await client.info("commandstats"))["cmdstat_evalsha"]["calls"]
    assert calls < 40


async def test_large_events_wait_by_their_bytes(own_redis: RedisProcess, run_id: str) -> None:
    text = "x" * (BUFFERED_BYTES // 3 - 100)
    async with RunPublisher(own_redis.url) as publisher, publisher.run(run_id) as run:
        own_redis.pause()
        tasks = [asyncio.create_task(run.emit("chunk", text)) for _ in range(8)]
        await eventually(lambda: run._emitted >= 3)
        for _ in range(5):
            await asyncio.sleep(0.01)
            assert run._emitted == 3
        own_redis.resume()
        await asyncio.gather(*tasks)
    async with Redis.from_url(own_redis.url, decode_responses=True) as client:
        assert await client.xlen(key_of(run_id)) == 9


async def test_a_single_event_is_sent_at_once(
    publisher: RunPublisher, client: Redis, run_id: str
) -> None:
    async def is_there(number: int) -> bool:
        return await numbers(client, run_id) == list(range(number + 1))

    async with publisher.run(run_id) as run:
        for number in range(3):
            await run.emit("chunk", number)
            # Nobody asks for it to be sent.
            await eventually(partial(is_there, number))


# ---- once, whatever happens


@asynccontextmanager
async def line_to(url: str) -> AsyncIterator[tuple[Line, str]]:
    """A line to that server, and the URL that goes over it."""
    port = urlsplit(url).port
    assert port is not None
    async with Line("redis", port, random.Random(1)) as line:
        yield line, f"redis://127.0.0.1:{line.port}/0"


QUICK = PublishingSettings(timeout_seconds=0.5)


async def test_killed_connections_neither_lose_nor_double(
    own_redis: RedisProcess, run_id: str
) -> None:
    async with (
        Redis.from_url(own_redis.url, decode_responses=True) as client,
        RunPublisher(own_redis.url) as publisher,
        publisher.run(run_id) as run,
    ):
        emitter = asyncio.create_task(emit_numbers(run, 400, 0.001))
        killed = 0
        while not emitter.done():
            killed += await client.client_kill_filter(_type="normal", skipme=True)
            await asyncio.sleep(0.005)
        await emitter
        await run.flush()
        assert killed > 5
        assert await numbers(client, run_id) == list(range(400))


async def test_lost_answers_neither_lose_nor_double(own_redis: RedisProcess, run_id: str) -> None:
    async with (
        Redis.from_url(own_redis.url, decode_responses=True) as client,
        line_to(own_redis.url) as (line, url),
        RunPublisher(url, QUICK) as publisher,
        publisher.run(run_id) as run,
    ):
        emitter = asyncio.create_task(emit_numbers(run, 200, 0.005))
        turn = 0
        while not emitter.done():
            # Redis has executed what it was sent; its answers are cut off, or never come.
            turn += 1
            if turn % 10:
                line.reset()
            else:
                line.go_dead()
            await asyncio.sleep(0.05)
        await emitter
        await run.flush()
        assert await numbers(client, run_id) == list(range(200))
        assert turn > 10


async def test_a_pause_of_redis_neither_loses_nor_doubles(
    own_redis: RedisProcess, run_id: str
) -> None:
    async with RunPublisher(own_redis.url, QUICK) as publisher, publisher.run(run_id) as run:
        emitter = asyncio.create_task(emit_numbers(run, 300, 0.002))
        await eventually(lambda: run._appended > 20)
        own_redis.pause()
        # What it was sent before the timeout it does when it goes on, beside the next attempts.
        await asyncio.sleep(0.8)
        own_redis.resume()
        await emitter
    async with Redis.from_url(own_redis.url, decode_responses=True) as client:
        assert await numbers(client, run_id) == list(range(300))


async def test_two_publishers_of_one_run(redis_url: str, client: Redis, run_id: str) -> None:
    async with RunPublisher(redis_url) as one, RunPublisher(redis_url) as two:
        first, second = one.run(run_id), two.run(run_id)
        async with first:
            await second.__aenter__()
            await asyncio.gather(emit_numbers(first, 100), emit_numbers(second, 100))
            await asyncio.gather(first.flush(), second.flush())
        assert sorted(await numbers(client, run_id)) == sorted([*range(100), *range(100)])
        # The one has ended it; the other learns that, and there is one end.
        with pytest.raises(RunEnded):
            await second.__aexit__(None, None, None)
    found = await entries(client, run_id)
    assert [one["type"] for one in found].count("succeeded") == 1
    assert found[-1]["type"] == "succeeded"


async def test_a_redis_that_stays_away_is_told_where_the_worker_asks(
    own_redis: RedisProcess, run_id: str
) -> None:
    settings = PublishingSettings(timeout_seconds=0.5, retry_seconds=0.5)

    async def work() -> None:
        async with RunPublisher(own_redis.url, settings) as publisher, publisher.run(run_id) as run:
            own_redis.kill()
            await run.emit("chunk", 0)
            with pytest.raises(AppendError):
                await run.flush()
            with pytest.raises(AppendError):
                await run.emit("chunk", 1)
            # What went wrong first is what is told in the end.
            raise ValueError("the worker's own")

    with pytest.raises(ValueError, match="the worker's own"):
        await work()
    with pytest.raises(AppendError):
        async with RunPublisher(own_redis.url, settings) as publisher, publisher.run(run_id):
            pytest.fail("it can't be begun")


async def test_an_end_from_elsewhere_is_told_while_nothing_is_emitted(
    publisher: RunPublisher, client: Redis, run_id: str
) -> None:
    async with publisher.run(run_id, lease_seconds=0.3) as run:
        await append(client, run_id, event_type="done")
        await eventually(lambda: run._failure is not None)
        with pytest.raises(RunEnded):
            await run.emit("chunk", 0)
        with pytest.raises(RunEnded):
            await run.__aexit__(None, None, None)
        run._final, run._failure = True, None
    assert await client.xlen(key_of(run_id)) == 1


# ---- liveness


async def test_a_quiet_worker_keeps_its_lease_and_a_dead_one_does_not(
    publisher: RunPublisher, client: Redis, run_id: str
) -> None:
    leases = Leases(publisher.deployment, publisher.settings.keys, publisher.settings.events)
    run = publisher.run(run_id, lease_seconds=0.6)
    await run.__aenter__()
    for _ in range(12):
        await asyncio.sleep(0.1)
        state = await leases.end_if_lost(RunId(run_id))
        assert state.ended is None
    # The worker is gone, without a word.
    assert run._sender is not None
    run._sender.cancel()

    async def lost() -> bool:
        return (await leases.end_if_lost(RunId(run_id))).by_us

    await eventually(lost, within=2)
    assert [one["type"] for one in await entries(client, run_id)] == ["worker_lost"]


async def test_a_run_without_a_lease_is_never_lost(publisher: RunPublisher, run_id: str) -> None:
    leases = Leases(publisher.deployment, publisher.settings.keys, publisher.settings.events)
    async with publisher.run(run_id, lease_seconds=None) as run:
        await run.emit("chunk", 0)
        await run.flush()
        assert await leases.end_if_lost(RunId(run_id)) == (None, None, False)


# ---- agents


async def dense_numbers(client: Redis, run_id: str) -> list[int]:
    """The numbers of the run's ids."""
    found: Any = await client.xrange(key_of(run_id))
    assert all(entry_id.startswith("0-") for entry_id, _ in found)
    return [int(entry_id[2:]) for entry_id, _ in found]


async def test_an_agents_runs_have_a_pointer_and_go_on_counting(
    publisher: RunPublisher, client: Redis, run_id: str
) -> None:
    agent = f"a-{uuid4().hex}"
    for name, expected in (("1", [1, 2, 3]), ("2", [4, 5, 6]), ("3", [7, 8, 9])):
        async with publisher.run(f"{run_id}-{name}", agent=agent, dense=True) as run:
            assert await client.get(f"agent:{agent}:current") == run.run_id
            await emit_numbers(run, 2)
        assert await dense_numbers(client, run.run_id) == expected
        # Also where nothing of it is left, and others came between that have no numbers.
        await client.delete(key_of(run.run_id))
        async with publisher.run(f"{run_id}-{name}-other", agent=agent) as other:
            assert await client.get(f"agent:{agent}:current") == other.run_id


async def test_numbers_are_not_given_twice_after_a_worker_that_died(
    publisher: RunPublisher, client: Redis, run_id: str
) -> None:
    agent = f"a-{uuid4().hex}"

    async def begin(name: str) -> Run:
        run = publisher.run(f"{run_id}-{name}", agent=agent, dense=True)
        await run.__aenter__()
        await emit_numbers(run, 2)
        await run.flush()
        return run

    async def die(run: Run) -> None:
        run.abandon()
        with pytest.raises(RunEnded):
            await run.__aexit__(None, None, None)

    first = await begin("1")
    await die(first)
    # Taken over, it goes on where it was; and nobody knows that it is not going on still.
    again = await begin("1")
    assert await dense_numbers(client, first.run_id) == [1, 2, 3, 4]
    second = await begin("2")
    assert min(await dense_numbers(client, second.run_id)) > 1000
    for run in (again, second):
        await die(run)
    # Ended by somebody else, it has a last number that is certain.
    await publisher.appender.append(
        second.run_id, [], producer="edge", sequence=1, lease_seconds=0.001
    )
    await asyncio.sleep(0.01)
    leases = Leases(publisher.deployment, publisher.settings.keys, publisher.settings.events)
    assert (await leases.end_if_lost(second.run_id)).by_us
    last = max(await dense_numbers(client, second.run_id))
    third = await begin("3")
    assert await dense_numbers(client, third.run_id) == [last + 1, last + 2]
    await third.__aexit__(None, None, None)


# ---- commands


async def test_commands_come_in_order_also_those_from_before(
    publisher: RunPublisher, client: Redis, run_id: str
) -> None:
    commands = Commands(publisher.deployment, publisher.settings.keys, publisher.appender)
    await commands.append(RunId(run_id), "input", '{"n":0}')
    heard: list[Command] = []

    async def listen(run: Run) -> None:
        async for command in run.commands():
            heard.append(command)  # noqa: PERF401 - looked at while it grows

    async with publisher.run(run_id) as run:
        listener = asyncio.create_task(listen(run))
        await eventually(lambda: len(heard) == 1)
        await commands.append(RunId(run_id), "approve", "[1]")
        await client.xadd(f"{key_of(run_id)}:commands", {"type": "free", "data": "no JSON"})
        await eventually(lambda: len(heard) == 3)
    # It ends with the run.
    await asyncio.wait_for(listener, 2)
    assert [(command.type, command.data) for command in heard] == [
        ("input", {"n": 0}),
        ("approve", [1]),
        ("free", "no JSON"),
    ]


async def test_commands_survive_a_lost_connection(own_redis: RedisProcess, run_id: str) -> None:
    async with (
        Redis.from_url(own_redis.url, decode_responses=True) as client,
        RunPublisher(own_redis.url) as publisher,
        publisher.run(run_id) as run,
    ):
        commands = run.commands()
        for number in range(5):
            await client.xadd(f"{key_of(run_id)}:commands", {"type": "n", "data": str(number)})
            async with asyncio.timeout(5):
                assert (await anext(commands)).data == number
            await client.client_kill_filter(_type="normal", skipme=True)


# ---- without asyncio


def test_the_blocking_publisher_does_the_same(redis_url: str, run_id: str) -> None:
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        with BlockingRunPublisher(redis_url) as publisher:
            with publisher.run(run_id) as run:
                run.emit("chunk", {"n": 1})
                run.progress(phase="planning")
                assert str(run.flush()) == client.xrevrange(key_of(run_id), count=1)[0][0]
                assert run.command(0.01) is None
                client.xadd(f"{key_of(run_id)}:commands", {"type": "cancel", "data": "{}"})
                command = run.command(5)
                assert command is not None
                assert command.type == "cancel"
                run.finish("complete", {"n": 2})
            with pytest.raises(ValueError, match="oh"), publisher.run(f"{run_id}-2"):
                raise ValueError("oh")
        found: Any = client.xrange(key_of(run_id))
        assert [fields["type"] for _, fields in found] == ["chunk", "complete"]
        found = client.xrange(key_of(f"{run_id}-2"))
        assert [fields["type"] for _, fields in found] == ["failed"]
    assert not [one for one in threading.enumerate() if one.name == "runcast"]


def test_many_threads_share_one_blocking_publisher(redis_url: str, run_id: str) -> None:
    with BlockingRunPublisher(redis_url) as publisher, publisher.run(run_id) as run:

        def emit(name: int) -> None:
            for number in range(50):
                run.emit("chunk", name * 100 + number)

        threads = [threading.Thread(target=emit, args=(name,)) for name in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        found: Any = client.xrange(key_of(run_id))
    data = [int(fields["data"]) for _, fields in found if fields["type"] == "chunk"]
    for name in range(4):
        mine = [one for one in data if one // 100 == name]
        assert mine == [name * 100 + number for number in range(50)]


_FORKING: Final = """
import os, sys
from broker import BlockingRunPublisher

url, run_id = sys.argv[1:]

def in_child(work):
    child = os.fork()
    if child == 0:
        try:
            work()
        except RuntimeError as error:
            print(error, flush=True)
            os._exit(7)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

def publish():
    with BlockingRunPublisher(url) as publisher, publisher.run(f"{run_id}-child") as run:
        run.emit("chunk", 1)

with BlockingRunPublisher(url) as publisher, publisher.run(run_id) as run:
    codes = in_child(publish), in_child(lambda: run.emit("chunk", 1))
    run.emit("chunk", 2)
print(*codes)
"""


def test_a_forked_process_has_a_publisher_of_its_own_and_no_use_of_the_other(
    redis_url: str, run_id: str
) -> None:
    outcome = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _FORKING, redis_url, run_id],
        capture_output=True,
        text=True,
        timeout=20,
    )
    refusal, codes = outcome.stdout.splitlines()
    assert "after the fork" in refusal
    assert codes == "0 7"
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        for one in (run_id, f"{run_id}-child"):
            assert client.xlen(key_of(one)) == 2


def test_a_blocking_publisher_without_a_redis_fails_and_leaves_no_thread(run_id: str) -> None:
    settings = PublishingSettings(retry_seconds=0.2, timeout_seconds=0.5)
    with (
        BlockingRunPublisher("redis://127.0.0.1:1", settings) as publisher,
        pytest.raises(AppendError),
        publisher.run(run_id),
    ):
        pytest.fail("it can't be begun")
    eventually_sync(lambda: not [one for one in threading.enumerate() if one.name == "runcast"])


# ---- Redis as it is deployed


async def test_a_failover_neither_loses_nor_doubles(run_id: str) -> None:
    with SentinelDeployment(binary_of("valkey")) as deployment:
        async with (
            RunPublisher(deployment.url, PublishingSettings(timeout_seconds=1)) as publisher,
            publisher.run(run_id) as run,
        ):
            emitter = asyncio.create_task(emit_numbers(run, 1500, 0.002))
            await eventually(lambda: run._appended > 100)
            # What it has acknowledged is with its replica.
            deployment.primary.ask("WAIT", 1, 1000)
            await asyncio.to_thread(deployment.kill_primary)
            await emitter
        found = deployment.primary.ask("XRANGE", key_of(run_id), "-", "+")
        data = [int(one[1][3]) for one in found if one[1][1] == "chunk"]
        # Acknowledged just before, some may not have reached the replica: that is Redis', and is
        # said by the edges. None comes twice, and all that come after are there.
        assert data == sorted(set(data))
        assert data[-1] == 1499
        assert len(data) > 1400


async def test_a_cluster_that_moves_a_run_neither_loses_nor_doubles(run_id: str) -> None:
    with ClusterDeployment(binary_of("valkey")) as deployment:
        async with (
            RunPublisher(deployment.url) as publisher,
            publisher.run(run_id, agent=f"a-{run_id}", dense=True) as run,
        ):
            emitter = asyncio.create_task(emit_numbers(run, 600, 0.002))
            await eventually(lambda: run._appended > 20)
            key = key_of(run_id)
            target = (deployment.shard_of(key) + 1) % 3
            await asyncio.to_thread(deployment.move_slot, deployment.slot_of(key), target)
            await emitter
        found = deployment.node_of(key).ask("XRANGE", key, "-", "+")
        data = [int(one[1][3]) for one in found if one[1][1] == "chunk"]
        assert data == list(range(600))
        assert found[-1][0] == "0-601"
