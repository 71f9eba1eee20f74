"""`deploy/acl` for whoever appends through us: enough for all that is done, and nothing else."""

import asyncio
import contextlib
from collections.abc import Iterator
from typing import Any, Final
from uuid import uuid4

import pytest

from broker.engine.cancelling import cancel
from broker.publishing import PublishingSettings, Request, Run, RunPublisher, worker
from broker.redis.appending import Appender, AppendError, NewEvent, NotAppended
from broker.redis.commands import Commands
from broker.redis.leases import Leases
from broker.redis.opening import make_deployment
from broker.redis.requests import Requests
from broker.wire.ids import RunId
from tests.integration.test_acl import (
    config_line,
    refused,
    rules_of,
    unused,
    url_of,
    users,
    without,
)
from tests.support.deployments import Node
from tests.support.producer import key_of
from tests.support.servers import binary_of
from tests.support.waiting import eventually

SETTINGS: Final = PublishingSettings(retry_seconds=0)
ON_SERVERS: Final = {"info"}
"""Asked of each server, and done without."""


@pytest.fixture(scope="module")
def server(redis_kind: str) -> Iterator[Node]:
    """A server with the users of these files."""
    if redis_kind not in ("valkey", "debian-redis"):
        pytest.skip("needs servers that are processes of ours")
    lines = [config_line("library", "library"), config_line("edge-writing", "edge")]
    node = Node(binary_of(redis_kind), ["save ''", *lines])
    try:
        node.start()
        yield node
    finally:
        node.close()


async def work_in_every_way(url: str, server: Node) -> None:
    """All that a worker does with the library: runs, agents, commands, requests, claims."""
    agent = f"a-{uuid4().hex}"
    called: list[Request] = []

    async def handler(request: Request, run: Run) -> None:
        await run.emit("chunk")
        called.append(request)
        if request.input == "long":
            await asyncio.sleep(0.5)

    def ask(text: str) -> RunId:
        run_id = RunId(uuid4().hex)
        words = ("run_id", run_id, "profile", "native", "agent", agent, "input", text)
        server.ask("XADD", SETTINGS.requests_key, "*", *words)
        return run_id

    async with RunPublisher(url, SETTINGS) as publisher:
        for _ in range(2):
            # With the stream gone, what was known of it is to be forgotten.
            async with publisher.run("again", agent=agent, dense=True, lease_seconds=1) as run:
                await run.emit("chunk")
                await run.progress(phase="p")
                await run.flush()
                # Sent again, its ids are looked up.
                await publisher.appender.append(
                    run.run_id, [NewEvent("n", "")], producer="p", sequence=1, dense=True
                )
                await publisher.appender.append(
                    run.run_id, [NewEvent("n", "")], producer="p", sequence=1, dense=True
                )
                server.ask("XADD", f"{key_of(run.run_id)}:commands", "*", "type", "go")
                async with asyncio.timeout(5):
                    assert (await anext(run.commands())).type == "go"
            server.ask("DEL", key_of("again"))
        async with publisher.run(agent=agent, dense=True) as run:
            # Of a run that was not ended by the library, the numbers are looked for.
            run.abandon()
            with contextlib.suppress(Exception):
                await run.flush()
            run._failure = None
        server.ask("HDEL", f"{{agent:{agent}:current}}:numbers", "ended")
        async with publisher.run(agent=agent, dense=True):
            pass
    first = ask('"short"')
    server.ask("XGROUP", "CREATE", SETTINGS.requests_key, "agents", "0", "MKSTREAM")
    # One that died with it in hand.
    server.ask("XREADGROUP", "GROUP", "agents", "dead", "STREAMS", SETTINGS.requests_key, ">")
    task = asyncio.create_task(
        worker(url, handler, settings=SETTINGS, claim_seconds=0.3, handle_signals=False)
    )
    try:
        runs = [first, ask('"long"')]

        def all_ended() -> bool:
            if task.done():
                task.result()
            return all(server.ask("HEXISTS", f"{{run:{one}}}:meta", "final") for one in runs)

        await eventually(all_ended)
    finally:
        await cancel([task])
    assert sorted(one.run_id for one in called) == sorted(runs)


async def test_the_library_has_what_it_uses_and_nothing_else(server: Node) -> None:
    server.ask("FLUSHALL")
    server.ask("SCRIPT", "FLUSH")
    server.ask("ACL", "LOG", "RESET")
    server.ask("CONFIG", "RESETSTAT")
    await work_in_every_way(url_of(server, "library"), server)
    assert refused([server], "library") <= ON_SERVERS
    assert unused(users("library")["library"], [server]) == set()


async def write_as_an_edge(url: str, server: Node) -> None:
    """All that an edge writes."""
    async with make_deployment(url, connections=1, timeout_seconds=5) as deployment:
        appender = Appender(deployment, SETTINGS.keys, SETTINGS.events, retry_seconds=0)
        requests = Requests(deployment, appender, queued_timeout_seconds=0.001, retry_seconds=0)
        commands = Commands(deployment, SETTINGS.keys, appender, retry_seconds=0)
        leases = Leases(deployment, SETTINGS.keys, SETTINGS.events)
        for _ in range(2):
            created: Any = await requests.create(
                None, profile="native", agent="", input="", idempotency_key="k"
            )
        await commands.append(created.run_id, "go", "{}")
        await asyncio.sleep(0.01)
        assert (await leases.end_if_lost(created.run_id)).by_us
        run = RunId(uuid4().hex)
        for _ in range(2):
            events = [NewEvent("n", "")]
            await appender.append(run, events, producer="p", sequence=1, dense=True)
        server.ask("DEL", key_of(run))
        assert await appender.ended(run) is None
        await appender.append(run, events, producer="q", sequence=1)


async def test_an_edge_that_writes_has_what_it_uses(server: Node) -> None:
    server.ask("FLUSHALL")
    server.ask("SCRIPT", "FLUSH")
    server.ask("ACL", "LOG", "RESET")
    server.ask("CONFIG", "RESETSTAT")
    await write_as_an_edge(url_of(server, "edge"), server)
    assert refused([server], "edge") == set()
    reading = set(users("edge-notify")["edge"])
    writing = [rule for rule in users("edge-writing")["edge"] if rule not in reading]
    assert reading <= set(users("edge-writing")["edge"])
    assert unused(writing, [server]) == set()


@pytest.mark.parametrize("rule", [rule for _, rule in rules_of("library") if rule[0] == "~"])
async def test_the_library_misses_each_of_its_keys(server: Node, rule: str) -> None:
    server.ask("FLUSHALL")
    server.ask("ACL", "LOG", "RESET")
    user = without(server, "library", "library", rule)
    with contextlib.suppress(Exception):
        async with asyncio.timeout(5):
            await work_in_every_way(url_of(server, user), server)
    assert refused([server], user) - ON_SERVERS


async def test_a_right_that_is_missing_half_way_leaves_doubt_and_a_refusal_none(
    server: Node, run_id: str
) -> None:
    for rule, kind in (("+expire", AppendError), ("+evalsha", NotAppended)):
        url = url_of(server, without(server, "library", "library", rule))
        async with make_deployment(url, connections=1, timeout_seconds=5) as deployment:
            appender = Appender(deployment, SETTINGS.keys, SETTINGS.events, retry_seconds=0)
            with pytest.raises(AppendError) as caught:
                await appender.append(
                    RunId(f"{run_id}-{kind.__name__}"),
                    [NewEvent("n", "")],
                    producer="p",
                    sequence=1,
                )
            assert type(caught.value) is kind
