"""Workers: each request is answered once, by one that lives."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import pytest
from redis.asyncio import Redis

from broker.engine.cancelling import cancel
from broker.publishing import PublishingSettings, Request, Run, worker
from broker.redis.appending import Appender
from broker.redis.commands import Commands
from broker.redis.deployment import Deployment
from broker.redis.leases import Leases
from broker.redis.opening import make_deployment
from broker.redis.requests import Requests
from broker.wire.ids import RunId
from tests.support.deployments import ClusterDeployment
from tests.support.producer import append, key_of
from tests.support.servers import RedisProcess, binary_of
from tests.support.waiting import eventually

EXAMPLE: Final = Path(__file__).parents[2] / "examples" / "worker.py"
GROUP: Final = "agents"


@pytest.fixture
def settings() -> PublishingSettings:
    """With a stream of requests of the test's own."""
    return PublishingSettings(requests_key=f"t:{uuid4().hex}:requests")


@pytest.fixture
async def deployment(redis_url: str) -> AsyncIterator[Deployment]:
    """The shared server."""
    async with make_deployment(redis_url, connections=2, timeout_seconds=5) as opened:
        yield opened


@pytest.fixture
def ask(deployment: Deployment, settings: PublishingSettings) -> Callable[..., Awaitable[RunId]]:
    """Asks for a run, as an edge does; its id."""
    appender = Appender(deployment, settings.keys, settings.events)
    requests = Requests(deployment, appender, requests_key=settings.requests_key)

    async def ask(text: str = "{}", agent: str = "") -> RunId:
        return (await requests.create(None, profile="native", agent=agent, input=text)).run_id

    return ask


async def types(client: Redis, run_id: str) -> list[str]:
    """The types of the run's entries."""
    found: Any = await client.xrange(key_of(run_id))
    return [fields["type"] for _, fields in found]


@contextlib.asynccontextmanager
async def working(*arguments: Any, **options: Any) -> AsyncIterator["asyncio.Task[None]"]:
    """A worker, while the context lasts."""
    task = asyncio.create_task(worker(*arguments, handle_signals=False, **options))
    try:
        yield task
    finally:
        await cancel([task])


async def ended(client: Redis, *runs: str) -> bool:
    """Whether all these runs have ended."""
    for run_id in runs:
        found: Any = await client.xrevrange(key_of(run_id), count=1)
        if not found or found[0][1].get("final") != "1":
            return False
    return True


async def pending(client: Redis, settings: PublishingSettings) -> int:
    """How many requests are in somebody's hand."""
    found: Any = await client.xpending(settings.requests_key, GROUP)
    return int(found["pending"])


async def test_each_request_has_one_call(
    redis_url: str,
    client: Redis,
    settings: PublishingSettings,
    ask: Callable[..., Awaitable[RunId]],
) -> None:
    asked: list[Request] = []
    at_once = most = 0

    async def handler(request: Request, run: Run) -> None:
        nonlocal at_once, most
        asked.append(request)
        at_once += 1
        most = max(most, at_once)
        await run.emit("chunk", request.input)
        await asyncio.sleep(0.02)
        at_once -= 1
        if request.input == 3:
            raise ValueError("three")

    # Some before there is a worker, the others after.
    runs = [await ask(str(number)) for number in range(6)]
    options = {"settings": settings, "concurrency": 3, "group": GROUP}
    async with working(redis_url, handler, **options), working(redis_url, handler, **options):
        runs += [await ask(str(number)) for number in range(6, 12)]
        await eventually(lambda: ended(client, *runs))

        async def none_pending() -> bool:
            return await pending(client, settings) == 0

        await eventually(none_pending)
    assert sorted(request.run_id for request in asked) == sorted(runs)
    assert {(one.profile, one.attempt) for one in asked} == {("native", 1)}
    assert most <= 6
    for number, run_id in enumerate(runs):
        end = "failed" if number == 3 else "succeeded"
        assert await types(client, run_id) == ["queued", "chunk", end]
    # Who leaves in order leaves nothing.
    assert await client.xinfo_consumers(settings.requests_key, GROUP) == []


async def test_an_agents_request_makes_it_the_agents_run(
    redis_url: str,
    client: Redis,
    settings: PublishingSettings,
    ask: Callable[..., Awaitable[RunId]],
) -> None:
    seen: list[Any] = []
    agent = f"a-{uuid4().hex}"

    async def handler(request: Request, run: Run) -> None:
        seen.append((request.agent, await client.get(f"agent:{request.agent}:current")))

    async with working(redis_url, handler, settings=settings):
        named, odd = await ask(agent=agent), await ask(agent="no name: a key")
        await eventually(lambda: ended(client, named, odd))
    assert sorted(seen) == sorted([(agent, named), ("no name: a key", None)])


async def test_a_request_that_is_none_is_put_aside(
    redis_url: str,
    client: Redis,
    settings: PublishingSettings,
    ask: Callable[..., Awaitable[RunId]],
) -> None:
    inputs: list[Any] = []

    async def handler(request: Request, run: Run) -> None:
        inputs.append(request.input)

    for fields in ({"nothing": "1"}, {"run_id": "a b"}, {b"\xff": b"\xff"}):
        await client.xadd(settings.requests_key, fields)  # type: ignore[arg-type]
    run_id = await ask("no JSON")
    async with working(redis_url, handler, settings=settings):
        await eventually(lambda: ended(client, run_id))
    assert inputs == ["no JSON"]
    assert await pending(client, settings) == 0


async def test_a_run_that_has_ended_meanwhile_is_skipped(
    redis_url: str,
    client: Redis,
    settings: PublishingSettings,
    ask: Callable[..., Awaitable[RunId]],
) -> None:
    called: list[str] = []

    async def handler(request: Request, run: Run) -> None:
        called.append(request.run_id)

    over, open_ = await ask(), await ask()
    await append(client, over, event_type="cancelled")
    async with working(redis_url, handler, settings=settings):
        await eventually(lambda: ended(client, open_))
    assert called == [open_]
    assert await types(client, over) == ["queued", "cancelled"]
    assert await pending(client, settings) == 0


async def test_a_cancelled_worker_ends_what_it_has_in_hand(
    redis_url: str,
    client: Redis,
    settings: PublishingSettings,
    ask: Callable[..., Awaitable[RunId]],
) -> None:
    begun = asyncio.Event()

    async def handler(request: Request, run: Run) -> None:
        await run.emit("chunk")
        begun.set()
        await asyncio.Event().wait()

    async with working(redis_url, handler, settings=settings):
        run_id = await ask()
        await begun.wait()
    assert await types(client, run_id) == ["queued", "chunk", "cancelled"]
    assert await pending(client, settings) == 0
    assert await client.xinfo_consumers(settings.requests_key, GROUP) == []


async def test_a_slow_redis_does_not_keep_a_cancelled_worker_from_ending_its_runs(
    own_redis: RedisProcess,
) -> None:
    begun = asyncio.Event()

    async def handler(request: Request, run: Run) -> None:
        await run.emit("chunk")
        await run.flush()
        begun.set()
        await asyncio.Event().wait()

    settings = PublishingSettings()
    async with make_deployment(own_redis.url, connections=1, timeout_seconds=5) as deployment:
        appender = Appender(deployment, settings.keys, settings.events)
        requests = Requests(deployment, appender)
        run_id = (await requests.create(None, profile="", agent="", input="")).run_id
        task = asyncio.create_task(worker(own_redis.url, handler, handle_signals=False))
        await begun.wait()
        own_redis.pause()
        task.cancel()
        # Longer than what is cancelled elsewhere is given before it is cancelled again.
        await asyncio.sleep(0.6)
        own_redis.resume()
        with pytest.raises(asyncio.CancelledError):
            await task
    async with Redis.from_url(own_redis.url, decode_responses=True) as client:
        assert await types(client, run_id) == ["queued", "chunk", "cancelled"]
        assert await pending(client, settings) == 0


async def test_who_is_at_work_for_long_is_not_taken_for_dead(
    redis_url: str,
    client: Redis,
    settings: PublishingSettings,
    ask: Callable[..., Awaitable[RunId]],
) -> None:
    calls: list[int] = []

    async def handler(request: Request, run: Run) -> None:
        calls.append(request.attempt)
        await asyncio.sleep(2)

    # It says every half a second that it is at work; the other waits for longer than that.
    async with working(redis_url, handler, settings=settings, claim_seconds=1.5):
        run_id = await ask()
        await eventually(lambda: bool(calls))
        async with working(redis_url, handler, settings=settings, claim_seconds=1):
            await eventually(lambda: ended(client, run_id))
    assert calls == [1]


async def test_what_was_a_dead_ones_is_claimed_and_who_comes_back_leaves_it(
    redis_url: str,
    client: Redis,
    settings: PublishingSettings,
    ask: Callable[..., Awaitable[RunId]],
) -> None:
    outcomes: list[str] = []
    left = asyncio.Event()

    async def forever(request: Request, run: Run) -> None:
        try:
            await run.emit("chunk", "first")
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            outcomes.append("left")
            left.set()
            raise

    async def answer(request: Request, run: Run) -> None:
        outcomes.append(f"attempt {request.attempt}")
        await run.emit("chunk", "second")
        await left.wait()

    run_id = await ask()
    # It says too seldom that it is there.
    slow = working(redis_url, forever, settings=settings, claim_seconds=3)
    async with slow:

        async def in_hand() -> bool:
            return len(await types(client, run_id)) == 2

        await eventually(in_hand)
        async with working(redis_url, answer, settings=settings, claim_seconds=0.3):
            await eventually(lambda: ended(client, run_id))
    assert outcomes == ["attempt 2", "left"]
    assert await types(client, run_id) == ["queued", "chunk", "chunk", "succeeded"]
    assert await pending(client, settings) == 0


async def test_a_request_that_workers_die_of_is_given_up(
    redis_url: str,
    client: Redis,
    settings: PublishingSettings,
    ask: Callable[..., Awaitable[RunId]],
) -> None:
    run_id = await ask()
    await client.xgroup_create(settings.requests_key, GROUP, "0")
    for number in range(3):
        if number == 0:
            await client.xreadgroup(GROUP, "dead", {settings.requests_key: ">"})
        else:
            await client.xautoclaim(settings.requests_key, GROUP, f"dead {number}", 0)

    async def handler(request: Request, run: Run) -> None:
        pytest.fail("not again")

    async with working(redis_url, handler, settings=settings, claim_seconds=0.2):
        await eventually(lambda: ended(client, run_id))
    assert await types(client, run_id) == ["queued", "failed"]


async def test_it_works_over_resp3(
    redis_url: str,
    client: Redis,
    settings: PublishingSettings,
    ask: Callable[..., Awaitable[RunId]],
) -> None:
    agent = f"a-{uuid4().hex}"

    async def handler(request: Request, run: Run) -> None:
        async for command in run.commands():
            await run.emit("heard", command.type)
            break

    runs = [await ask(agent=agent) for _ in range(2)]
    for run_id in runs:
        await client.xadd(f"{key_of(run_id)}:commands", {"type": "go", "data": "{}"})
    await client.xgroup_create(settings.requests_key, GROUP, "0")
    await client.xreadgroup(GROUP, "dead", {settings.requests_key: ">"}, count=1)
    url = f"{redis_url}?protocol=3"
    async with working(url, handler, settings=settings, claim_seconds=0.2):
        await eventually(lambda: ended(client, *runs))
    for run_id in runs:
        assert await types(client, run_id) == ["queued", "heard", "succeeded"]


async def test_a_restart_of_redis_is_survived(own_redis: RedisProcess) -> None:
    settings = PublishingSettings(timeout_seconds=1)

    async def handler(request: Request, run: Run) -> None:
        await run.emit("chunk")

    async with (
        make_deployment(own_redis.url, connections=1, timeout_seconds=1) as deployment,
        working(own_redis.url, handler, settings=settings),
    ):
        appender = Appender(deployment, settings.keys, settings.events)
        requests = Requests(deployment, appender)
        for _ in range(2):
            run_id = (await requests.create(None, profile="", agent="", input="")).run_id
            await eventually(partial(appender.ended, run_id))
            # With it goes the group.
            own_redis.kill()
            own_redis.start(empty=True)


async def test_requests_and_commands_in_a_cluster() -> None:
    settings = PublishingSettings()
    heard: list[str] = []

    async def handler(request: Request, run: Run) -> None:
        async for command in run.commands():
            heard.append(command.type)
            break

    with ClusterDeployment(binary_of("valkey")) as cluster:
        async with (
            make_deployment(cluster.url, connections=1, timeout_seconds=2) as deployment,
            working(cluster.url, handler, settings=settings),
        ):
            appender = Appender(deployment, settings.keys, settings.events)
            requests = Requests(deployment, appender)
            commands = Commands(deployment, settings.keys, appender)
            created = [
                await requests.create(None, profile="", agent="researcher", input="")
                for _ in range(5)
            ]
            for one in created:
                assert (await commands.append(one.run_id, "go", "{}")).open

            async def all_ended() -> bool:
                return all([await appender.ended(one.run_id) for one in created])

            await eventually(all_ended)
    assert heard == ["go"] * 5


# ---- as a process


@contextlib.contextmanager
def example(url: str) -> Iterator["subprocess.Popen[bytes]"]:
    """The example, running."""
    process = subprocess.Popen(
        [sys.executable, str(EXAMPLE), url],
        cwd=EXAMPLE.parents[1],
        env={**os.environ, "PYTHONPATH": str(EXAMPLE.parents[1])},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate(timeout=10)


@pytest.fixture
def valkey() -> Iterator[RedisProcess]:
    """A server of the test's own."""
    server = RedisProcess(binary_of("valkey"))
    server.start()
    yield server
    server.close()


async def test_the_example_answers_hears_and_stops(valkey: RedisProcess) -> None:
    settings = PublishingSettings()
    async with (
        make_deployment(valkey.url, connections=1, timeout_seconds=5) as deployment,
        Redis.from_url(valkey.url, decode_responses=True) as client,
    ):
        appender = Appender(deployment, settings.keys, settings.events)
        requests = Requests(deployment, appender, queued_timeout_seconds=60)
        commands = Commands(deployment, settings.keys, appender)
        leases = Leases(deployment, settings.keys, settings.events)

        async def create(query: str) -> RunId:
            asked = f'{{"query": "{query}"}}'
            return (await requests.create(None, profile="", agent="", input=asked)).run_id

        async def has(run_id: str, kind: str) -> bool:
            return kind in await types(client, run_id)

        with example(valkey.url) as process:
            short = await create("why")
            await eventually(lambda: ended(client, short))
            assert await types(client, short) == ["queued", *["chunk"] * 3, "succeeded"]
            told = await create("word " * 1000)
            await eventually(lambda: has(told, "chunk"))
            await commands.append(told, "cancel", "{}")
            await eventually(lambda: ended(client, told))
            last: Any = await client.xrevrange(key_of(told), count=1)
            assert last[0][1]["data"] == '{"by":"a command"}'
            # Told to stop, it lets what is under way go on.
            under_way = await create("word " * 20)
            await eventually(lambda: has(under_way, "chunk"))
            process.send_signal(signal.SIGTERM)
            await eventually(lambda: process.poll() is not None)
            assert process.returncode == 0
            assert await types(client, under_way) == ["queued", *["chunk"] * 22, "succeeded"]
            assert await client.xinfo_consumers(settings.requests_key, GROUP) == []

        with example(valkey.url) as process:
            lost = await create("word " * 1000)
            await eventually(lambda: has(lost, "chunk"))
            process.kill()
            # As if a minute had gone by.
            assert (await leases.end_if_lost(lost)).seconds is not None
            await client.hset(f"{{{key_of(lost)}}}:meta", "lease", "1")
            assert (await leases.end_if_lost(lost)).by_us
            assert (await types(client, lost))[-1] == "worker_lost"

        with example(valkey.url) as process:
            # What the dead one had in hand is another's, whose run it is not to begin again.
            following = await create("why")
            await eventually(lambda: ended(client, following))


async def test_a_killed_workers_run_is_done_by_another(
    redis_url: str,
    client: Redis,
    settings: PublishingSettings,
    ask: Callable[..., Awaitable[RunId]],
) -> None:
    program = (
        "import asyncio, sys\n"
        "from broker import worker\n"
        "from broker.publishing import PublishingSettings\n"
        "async def handler(request, run):\n"
        "    await run.emit('chunk', 'first')\n"
        "    await asyncio.sleep(60)\n"
        "asyncio.run(worker(sys.argv[1], handler,\n"
        "    settings=PublishingSettings(requests_key=sys.argv[2])))\n"
    )
    run_id = await ask()
    words = (sys.executable, "-c", program, redis_url, settings.requests_key)
    process = await asyncio.create_subprocess_exec(*words)
    try:

        async def under_way() -> bool:
            return "chunk" in await types(client, run_id)

        await eventually(under_way)
    finally:
        process.kill()
        await asyncio.wait_for(process.wait(), 10)

    async def handler(request: Request, run: Run) -> None:
        await run.emit("chunk", f"attempt {request.attempt}")

    async with working(redis_url, handler, settings=settings, claim_seconds=0.5):
        await eventually(lambda: ended(client, run_id))
    found: Any = await client.xrange(key_of(run_id))
    assert [fields["data"] for _, fields in found] == ["{}", "first", "attempt 2", "{}"]
