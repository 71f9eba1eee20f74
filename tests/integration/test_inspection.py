"""What is found wrong with real servers, by `runcast check`, in each shape that they have."""

from collections.abc import AsyncIterator, Iterator, Sequence
from urllib.parse import urlsplit

import pytest
from redis.asyncio import Redis

from broker.redis.addresses import parse_addresses
from broker.redis.inspection import Finding, Level, Needs, inspect
from broker.redis.streams import KeyTemplate
from broker.redis.tail import Strategy
from tests.support.deployments import ClusterDeployment, SentinelDeployment, TlsRedis
from tests.support.servers import RedisProcess, available_kinds, binary_of
from tests.support.waiting import eventually


@pytest.fixture
async def admin(own_redis: RedisProcess) -> AsyncIterator["Redis"]:
    """A client that may do everything, of a server that the test may change."""
    async with Redis.from_url(own_redis.url, decode_responses=True) as client:
        yield client


async def looked_at(
    url: str, *, tail: Strategy = "auto", timeout_seconds: float = 5
) -> list[Finding]:
    """What an edge with these settings would find."""
    needs = Needs(
        KeyTemplate("run:{run_id}"),
        connections=36,
        strategy=tail,
        timeout_seconds=timeout_seconds,
    )
    return await inspect(parse_addresses(url), needs)


def of_name(findings: Sequence[Finding], name: str) -> Finding:
    """The last one of that name."""
    return next(finding for finding in reversed(findings) if finding.name == name)


def fit(findings: Sequence[Finding]) -> bool:
    """Whether there is no problem."""
    return all(finding.level is not Level.PROBLEM for finding in findings)


@pytest.mark.parametrize(
    ("setting", "value", "name", "level"),
    [
        ("maxmemory-policy", "volatile-ttl", "maxmemory-policy", "warning"),
        ("maxmemory-policy", "allkeys-lru", "maxmemory-policy", "problem"),
        ("client-output-buffer-limit", "normal 1mb 0 0", "output buffer", "warning"),
        ("maxclients", "35", "connections", "warning"),
        ("appendonly", "yes", "persistence", "ok"),
        ("save", "3600 1", "persistence", "ok"),
        ("client-output-buffer-limit", "pubsub 1mb 0 0", "output buffer (pubsub)", "warning"),
        ("maxmemory", "1mb", "memory", "warning"),
        ("notify-keyspace-events", "", "notifications", "ok"),
    ],
)
async def test_a_setting_is_judged(
    own_redis: RedisProcess, admin: Redis, setting: str, value: str, name: str, level: str
) -> None:
    await admin.config_set(setting, value)
    found = await looked_at(own_redis.url)
    finding = of_name(found, name)
    assert finding.level == level
    assert bool(finding.advice) is (level != "ok")


async def test_notifications_that_an_edge_relies_on_are_missed(
    own_redis: RedisProcess, admin: Redis
) -> None:
    await admin.config_set("notify-keyspace-events", "Kx")
    found = await looked_at(own_redis.url, tail="notify")
    finding = of_name(found, "notifications")
    assert finding.level == "warning"
    words = finding.advice.partition(":")[0].split()
    await admin.execute_command(*words)  # type: ignore[no-untyped-call]
    found = await looked_at(own_redis.url, tail="notify")
    assert of_name(found, "notifications").level == "ok"


async def test_a_missing_right_to_subscribe_names_command_or_channel(
    own_redis: RedisProcess, admin: Redis
) -> None:
    rules = ("on", ">word", "allkeys", "resetchannels", "+@all", "-subscribe")
    await admin.execute_command("ACL", "SETUSER", "edge", *rules)  # type: ignore[no-untyped-call]
    url = own_redis.url.replace("://", "://edge:word@")
    for rule in ("+subscribe", "&__keyspace@0__:run:*"):
        rights = of_name(await looked_at(url), "rights")
        assert rights.level == "warning"
        assert rights.found.startswith("refused: SUBSCRIBE")
        words, _, lost = rights.advice.partition(" (without: ")
        assert rule in words.split()
        assert lost
        await admin.execute_command(*words.split())  # type: ignore[no-untyped-call]
    assert of_name(await looked_at(url), "rights").level == "ok"


@pytest.fixture(scope="module")
def sentinels(redis_kind: str) -> Iterator[SentinelDeployment]:
    """A primary with a replica under Sentinel; not to be changed."""
    if redis_kind not in ("valkey", "debian-redis"):
        pytest.skip("needs servers that are processes of ours")
    with SentinelDeployment(
        binary_of(redis_kind), password="of-the-data", sentinel_password="of-sentinel"
    ) as deployment:
        yield deployment


async def test_sentinel_and_the_primary_are_looked_at(sentinels: SentinelDeployment) -> None:
    found = await looked_at(sentinels.url)
    assert fit(found)
    about_sentinel, role = of_name(found, "sentinel"), of_name(found, "role")
    assert (about_sentinel.level, about_sentinel.server) == ("ok", "")
    assert sentinels.primary.address in about_sentinel.found
    assert (role.found, role.server) == ("primary", f"redis://{sentinels.primary.address}")
    replication = of_name(found, "replication")
    assert replication.level == "warning"
    assert "min-replicas-to-write 1" in replication.advice


async def test_a_primary_of_another_name_is_told_from_those_there_are(
    sentinels: SentinelDeployment,
) -> None:
    found = await looked_at(sentinels.url.replace("/runs/", "/jobs/"))
    assert not fit(found)
    (finding,) = found
    assert finding.name == "sentinel"
    assert "no primary is monitored as jobs; those that are: runs" in finding.found


async def test_sentinels_that_refuse_us_are_a_problem(sentinels: SentinelDeployment) -> None:
    found = await looked_at(sentinels.url.partition("?")[0])
    assert not fit(found)
    (finding,) = found
    assert finding.found.count("it wants a password") == 3
    assert "sentinel_password=" in finding.advice
    assert "of-the-data" not in str(found)


async def test_a_sentinel_by_a_plain_url_is_told_the_form(sentinels: SentinelDeployment) -> None:
    sentinel = sentinels.sentinels[0]
    found = await looked_at(sentinel.url)
    assert not fit(found)
    mode = of_name(found, "mode")
    assert mode.found == "a Sentinel, which has no runs"
    assert f"redis+sentinel://{sentinel.address}/NAME" in mode.advice


async def test_a_server_by_a_sentinel_url_is_told_the_form(sentinels: SentinelDeployment) -> None:
    address = sentinels.primary.address
    found = await looked_at(f"redis+sentinel://{address}/runs?sentinel_password=of-the-data")
    assert not fit(found)
    assert "no Sentinel: for a server, write redis://" in of_name(found, "sentinel").found


async def test_a_replica_is_told_from_its_primary(sentinels: SentinelDeployment) -> None:
    found = await looked_at(sentinels.replicas[0].url)
    role = of_name(found, "role")
    assert fit(found)
    assert role.level == "warning"
    assert role.found == f"a replica of {sentinels.primary.address}"


async def test_sentinels_without_a_majority_are_a_problem(redis_kind: str) -> None:
    if redis_kind not in ("valkey", "debian-redis"):
        pytest.skip("needs servers that are processes of ours")
    with SentinelDeployment(binary_of(redis_kind)) as deployment:
        for sentinel in deployment.sentinels[1:]:
            sentinel.kill()
        first = deployment.sentinels[0]

        def is_alone() -> bool:
            return first.told("SENTINEL", "CKQUORUM", deployment.service) is None

        await eventually(is_alone)
        found = await looked_at(deployment.url)
        assert not fit(found)
        assert f"{first.address}: NOQUORUM" in of_name(found, "sentinel").found
        # The primary itself is there.
        assert of_name(found, "role").level == "ok"


@pytest.fixture(scope="module")
def cluster(redis_kind: str) -> Iterator[ClusterDeployment]:
    """A Cluster; not to be changed, but for its settings."""
    if redis_kind not in ("valkey", "debian-redis"):
        pytest.skip("needs servers that are processes of ours")
    with ClusterDeployment(binary_of(redis_kind)) as deployment:
        yield deployment


async def test_each_primary_of_a_cluster_is_looked_at(cluster: ClusterDeployment) -> None:
    cluster.nodes[1].ask("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    try:
        found = await looked_at(cluster.url)
    finally:
        cluster.nodes[1].ask("CONFIG", "SET", "maxmemory-policy", "noeviction")
    assert not fit(found)
    (finding,) = [row for row in found if row.level == "problem"]
    assert finding.name == "maxmemory-policy"
    assert finding.server == f"redis://{cluster.nodes[1].address}"
    assert [row.found for row in found if row.name == "mode"] == ["a node of a Cluster"] * 3
    assert of_name(found, "cluster").level == "warning"
    assert "3 primaries; without a replica: " in of_name(found, "cluster").found


async def test_a_cluster_relies_on_notifications(cluster: ClusterDeployment) -> None:
    cluster.nodes[0].ask("CONFIG", "SET", "notify-keyspace-events", "")
    try:
        found = await looked_at(cluster.url)
    finally:
        cluster.nodes[0].ask("CONFIG", "SET", "notify-keyspace-events", "Kt")
    levels = [row.level for row in found if row.name == "notifications"]
    assert sorted(levels) == ["ok", "ok", "warning"]


async def test_a_node_of_a_cluster_by_a_plain_url_is_told_the_form(
    cluster: ClusterDeployment,
) -> None:
    node = cluster.nodes[0]
    found = await looked_at(node.url)
    assert not fit(found)
    mode = of_name(found, "mode")
    assert mode.found == "a node of a Cluster, which has only a part of the runs"
    assert f"redis+cluster://{node.address}" in mode.advice


async def test_a_server_by_a_cluster_url_is_told_the_form(own_redis: RedisProcess) -> None:
    address = urlsplit(own_redis.url).netloc
    found = await looked_at(f"redis+cluster://{address}")
    assert not fit(found)
    mode = of_name(found, "mode")
    assert mode.advice == f"write redis://{address}"


async def test_a_cluster_with_slots_that_nobody_serves_is_a_problem(redis_kind: str) -> None:
    if redis_kind not in ("valkey", "debian-redis"):
        pytest.skip("needs servers that are processes of ours")
    with ClusterDeployment(binary_of(redis_kind)) as deployment:
        node = deployment.nodes[0]
        for one in deployment.nodes:
            one.ask("CLUSTER", "DELSLOTS", 0)
        found = await looked_at(f"redis+cluster://{node.address}")
    assert not fit(found)
    assert "1 of 16,384 slots are served by nobody" in of_name(found, "cluster").found


@pytest.fixture(scope="module")
def tls() -> Iterator[TlsRedis]:
    """A server that speaks TLS only."""
    if "debian-redis" not in available_kinds():
        pytest.skip("no redis-server with TLS here; the embedded Valkey is built without")
    with TlsRedis(binary_of("debian-redis")) as server:
        yield server


async def test_tls_is_explained_where_it_fails(tls: TlsRedis) -> None:
    assert fit(await looked_at(tls.url))
    plain = tls.untrusting_url.replace("rediss://", "redis://")
    for url, words in {
        tls.untrusting_url: "say which authority to trust: add ?ssl_ca_certs=",
        # The same address, by a name that the certificate is not for.
        tls.url.replace("127.0.0.1", "127.1"): "the host name in --redis-url that the",
        plain: "if it speaks TLS there, write rediss:// instead of redis://",
    }.items():
        found = await looked_at(url)
        assert not fit(found)
        assert words in of_name(found, "reachable").advice


async def test_a_server_without_tls_is_told_from_one_with(own_redis: RedisProcess) -> None:
    url = own_redis.url.replace("redis://", "rediss://")
    found = await looked_at(url, timeout_seconds=1)
    assert not fit(found)
    assert "or write redis:// if it does not speak TLS there" in of_name(found, "reachable").advice
