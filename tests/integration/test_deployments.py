"""The deployments that other tests stand on: do they do what they say?"""

from collections.abc import Callable, Iterator

import pytest
import redis

from tests.support.deployments import (
    Certificates,
    ClusterDeployment,
    Node,
    SentinelDeployment,
    TlsRedis,
)
from tests.support.servers import available_kinds, binary_of
from tests.support.waiting import eventually_sync

OWN_KINDS = [kind for kind in available_kinds() if kind in ("valkey", "debian-redis")]
"""Kinds of server that are processes of ours."""


@pytest.fixture(scope="module", params=OWN_KINDS)
def binary(request: pytest.FixtureRequest) -> str:
    """Each server that can be run here."""
    return binary_of(request.param)


@pytest.fixture(scope="module")
def tls_binary() -> str:
    """The one with TLS."""
    if "debian-redis" not in OWN_KINDS:
        pytest.skip("no redis-server with TLS here; the embedded Valkey is built without")
    return binary_of("debian-redis")


@pytest.fixture
def certificates() -> Iterator[Certificates]:
    """An authority of the test's own."""
    made = Certificates()
    yield made
    made.close()


def says(node: Node, *words: object) -> Callable[[], bool]:
    """Whether a server answers so; the last of `words` is the answer."""
    *command, answer = words
    return lambda: node.told(*command) == answer


def test_sentinel_fails_over_and_the_old_primary_is_demoted(binary: str) -> None:
    with SentinelDeployment(binary, replicas=2) as deployment:
        first = deployment.primary
        assert deployment.url.startswith("redis+sentinel://127.0.0.1:")
        assert deployment.url.endswith("/runs/0")
        assert first.url == deployment.primary_url
        assert len(deployment.replicas) == 2
        first.ask("XADD", "run:1", "1-1", "data", "{}")

        second = deployment.fail_over()
        assert second is deployment.primary is not first
        deployment.until_settled()
        assert first in deployment.replicas
        assert second.ask("XADD", "run:1", "2-1", "data", "{}") == "2-1"
        eventually_sync(says(first, "XLEN", "run:1", 2))


def test_sentinel_survives_a_killed_and_a_paused_primary(binary: str) -> None:
    with SentinelDeployment(binary, append_only=True) as deployment:
        first = deployment.primary
        second = deployment.kill_primary()
        assert second is deployment.primary is not first
        assert deployment.replicas == []
        deployment.restart_dead()
        assert deployment.replicas == [first]

        assert deployment.pause_primary() is second
        assert deployment.primary is first
        deployment.resume(second)
        assert deployment.replicas == [second]


def test_what_is_written_while_replication_is_paused_is_lost(binary: str) -> None:
    with SentinelDeployment(binary) as deployment:
        deployment.primary.ask("XADD", "run:1", "1-1", "data", "{}")
        eventually_sync(says(deployment.replicas[0], "XLEN", "run:1", 1))
        deployment.pause_replication()
        deployment.primary.ask("XADD", "run:1", "2-1", "data", "{}")
        after = deployment.kill_primary()
        assert after.ask("XLEN", "run:1") == 1
        deployment.restart_dead()

        deployment.pause_replication()
        deployment.resume_replication()
        deployment.primary.ask("XADD", "run:1", "3-1", "data", "{}")
        eventually_sync(says(deployment.replicas[0], "XLEN", "run:1", 2))


def test_sentinel_with_passwords_and_users(binary: str) -> None:
    with SentinelDeployment(
        binary,
        password="of data",
        sentinel_password="of-sentinel",
        users=["user edge on >word ~run:* +xread +ping"],
    ) as deployment:
        assert deployment.url.startswith("redis+sentinel://:of%20data@127.0.0.1:")
        assert deployment.url.endswith("/runs/0?sentinel_password=of-sentinel")
        assert deployment.url_as("edge", "word").startswith("redis+sentinel://edge:word@127.0.0.1:")
        primary = deployment.primary
        with redis.Redis(port=primary.port, username="edge", password="word") as edge:
            assert edge.xread({"run:1": "0-0"}) == []
            with pytest.raises(redis.exceptions.NoPermissionError):
                edge.xadd("run:1", {"data": "{}"})
        with (
            redis.Redis(port=deployment.sentinels[0].port) as stranger,
            pytest.raises(redis.AuthenticationError),
        ):
            stranger.ping()
        assert deployment.fail_over() is not primary


def test_sentinel_over_tls(tls_binary: str, certificates: Certificates) -> None:
    with SentinelDeployment(tls_binary, certificates=certificates) as deployment:
        assert deployment.url.startswith("rediss+sentinel://")
        assert f"?ssl_ca_certs={certificates.authority}" in deployment.url
        assert deployment.kill_primary() is deployment.primary


def test_cluster_serves_moves_slots_and_goes_down(binary: str) -> None:
    with ClusterDeployment(binary, append_only=True) as deployment:
        key = "run:1"
        source = deployment.shard_of(key)
        target = (source + 1) % 3
        old, new = deployment.primary(source), deployment.primary(target)
        assert deployment.node_of(key) is old
        old.ask("XADD", key, "1-1", "data", "{}")
        with pytest.raises(redis.exceptions.MovedError):
            new.ask("XADD", key, "*", "data", "{}")

        move = deployment.begin_move(deployment.slot_of(key), target)
        assert old.ask("XLEN", key) == 1
        assert move.move_keys() == 1
        with pytest.raises(redis.exceptions.AskError):
            old.ask("XLEN", key)
        move.finish()
        assert deployment.node_of(key) is new
        assert new.ask("XRANGE", key, "-", "+") == [["1-1", ["data", "{}"]]]
        deployment.move_slot(deployment.slot_of(key), source)
        assert deployment.node_of(key) is old

        deployment.stop(target)
        with pytest.raises(redis.exceptions.ClusterDownError):
            old.ask("XLEN", key)
        deployment.restart(target)
        assert old.ask("XLEN", key) == 1


def test_cluster_with_replicas_fails_over(binary: str) -> None:
    with ClusterDeployment(binary, replicas=1) as deployment:
        key = "run:1"
        shard = deployment.shard_of(key)
        first, replica = deployment.shards[shard]
        first.ask("XADD", key, "1-1", "data", "{}")
        assert deployment.fail_over(shard) is replica is deployment.node_of(key)
        assert deployment.primary(shard) is replica

        deployment.pause_replication(shard)
        replica.ask("XADD", key, "2-1", "data", "{}")
        assert deployment.kill_primary(shard) is first
        assert first.ask("XLEN", key) == 1
        deployment.restart(shard)

        assert deployment.pause_primary(shard) is first
        assert deployment.node_of(key) is replica
        deployment.resume(first)
        assert deployment.primary(shard) is replica


def test_cluster_with_a_password_over_tls(tls_binary: str, certificates: Certificates) -> None:
    with ClusterDeployment(
        tls_binary, password="word", certificates=certificates, users=["user edge on >edge +ping"]
    ) as deployment:
        assert deployment.url.startswith("rediss+cluster://:word@127.0.0.1:")
        assert deployment.url_as("edge", "edge").startswith("rediss+cluster://edge:edge@127")
        key = "run:1"
        deployment.node_of(key).ask("XADD", key, "1-1", "data", "{}")
        deployment.move_slot(deployment.slot_of(key), (deployment.shard_of(key) + 1) % 3)
        assert deployment.node_of(key).ask("XLEN", key) == 1


def test_tls(tls_binary: str) -> None:
    with TlsRedis(tls_binary) as server:
        with redis.Redis.from_url(server.url) as client:
            assert client.ping()
        with (
            redis.Redis.from_url(server.untrusting_url) as stranger,
            pytest.raises(redis.ConnectionError, match="CERTIFICATE"),
        ):
            stranger.ping()
