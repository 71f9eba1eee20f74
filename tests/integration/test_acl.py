"""`deploy/acl`: each file permits all that its user does, and nothing else.

What is used and not permitted is in ACL LOG, which must stay empty; what is permitted and not used
is missing from the servers' statistics, which must have it all.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

import httpx
import pytest
from redis import Redis as RedisOfWorker
from redis.asyncio import Redis
from redis.exceptions import NoPermissionError

from broker.redis.addresses import parse_addresses
from broker.redis.inspection import Finding, Level, Needs, inspect
from broker.redis.streams import KeyTemplate
from broker.redis.tail import Strategy
from tests.support.commands import Outcome, run_command
from tests.support.deployments import ClusterDeployment, Node, SentinelDeployment
from tests.support.deployments.node import REPLICATION_RULES
from tests.support.edges import Edge
from tests.support.producer import append, key_of
from tests.support.servers import binary_of
from tests.support.viewer import watch
from tests.support.waiting import eventually

FILES: Final = Path(__file__).parents[2] / "deploy" / "acl"
PASSWORD: Final = "of-the-test"
TAILS: Final[dict[str, Strategy]] = {"edge-notify": "auto", "edge-block": "block"}
"""What a file is for, by the setting `tail`."""
JSON: Final = {"accept": "application/json"}


def users(name: str) -> dict[str, list[str]]:
    """The users of a file, each with their rules."""
    lines = (FILES / f"{name}.acl").read_text().splitlines()
    return {user: rules for _, user, *rules in map(str.split, lines)}


def config_line(name: str, user: str) -> str:
    """A user of a file, with a password, as a line of a configuration file."""
    return " ".join(("user", user, *users(name)[user], f">{PASSWORD}"))


def permitted(rules: Sequence[str]) -> set[str]:
    """The commands among the rules."""
    return {rule[1:] for rule in rules if rule.startswith("+")}


def refused(nodes: Sequence[Node], user: str) -> set[str]:
    """What the servers refused a user."""
    everything = {entry for node in nodes for entry in node.refused()}
    return {thing for who, thing in everything if who == user}


def unused(rules: Sequence[str], nodes: Sequence[Node]) -> set[str]:
    """The commands among the rules that no server has executed."""
    used = {command for node in nodes for command in node.used()}
    # Redis 6.2 counts a command with all its subcommands as one.
    return {one for one in permitted(rules) if not {one, one.partition("|")[0]} & used}


@pytest.fixture(scope="module")
def binary(redis_kind: str) -> str:
    """A server that the test may start."""
    if redis_kind not in ("valkey", "debian-redis"):
        pytest.skip("needs servers that are processes of ours")
    return binary_of(redis_kind)


@pytest.fixture(scope="module", params=list(TAILS))
def edge_file(request: pytest.FixtureRequest) -> str:
    """Each file of an edge over a single server."""
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def server(binary: str, edge_file: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A server that was started with exactly these files, and then told the passwords."""
    path = tmp_path_factory.mktemp("acl") / "users.acl"
    path.write_text(
        "".join((FILES / f"{name}.acl").read_text() for name in (edge_file, "worker", "library"))
    )
    node = Node(binary, ["save ''", "notify-keyspace-events Kt", f"aclfile {path}"])
    try:
        node.start()
        for user in ("edge", "worker", "library"):
            node.ask("ACL", "SETUSER", user, f">{PASSWORD}")
        yield node
    finally:
        node.close()


@pytest.fixture
def start_quick_edge() -> Iterator[Callable[..., Edge]]:
    """Starts edges that soon let go of what nobody watches."""
    started: list[Edge] = []

    def start(url: str, **settings: str) -> Edge:
        started.append(Edge(url, linger_seconds=0.2, **settings))
        return started[-1]

    yield start
    for edge in started:
        edge.close()


def url_of(server: Node, user: str) -> str:
    """The server's URL for a user."""
    return f"redis://{user}:{PASSWORD}@{server.address}/0"


@pytest.fixture
async def worker(server: Node) -> AsyncIterator["Redis"]:
    """A worker's client."""
    async with plain_client(server, "worker") as client:
        yield client


def plain_client(server: Node, user: str) -> Redis:
    """A client as a worker has one that knows nothing of us; it names its connection."""
    return Redis.from_url(url_of(server, user), decode_responses=True, client_name="worker")


async def status(url: str) -> int:
    """The status of a request for JSON."""
    async with httpx.AsyncClient(headers=JSON) as http:
        return (await http.get(url)).status_code


async def watch_in_every_way(edge: Edge, worker: Redis, server: Node, run_id: str) -> None:
    """All that an edge is asked for: live, replayed, from the end, as a page, with a gap."""
    async with watch(edge.events_url(run_id)) as viewer:
        await viewer.until_caught_up()
        ids = [await append(worker, run_id, str(number)) for number in range(5)]
        await viewer.until(5)
        await worker.expire(key_of(run_id), 3600)
        # A run more while the first is waited for: the blocked read is interrupted.
        async with watch(edge.events_url(f"{run_id}-2")) as other:
            await other.until_caught_up()
            await append(worker, f"{run_id}-2")
            await other.until(1)
        assert viewer.ids == ids
    for query, last_event_id, expected in (
        ("", None, ids),
        ("", ids[1], ids[2:]),
        ("from=-2", None, ids[3:]),
        ("from=latest", None, []),
    ):
        async with watch(edge.events_url(run_id, query), last_event_id) as viewer:
            await viewer.until_caught_up()
            assert viewer.ids == expected
            assert viewer.gaps == []
    async with httpx.AsyncClient(headers=JSON) as http:
        page = (await http.get(edge.events_url(run_id, "limit=2"))).json()
    assert [event["id"] for event in page["events"]] == ids[:2]
    # One that nobody has in memory.
    trimmed = f"{run_id}-3"
    ids = [await append(worker, trimmed) for _ in range(3)]
    server.ask("XTRIM", key_of(trimmed), "MAXLEN", 1)
    async with watch(edge.events_url(trimmed), ids[0]) as viewer:
        await viewer.until_caught_up()
        assert [gap["reason"] for gap in viewer.gaps] == ["trimmed"]
        outcome = await publish(server, trimmed)
        assert (outcome.code, outcome.out.count("-")) == (0, 1)
        await viewer.until_ended()
    assert server.ask("TTL", key_of(trimmed)) > 0


async def publish(server: Node, run_id: str) -> Outcome:
    """`runcast publish` of a run's end."""
    return await run_command(
        *("publish", run_id, "--type", "done", "--data", "{}"),
        *("--redis-url", url_of(server, "library")),
    )


async def test_an_edge_and_a_worker_have_what_they_use_and_nothing_else(
    server: Node,
    worker: Redis,
    edge_file: str,
    start_quick_edge: Callable[..., Edge],
    run_id: str,
) -> None:
    server.ask("ACL", "LOG", "RESET")
    server.ask("CONFIG", "RESETSTAT")
    edge = start_quick_edge(url_of(server, "edge"), tail=TAILS[edge_file])
    assert await status(f"{edge.url}/readyz") == 200
    await watch_in_every_way(edge, worker, server, run_id)
    if edge_file == "edge-notify":
        assert edge.metric("runcast_tail_strategy", strategy="notify") == 1
        server.ask("CONFIG", "SET", "notify-keyspace-events", "")
        try:
            await eventually(lambda: edge.metric("runcast_tail_strategy", strategy="block") == 1)
            await watch_in_every_way(edge, worker, server, f"{run_id}-blocked")
        finally:
            server.ask("CONFIG", "SET", "notify-keyspace-events", "Kt")

    rules = users(edge_file)["edge"] + users("worker")["worker"]
    # The last UNSUBSCRIBE comes when a run that nobody watches any more is let go.
    await eventually(lambda: not unused(rules, [server]), within=20)
    assert refused([server], "edge") == set()
    # The test's own client does without this, and `runcast publish` without those.
    assert refused([server], "worker") <= {"client|setinfo"}
    assert refused([server], "library") <= {"ping", "info"}
    assert edge.traces() == ""


# ---- each rule is needed


def rules_of(*names: str) -> list[tuple[str, str]]:
    """The rules of the files' users, each with its file: commands, keys and channels."""
    return [
        (name, rule)
        for name in names
        for rules in users(name).values()
        for rule in rules
        if rule[0] in "+~&"
    ]


async def checked(url: str, strategy: Strategy) -> list[Finding]:
    """What `runcast check` finds wrong."""
    needs = Needs(KeyTemplate("run:{run_id}"), connections=1, strategy=strategy)
    findings = await inspect(parse_addresses(url), needs)
    return [finding for finding in findings if finding.level is not Level.OK]


def without(node: Node, name: str, user: str, left_out: str = "") -> str:
    """Makes a user with a file's rules but one; the user's name."""
    made = f"{user}-{re.sub('[^a-z]', '', left_out)}"
    rules = [rule for rule in users(name)[user] if rule != left_out]
    node.ask("ACL", "SETUSER", made, "reset", *rules, f">{PASSWORD}")
    return made


@pytest.mark.parametrize(("edge_file", "rule"), rules_of(*TAILS), indirect=["edge_file"])
async def test_check_misses_each_rule_of_an_edge(server: Node, edge_file: str, rule: str) -> None:
    tail = TAILS[edge_file]
    whole = await checked(url_of(server, without(server, edge_file, "edge")), tail)
    assert "rights" not in [finding.name for finding in whole]
    lacking = await checked(url_of(server, without(server, edge_file, "edge", rule)), tail)
    assert [one for one in lacking if rule in one.advice.split()], lacking


@pytest.mark.parametrize("edge_file", ["edge-block"], indirect=True)
@pytest.mark.parametrize(("name", "rule"), rules_of("worker"))
async def test_a_worker_misses_each_rule(server: Node, name: str, rule: str, run_id: str) -> None:
    async with plain_client(server, without(server, name, "worker", rule)) as client:

        async def work() -> None:
            await append(client, run_id)
            await client.expire(key_of(run_id), 3600)

        with pytest.raises(NoPermissionError):
            await work()
    # The event is there without a limit, or is not there.
    assert server.ask("TTL", key_of(run_id)) == (-1 if rule == "+expire" else -2)


# ---- Cluster


@pytest.fixture(scope="module")
def cluster(binary: str) -> Iterator[ClusterDeployment]:
    """A Cluster that has the files' users."""
    lines = [config_line("edge-cluster", "edge"), config_line("worker", "worker")]
    with ClusterDeployment(binary, users=lines) as deployment:
        yield deployment


async def test_an_edge_of_a_cluster_has_what_it_uses_and_nothing_else(
    cluster: ClusterDeployment, start_quick_edge: Callable[..., Edge], run_id: str
) -> None:
    for node in cluster.nodes:
        node.ask("ACL", "LOG", "RESET")
        node.ask("CONFIG", "RESETSTAT")
    edge = start_quick_edge(cluster.url_as("edge", PASSWORD))
    key = key_of(run_id)
    assert await status(f"{edge.url}/readyz") == 200

    def add(number: int) -> str:
        url = url_of(cluster.node_of(key), "worker")
        with RedisOfWorker.from_url(url, decode_responses=True) as client:
            return str(client.xadd(key, {"type": "chunk", "data": str(number)}))

    ids = [add(0), add(1)]
    slot, source = cluster.slot_of(key), cluster.shard_of(key)
    move = await asyncio.to_thread(cluster.begin_move, slot, (source + 1) % 3)
    await asyncio.to_thread(move.move_keys)
    # The slot is still with the source, which sends us to the target for this one time.
    async with watch(edge.events_url(run_id)) as viewer:
        await viewer.until(2)
        await asyncio.to_thread(move.finish)
        ids.append(add(2))
        await viewer.until(3)
        assert viewer.ids == ids

    assert await status(edge.events_url(run_id, "from=-1&wait=0")) == 200
    # A cursor that is not there has the edge ask why.
    async with watch(edge.events_url(run_id), "1-1") as viewer:
        await viewer.until_caught_up()
        assert len(viewer.gaps) == 1
    rules = users("edge-cluster")["edge"]
    await eventually(lambda: not unused(rules, cluster.nodes), within=20)
    assert refused(cluster.nodes, "edge") == set()
    assert edge.traces() == ""


@pytest.mark.parametrize(("name", "rule"), rules_of("edge-cluster"))
async def test_check_misses_each_rule_of_an_edge_of_a_cluster(
    cluster: ClusterDeployment, name: str, rule: str
) -> None:
    for left_out in ("", rule):
        for node in cluster.nodes:
            user = without(node, name, "edge", left_out)
        found = await checked(cluster.url_as(user, PASSWORD), "auto")
        missed = [one for one in found if rule in one.advice.split()]
        assert bool(missed) is bool(left_out), found


# ---- Sentinel


@pytest.fixture(scope="module")
def sentinels(binary: str) -> Iterator[SentinelDeployment]:
    """A primary with a replica under Sentinels, where all have the files' users."""
    with SentinelDeployment(
        binary,
        users=[config_line("edge-notify", "edge"), config_line("sentinel", "sentinel")],
        sentinel_users=[config_line("edge-on-sentinel", "edge")],
        sentinels_are=("sentinel", PASSWORD),
    ) as deployment:
        yield deployment


def as_edge(deployment: SentinelDeployment, on_sentinel: str = "edge") -> str:
    """The URL of an edge that is a user of the servers, and of the Sentinels."""
    url = deployment.url_as("edge", PASSWORD)
    return f"{url}?sentinel_username={on_sentinel}&sentinel_password={PASSWORD}"


async def test_sentinels_have_what_they_use_and_nothing_else(
    sentinels: SentinelDeployment, start_quick_edge: Callable[..., Edge], run_id: str
) -> None:
    edge = start_quick_edge(as_edge(sentinels))
    async with watch(edge.events_url(run_id)) as viewer:
        await viewer.until_caught_up()
        sentinels.primary.ask("XADD", key_of(run_id), "*", "data", "{}")
        await viewer.until(1)
        await asyncio.to_thread(sentinels.fail_over)
        await asyncio.to_thread(sentinels.until_settled)
        sentinels.primary.ask("XADD", key_of(run_id), "*", "data", "{}")
        await viewer.until(2, within=20)
    rules = users("sentinel")
    assert unused(rules["sentinel"] + rules["replica"], sentinels.nodes) == set()
    for user in ("sentinel", "edge"):
        assert refused(sentinels.nodes, user) == set()
    assert refused(sentinels.sentinels, "edge") == set()


def test_replicas_of_the_tests_have_the_rules_of_the_file() -> None:
    # So whatever fails over in the tests shows that these are enough.
    assert set(users("sentinel")["replica"]) == {"on", "resetchannels", *REPLICATION_RULES}


@pytest.mark.parametrize(("name", "rule"), rules_of("edge-on-sentinel"))
async def test_check_misses_each_rule_on_sentinels(
    sentinels: SentinelDeployment, name: str, rule: str
) -> None:
    for left_out in ("", rule):
        for sentinel in sentinels.sentinels:
            user = without(sentinel, name, "edge", left_out)
        found = await checked(as_edge(sentinels, user), "auto")
        missed = [one for one in found if rule in f"{one.found} {one.advice}".split()]
        assert bool(missed) is bool(left_out), found
