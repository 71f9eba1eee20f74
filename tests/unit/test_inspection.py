"""What `runcast check` thinks of what a server says."""

import ssl
from typing import Any

import pytest
from redis.exceptions import (
    AuthenticationError,
    NoPermissionError,
    RedisError,
    ResponseError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from broker.redis.inspection import Finding, Level
from broker.redis.inspection.cluster import Shard, judge_cluster
from broker.redis.inspection.judgements import (
    judge_connections,
    judge_eviction,
    judge_memory,
    judge_mode,
    judge_notifications,
    judge_output_buffer,
    judge_persistence,
    judge_replication,
    judge_role,
    judge_version,
)
from broker.redis.inspection.rights import judge_rights, rights
from broker.redis.inspection.sentinel import SentinelView, judge_sentinels
from broker.redis.inspection.unreachable import judge_failure
from broker.redis.streams import KeyTemplate
from broker.redis.tail import Strategy

OK, WARNING, PROBLEM = Level.OK, Level.WARNING, Level.PROBLEM
KEYS = KeyTemplate("run:{run_id}")


def _level(finding: Finding) -> Level:
    """Its level; whatever is not ok must say what to do, in one line."""
    assert bool(finding.advice) is (finding.level is not OK)
    assert "\n" not in finding.advice + finding.found
    return finding.level


# ---- one server


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
    ("info", "in_cluster", "level", "advice"),
    [
        ({"redis_mode": "standalone"}, False, OK, ""),
        ({"redis_mode": "cluster"}, True, OK, ""),
        ({"redis_mode": "cluster"}, False, PROBLEM, "write redis+cluster://a:1 and"),
        ({"redis_mode": "sentinel"}, False, PROBLEM, "write redis+sentinel://a:1/NAME"),
        ({"server_mode": "sentinel"}, True, PROBLEM, "write redis+sentinel://a:1/NAME"),
        ({"redis_mode": "standalone"}, True, PROBLEM, "write redis://a:1"),
        ({}, False, WARNING, "make sure"),
    ],
)
def test_mode(info: dict[str, Any], in_cluster: bool, level: Level, advice: str) -> None:
    finding = judge_mode(info, in_cluster=in_cluster, place="a:1")
    assert _level(finding) is level
    assert finding.advice.startswith(advice)


@pytest.mark.parametrize(
    ("info", "level", "found"),
    [
        ({"role": "master"}, OK, "primary"),
        ({"role": "slave", "master_host": "a", "master_port": 1}, WARNING, "a replica of a:1"),
        (
            {
                "role": "slave",
                "master_host": "a",
                "master_port": 1,
                "master_link_status": "down",
            },
            WARNING,
            "a replica of a:1, which it has lost",
        ),
        ({"role": "slave"}, WARNING, "a replica"),
        ({}, WARNING, "can't tell: not permitted to ask"),
    ],
)
def test_role(info: dict[str, Any], level: Level, found: str) -> None:
    finding = judge_role(info)
    assert _level(finding) is level
    assert finding.found == found


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
    ("used", "maxmemory", "level"),
    [(10, 0, OK), (10, 100, OK), (91, 100, WARNING), (None, 100, WARNING), (10, None, WARNING)],
)
def test_memory(used: int | None, maxmemory: int | None, level: Level) -> None:
    assert _level(judge_memory(used, maxmemory)) is level


@pytest.mark.parametrize(
    ("info", "save", "level"),
    [
        ({"aof_enabled": 1}, None, OK),
        ({"aof_enabled": 1, "aof_last_write_status": "ok"}, "", OK),
        ({"aof_enabled": 1, "aof_last_write_status": "err"}, "", PROBLEM),
        ({"aof_enabled": 0, "rdb_last_bgsave_status": "ok"}, "3600 1", OK),
        ({"aof_enabled": 0, "rdb_last_bgsave_status": "err"}, "3600 1", PROBLEM),
        ({"aof_enabled": 0, "rdb_last_bgsave_status": "err"}, "", WARNING),
        ({"aof_enabled": 0}, None, WARNING),
        ({}, None, WARNING),
    ],
)
def test_persistence(info: dict[str, Any], save: str | None, level: Level) -> None:
    assert _level(judge_persistence(info, save)) is level


@pytest.mark.parametrize(
    ("replicas", "least", "level"),
    [
        (0, 0, OK),
        (0, None, OK),
        (2, 1, OK),
        (1, 0, WARNING),
        (1, None, WARNING),
        (None, None, WARNING),
    ],
)
def test_replication(replicas: int | None, least: int | None, level: Level) -> None:
    assert _level(judge_replication(replicas, least)) is level


@pytest.mark.parametrize(
    ("limits", "kind", "level"),
    [
        ("normal 0 0 0 slave 268435456 67108864 60 pubsub 33554432 8388608 60", "normal", OK),
        ("normal 0 0 0 slave 268435456 67108864 60 pubsub 33554432 8388608 60", "pubsub", OK),
        ("slave 268435456 67108864 60 normal 1048576 0 0 pubsub 1 1 60", "normal", WARNING),
        ("slave 268435456 67108864 60 normal 1048576 0 0 pubsub 1 1 60", "pubsub", WARNING),
        ("normal 67108864 0 0", "normal", OK),
        ("normal 67108864 0 0", "pubsub", WARNING),
        ("", "normal", WARNING),
        (None, "normal", WARNING),
    ],
)
def test_output_buffer(limits: str | None, kind: str, level: Level) -> None:
    assert _level(judge_output_buffer(limits, kind)) is level


@pytest.mark.parametrize(
    ("maxclients", "connected", "level"),
    [(10_000, 10, OK), (100, 60, WARNING), (100, 50, OK), (None, 5, WARNING), (5, None, WARNING)],
)
def test_connections(maxclients: int | None, connected: int | None, level: Level) -> None:
    assert _level(judge_connections(maxclients, connected, 50)) is level


@pytest.mark.parametrize("setting", ["", "Kt", None])
@pytest.mark.parametrize(("strategy", "in_cluster"), [("auto", False), ("block", True)])
def test_notifications_are_only_information_where_an_edge_does_without(
    setting: str | None, strategy: Strategy, in_cluster: bool
) -> None:
    finding = judge_notifications(setting, strategy=strategy, in_cluster=in_cluster)
    assert _level(finding) is OK


@pytest.mark.parametrize(("strategy", "in_cluster"), [("notify", False), ("auto", True)])
def test_notifications_are_missed_where_an_edge_relies_on_them(
    strategy: Strategy, in_cluster: bool
) -> None:
    for setting, flags in {"": "Kt", "Ex": "ExKt", "Kx": "Kxt", "EA": "EAK"}.items():
        finding = judge_notifications(setting, strategy=strategy, in_cluster=in_cluster)
        assert _level(finding) is WARNING
        assert finding.advice.startswith(f"CONFIG SET notify-keyspace-events {flags}:")
        turned_on = judge_notifications(
            setting, strategy=strategy, in_cluster=in_cluster, turns_on=True
        )
        assert _level(turned_on) is OK
    assert _level(judge_notifications("KA", strategy=strategy, in_cluster=in_cluster)) is OK
    assert _level(judge_notifications(None, strategy=strategy, in_cluster=in_cluster)) is WARNING


# ---- rights


def _judged(shown: str, refusal: str, **options: Any) -> Finding:
    """What is thought of this one refusal."""
    wanted = rights(KEYS, **options)
    assert shown in [right.shown for right in wanted]
    refusals = {right: refusal if right.shown == shown else None for right in wanted}
    finding = judge_rights(refusals, user="a", keys=KEYS, database=options.get("database", 0))
    assert finding.found.startswith(f"refused: {shown}")
    return finding


@pytest.mark.parametrize(
    ("shown", "refusal", "advice"),
    [
        ("XREAD", "User a has no permissions to run the 'xread' command", "+xread"),
        ("XREAD", "this user has no permissions to run the 'xread' command", "+xread"),
        ("XREAD", "No permissions to access a key", "~run:*"),
        (
            "XREAD",
            "this user has no permissions to access one of the keys used as arguments",
            "~run:*",
        ),
        ("CLIENT ID", "User a has no permissions to run the 'client|id' command", "+client|id"),
    ],
)
def test_a_refusal_names_the_rule_to_add(shown: str, refusal: str, advice: str) -> None:
    finding = _judged(shown, refusal)
    assert _level(finding) is PROBLEM
    assert finding.advice == f"ACL SETUSER a {advice}"


@pytest.mark.parametrize(
    ("shown", "refusal", "advice"),
    [
        ("INFO", "User a has no permissions to run the 'info' command", "+info"),
        ("SUBSCRIBE", "User a has no permissions to run the 'subscribe' command", "+subscribe"),
        ("SUBSCRIBE", "No permissions to access a channel", "&__keyspace@7__:run:*"),
        (
            "SUBSCRIBE",
            "this user has no permissions to access one of the channels used as arguments",
            "&__keyspace@7__:run:*",
        ),
        ("CONFIG GET", "User a has no permissions to run the 'config|get' command", "+config|get"),
        # With notifications on, blocked reads are for when they are not.
        ("CLIENT ID", "User a has no permissions to run the 'client|id' command", "+client|id"),
    ],
)
def test_what_an_edge_does_without_is_a_warning_that_says_what_is_lost(
    shown: str, refusal: str, advice: str
) -> None:
    finding = _judged(shown, refusal, database=7, notified=True)
    assert _level(finding) is WARNING
    assert finding.advice.startswith(f"ACL SETUSER a {advice} (without: ")


def test_a_command_that_is_not_there_needs_another_server_or_nothing() -> None:
    unknown = "unknown command 'XREAD', with args beginning with: "
    finding = _judged("XREAD", unknown)
    assert _level(finding) is PROBLEM
    assert finding.advice.startswith("use a server that has XREAD")
    assert _level(_judged("CONFIG GET", "unknown command 'CONFIG'")) is OK


@pytest.mark.parametrize(
    ("strategy", "in_cluster", "asked", "not_asked"),
    [
        ("auto", False, {"CLIENT UNBLOCK", "SUBSCRIBE", "CONFIG GET"}, {"ASKING"}),
        ("block", False, {"CLIENT UNBLOCK"}, {"SUBSCRIBE", "CONFIG GET"}),
        ("notify", False, {"SUBSCRIBE", "CONFIG GET"}, {"CLIENT ID", "CLIENT UNBLOCK"}),
        ("auto", True, {"SUBSCRIBE", "CLUSTER SLOTS", "ASKING"}, {"CLIENT UNBLOCK"}),
        ("block", True, {"CLIENT UNBLOCK", "CLUSTER SLOTS"}, {"SUBSCRIBE"}),
    ],
)
def test_only_what_is_used_is_asked_for(
    strategy: Strategy, in_cluster: bool, asked: set[str], not_asked: set[str]
) -> None:
    shown = {right.shown for right in rights(KEYS, strategy=strategy, in_cluster=in_cluster)}
    assert asked <= shown
    assert not shown & not_asked


def test_turning_notifications_on_needs_a_right_only_while_they_are_off() -> None:
    for notified in (False, True):
        wanted = rights(KEYS, notified=notified, turns_on_notifications=True)
        assert ("CONFIG SET" in [right.shown for right in wanted]) is not notified


# ---- why it can't be used at all


def _certificate_error(code: int) -> RedisError:
    error = RedisConnectionError("Error 1 connecting to a:1.")
    cause = ssl.SSLCertVerificationError(1, "certificate verify failed")
    cause.verify_code, cause.verify_message = code, "it is like that"
    error.__cause__ = cause
    return error


def _tls_error(reason: str) -> RedisError:
    error = RedisConnectionError("Error 1 connecting to a:1.")
    cause = ssl.SSLError(1, reason)
    cause.reason = reason
    error.__context__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        (_certificate_error(10), "renew the certificate"),
        (_certificate_error(18), "say which authority to trust: add ?ssl_ca_certs="),
        (_certificate_error(62), "use the host name in --redis-url that the certificate is for"),
        (_tls_error("WRONG_VERSION_NUMBER"), "write redis:// instead of rediss://"),
        (_tls_error("TLSV13_ALERT_CERTIFICATE_REQUIRED"), "it wants a certificate of ours"),
        (AuthenticationError("WRONGPASS invalid username-password pair"), "correct the user"),
        (AuthenticationError("invalid password"), "correct the user"),
        (AuthenticationError("Authentication required."), "write redis://user:password@"),
        (
            AuthenticationError("ERR AUTH <password> called without any password configured"),
            "leave the password out",
        ),
        (ResponseError("DENIED Redis is running in protected mode"), "set a password for it"),
        (ResponseError("LOADING Redis is loading the dataset in memory"), "wait until it has"),
        (RedisConnectionError("max number of clients reached"), "raise its maxclients"),
        (RedisConnectionError("Error -2. Name or service not known."), "correct the host name"),
        (RedisConnectionError("Connection closed by server."), "if it speaks TLS there, write"),
        (RedisConnectionError("Error 111. Connection refused."), "start that server"),
        (RedisTimeoutError("Timeout reading from a:1"), "see why that server does not answer"),
        (TimeoutError(), "see why that server does not answer"),
        (NoPermissionError("no permissions to run 'client|setname'"), "permit connections to be"),
        (
            NoPermissionError("no permissions to run the 'client' command or its subcommand"),
            "permit connections to be",
        ),
        (NoPermissionError("no permissions to run 'select'"), "add what is missing"),
    ],
)
def test_a_failure_is_explained(error: RedisError | TimeoutError, advice: str) -> None:
    finding = judge_failure(error, tls=False)
    assert _level(finding) is PROBLEM
    assert finding.advice.startswith(advice)


def test_a_connection_that_is_closed_is_no_matter_of_tls_where_it_is_spoken() -> None:
    finding = judge_failure(RedisConnectionError("Connection closed by server."), tls=True)
    assert finding.advice.startswith("start that server")


# ---- several


def _view(place: str = "a:1", **said: Any) -> SentinelView:
    usual = {"names": ("runs",), "primary": "p:1", "sentinels": 3}
    return SentinelView(place, **{**usual, **said})


@pytest.mark.parametrize(
    ("views", "level", "words"),
    [
        ([_view(), _view("b:1"), _view("c:1")], OK, "runs is at p:1, as 3 of 3 say"),
        ([_view(sentinels=1)], WARNING, "there is 1"),
        ([_view(), SentinelView("b:1", "it is away")], WARNING, "b:1: it is away"),
        ([SentinelView("b:1", "it is away")], PROBLEM, "b:1: it is away"),
        ([_view(), _view("b:1", primary="q:1")], WARNING, "they name several: p:1, q:1"),
        ([_view(complaint="NOQUORUM 1 usable")], PROBLEM, "a:1: NOQUORUM 1 usable"),
        ([_view(complaint=None)], WARNING, "whether they can agree on another: can't tell"),
        ([_view(names=("x", "y"), primary=None)], PROBLEM, "those that are: x, y"),
        ([_view(names=(), primary=None)], PROBLEM, "those that are: none"),
    ],
)
def test_sentinels(views: list[SentinelView], level: Level, words: str) -> None:
    finding = judge_sentinels("runs", views)
    assert _level(finding) is level
    assert words in finding.found


@pytest.mark.parametrize(
    ("shards", "silent", "level", "words"),
    [
        ([Shard(("a", 1), 16384, 1)], [], OK, "1 primary, each with a replica"),
        ([Shard(("a", 1), 16000, 1)], [], PROBLEM, "384 of 16,384 slots are served by nobody"),
        ([Shard(("a", 1), 16383, 1), Shard(("b", 1), 1, 0)], [], WARNING, "replica: b:1"),
        ([Shard(("a", 1), 16384, 1)], [("c", 1)], WARNING, "no answer from c:1"),
    ],
)
def test_cluster(
    shards: list[Shard], silent: list[tuple[str, int]], level: Level, words: str
) -> None:
    finding = judge_cluster(shards, silent)
    assert _level(finding) is level
    assert words in finding.found
