"""What `runcast check` thinks of what a server says."""

from typing import Any

import pytest

from broker.redis.inspection import (
    Finding,
    Level,
    judge_cluster,
    judge_connections,
    judge_eviction,
    judge_notifications,
    judge_output_buffer,
    judge_persistence,
    judge_rights,
    judge_version,
    rights,
)
from broker.redis.streams import KeyTemplate

OK, WARNING, PROBLEM = Level.OK, Level.WARNING, Level.PROBLEM


def _level(finding: Finding) -> Level:
    """Its level; whatever is not ok must say what to do, in one line."""
    assert bool(finding.advice) is (finding.level is not OK)
    assert "\n" not in finding.advice
    return finding.level


@pytest.mark.parametrize(
    ("info", "level"),
    [
        ({"redis_version": "6.0.16"}, PROBLEM),
        ({"redis_version": "6.2.14"}, WARNING),
        ({"redis_version": "7.0.0"}, OK),
        ({"redis_version": "10.1.0"}, OK),
        ({"redis_version": "7.2.4", "server_name": "valkey", "valkey_version": "8.1.0"}, OK),
        ({"redis_version": None}, WARNING),
        ({}, WARNING),
    ],
)
def test_version(info: dict[str, Any], level: Level) -> None:
    assert _level(judge_version(info)) is level


@pytest.mark.parametrize(
    ("policy", "maxmemory", "level"),
    [
        ("noeviction", 1 << 30, OK),
        ("volatile-lru", 1 << 30, WARNING),
        ("allkeys-lfu", 1 << 30, PROBLEM),
        ("allkeys-lfu", 0, PROBLEM),
        (None, None, WARNING),
    ],
)
def test_eviction(policy: str | None, maxmemory: int | None, level: Level) -> None:
    assert _level(judge_eviction(policy, maxmemory)) is level


@pytest.mark.parametrize(
    ("aof", "save", "level"),
    [
        (1, None, OK),
        (0, "3600 1", OK),
        (0, "", WARNING),
        (0, None, WARNING),
        (None, None, WARNING),
    ],
)
def test_persistence(aof: int | None, save: str | None, level: Level) -> None:
    assert _level(judge_persistence(aof, save)) is level


@pytest.mark.parametrize(
    ("limits", "level"),
    [
        ("normal 0 0 0 slave 268435456 67108864 60 pubsub 33554432 8388608 60", OK),
        ("slave 268435456 67108864 60 normal 1048576 0 0 pubsub 1 1 60", WARNING),
        ("normal 67108864 0 0", OK),
        ("", WARNING),
        (None, WARNING),
    ],
)
def test_output_buffer(limits: str | None, level: Level) -> None:
    assert _level(judge_output_buffer(limits)) is level


@pytest.mark.parametrize(
    ("maxclients", "connected", "level"),
    [(10_000, 10, OK), (100, 60, WARNING), (100, 50, OK), (None, 5, WARNING), (5, None, WARNING)],
)
def test_connections(maxclients: int | None, connected: int | None, level: Level) -> None:
    assert _level(judge_connections(maxclients, connected, 50)) is level


@pytest.mark.parametrize(("enabled", "level"), [(0, OK), (1, PROBLEM), (None, WARNING)])
def test_cluster(enabled: int | None, level: Level) -> None:
    info = {} if enabled is None else {"cluster_enabled": enabled}
    assert _level(judge_cluster(info)) is level


@pytest.mark.parametrize("setting", ["", "Kt", None])
def test_notifications_are_never_more_than_information(setting: str | None) -> None:
    assert _level(judge_notifications(setting)) is OK


@pytest.mark.parametrize(
    ("refusal", "advice"),
    [
        ("User a has no permissions to run the 'xread' command", "ACL SETUSER a +xread"),
        ("this user has no permissions to run the 'xread' command", "ACL SETUSER a +xread"),
        ("No permissions to access a key", "ACL SETUSER a %R~run:*"),
        (
            "this user has no permissions to access one of the keys used as arguments",
            "ACL SETUSER a %R~run:*",
        ),
        ("unknown command 'XREAD', with args beginning with: ", "use a server that has XREAD"),
    ],
)
def test_a_refusal_names_the_rule_to_add(refusal: str, advice: str) -> None:
    refusals = {
        right: refusal if right.shown == "XREAD" else None
        for right in rights(KeyTemplate("run:{run_id}"))
    }
    finding = judge_rights(refusals, user="a", key_pattern="run:*")
    assert _level(finding) is PROBLEM
    assert finding.found == "refused: XREAD"
    assert finding.advice.startswith(advice)
