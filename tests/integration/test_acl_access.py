"""`deploy/acl` with authentication: what an edge wants besides, and `runcast revoke`."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import httpx
import pytest

from broker.redis.opening import make_deployment
from broker.redis.persistence import AppendError
from broker.redis.revocations import RedisRevocations
from tests.integration.test_acl import (
    FILES,
    JSON,
    PASSWORD,
    config_line,
    refused,
    unused,
    url_of,
    users,
    without,
)
from tests.support.commands import run_command
from tests.support.deployments import Node
from tests.support.edges import Edge
from tests.support.keys_file import KeysFile
from tests.support.producer import key_of
from tests.support.servers import available_kinds, binary_of
from tests.support.waiting import eventually

BESIDES: Final = ("~runcast:revoked", "~{run:*", "+hget")
"""As README.md has it."""


@pytest.fixture(scope="session")
def redis_kind() -> str:
    """Rules are the same for all kinds."""
    return available_kinds()[0]


@pytest.fixture(scope="module")
def server(redis_kind: str) -> Iterator[Node]:
    """A server with the users of these files."""
    edge = f"{config_line('edge-notify', 'edge')} {' '.join(BESIDES)}"
    lines = [edge, config_line("revoke", "revoke")]
    node = Node(binary_of(redis_kind), ["save ''", "notify-keyspace-events Kt", *lines])
    try:
        node.start()
        yield node
    finally:
        node.close()


def test_the_readme_has_these() -> None:
    text = (FILES / "README.md").read_text()
    assert f"ACL SETUSER edge {' '.join(map(repr, BESIDES[:2]))} {BESIDES[2]}" in text


async def revoke(server: Node, user: str) -> None:
    outcome = await run_command("revoke", "--subject", "eve", "--redis-url", url_of(server, user))
    assert outcome.code == 0, outcome.err


async def test_an_edge_and_revoke_have_what_they_use(
    server: Node, tmp_path: Path, run_id: str
) -> None:
    server.ask("ACL", "LOG", "RESET")
    server.ask("CONFIG", "RESETSTAT")
    keys = KeysFile(tmp_path / "keys.toml")
    for name in ("ada", "eve"):
        keys.add(name, "watch:@own", subject=name)
    edge = Edge(url_of(server, "edge"), api_keys_file=keys.path)
    try:
        async with httpx.AsyncClient(headers=JSON) as http:

            async def status(name: str, run: str) -> int:
                answer = await http.get(edge.events_url(run), headers=keys.headers(name))
                return answer.status_code

            for name in ("ada", "eve"):
                run = f"{run_id}-{name}"
                server.ask("XADD", key_of(run), "*", "data", "{}")
                server.ask("HSET", f"{{{key_of(run)}}}:meta", "owner", name)
                assert await status(name, run) == 200
            assert await status("ada", f"{run_id}-eve") == 404
            await revoke(server, "revoke")

            async def out() -> bool:
                return await status("eve", f"{run_id}-eve") == 401

            await eventually(out)
            assert await status("ada", f"{run_id}-ada") == 200
    finally:
        edge.close()
    assert refused([server], "edge") == set()
    # Tried, to notice failovers, and done without.
    assert refused([server], "revoke") <= {"info"}
    assert unused(users("revoke")["revoke"], [server]) == set()


def test_without_them_nobody_sees_their_own_and_the_log_says_it(
    server: Node, tmp_path: Path, run_id: str
) -> None:
    keys = KeysFile(tmp_path / "keys.toml")
    keys.add("ada", "watch:@own", subject="ada")
    lacking = without(server, "edge-notify", "edge")
    edge = Edge(f"redis://{lacking}:{PASSWORD}@{server.address}/0", api_keys_file=keys.path)
    try:
        answer = httpx.get(edge.events_url(run_id), headers={**JSON, **keys.headers("ada")})
        assert answer.status_code == 503
        [line] = [line for line in edge.log() if "revocations can't be read" in line["event"]]
        assert "NOPERM" in line["error"] or "NoPermission" in line["error"]
        # Once, however often it looks.
        time.sleep(1)
        lines = [line for line in edge.log() if "revocations" in line["event"]]
        assert len(lines) == 1
    finally:
        edge.close()


@pytest.mark.parametrize("rule", [rule for rule in users("revoke")["revoke"] if rule[0] in "+~"])
async def test_revoke_misses_each_rule(server: Node, rule: str) -> None:
    user = without(server, "revoke", "revoke", rule)
    url = url_of(server, user)
    async with make_deployment(url, connections=1, timeout_seconds=5) as deployment:
        with pytest.raises(AppendError):
            await RedisRevocations(deployment, "runcast:revoked").append("key:k", 3600)
