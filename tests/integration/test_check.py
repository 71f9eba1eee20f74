"""`runcast check`: what it finds on real servers, and what it says to do."""

import json
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
from redis.asyncio import Redis

from tests.support.commands import Outcome, run_command
from tests.support.servers import RedisProcess, binary_of

FEWEST_RULES = (
    *("~run:*", "+xread", "+xrevrange", "+xinfo|stream", "+ping", "+hello"),
    *("+client|setname", "+client|id", "+client|unblock"),
)
"""Without these nothing works; `deploy/acl` has those of an edge that lacks nothing."""


@pytest.fixture
async def admin(own_redis: RedisProcess) -> AsyncIterator["Redis"]:
    """A client that may do everything, of a server that the test may change."""
    async with Redis.from_url(own_redis.url, decode_responses=True) as client:
        yield client


async def check(url: str, *flags: str) -> Outcome:
    """Runs the command on the server at `url`."""
    return await run_command("check", "--redis-url", url, *flags)


def findings(outcome: Outcome) -> dict[str, dict[str, Any]]:
    """The findings by name, from --json."""
    document = json.loads(outcome.out)
    assert document["ok"] is (outcome.code == 0)
    return {finding["name"]: finding for finding in document["checks"]}


async def user_url(admin: Redis, server: RedisProcess, *rules: str) -> str:
    """The URL for a new user with these rules."""
    name = f"u{uuid4().hex}"
    await admin.execute_command("ACL", "SETUSER", name, "on", ">word", *rules)  # type: ignore[no-untyped-call]
    parts = urlsplit(server.url)
    return f"redis://{name}:word@{parts.hostname}:{parts.port}{parts.path}"


async def test_a_fit_server_has_no_problem(own_redis: RedisProcess) -> None:
    outcome = await check(own_redis.url)
    assert (outcome.code, outcome.err) == (0, "")
    lines = outcome.out.splitlines()
    assert lines[0] == f"Redis at {own_redis.url}"
    assert any(line.startswith("ok") and "PING takes" in line for line in lines)
    # The test's servers keep nothing.
    assert (
        "warning: persistence: CONFIG SET appendonly yes: "
        "otherwise a restart of Redis loses every run"
    ) in lines


async def test_what_can_not_be_told_is_no_problem(own_redis: RedisProcess, admin: Redis) -> None:
    outcome = await check(await user_url(admin, own_redis, *FEWEST_RULES), "--json")
    found = findings(outcome)
    assert (outcome.code, outcome.err) == (0, "")
    assert found["rights"]["level"] == "warning"
    assert found["rights"]["found"] == "refused: INFO, SUBSCRIBE, UNSUBSCRIBE, CONFIG GET"
    # HELLO tells these.
    assert found["mode"]["level"] == found["role"]["level"] == "ok"
    assert found["version"]["found"].startswith(("Redis", "Valkey"))
    for name in ("maxmemory-policy", "memory", "persistence", "replication", "output buffer"):
        assert found[name]["level"] == "warning"
        assert found[name]["found"].startswith("can't tell")
        assert found[name]["advice"]
    assert "word" not in outcome.out


async def test_with_blocked_reads_less_is_asked_for(own_redis: RedisProcess, admin: Redis) -> None:
    url = await user_url(admin, own_redis, *FEWEST_RULES, "+info")
    found = findings(await check(url, "--json", "--tail", "block"))
    assert found["rights"]["level"] == "ok"
    assert "output buffer (pubsub)" not in found


async def test_a_missing_right_names_the_rule_and_the_rule_mends_it(
    own_redis: RedisProcess, admin: Redis
) -> None:
    few = [rule for rule in FEWEST_RULES if rule not in ("+xinfo|stream", "+client|unblock")]
    url = await user_url(admin, own_redis, *few, "+info")
    outcome = await check(url, "--json", "--tail", "block")
    rights = findings(outcome)["rights"]
    assert outcome.code == 1
    assert rights["found"] == "refused: XINFO STREAM, CLIENT UNBLOCK"
    assert rights["advice"].startswith("ACL SETUSER u")
    assert rights["advice"].endswith(" +xinfo|stream +client|unblock")
    await admin.execute_command(*rights["advice"].split())  # type: ignore[no-untyped-call]
    mended = findings(await check(url, "--json", "--tail", "block"))
    assert mended["rights"]["level"] == "ok"


async def test_a_key_that_may_not_be_read_names_the_pattern(
    own_redis: RedisProcess, admin: Redis
) -> None:
    url = await user_url(admin, own_redis, "resetkeys", "~jobs:*", "allchannels", "+@all")
    outcome = await check(url, "--json")
    rights = findings(outcome)["rights"]
    assert outcome.code == 1
    assert rights["found"] == "refused: XREAD, XREVRANGE, XINFO STREAM"
    assert rights["advice"].endswith(" ~run:*")
    assert (await check(url, "--key-template", "jobs:{run_id}")).code == 0


async def test_a_user_who_may_not_name_connections_is_told_so(
    own_redis: RedisProcess, admin: Redis
) -> None:
    url = await user_url(admin, own_redis, "allkeys", "+@all", "-client|setname")
    outcome = await check(url, "--json")
    assert outcome.code == 1
    assert "+client|setname" in findings(outcome)["reachable"]["advice"]


async def test_a_key_of_another_type_is_no_matter_of_rights(
    own_redis: RedisProcess, admin: Redis
) -> None:
    await admin.set("run:runcast-check", "not a stream")
    assert findings(await check(own_redis.url, "--json"))["rights"]["level"] == "ok"


async def test_it_writes_nothing(own_redis: RedisProcess, admin: Redis) -> None:
    before = await admin.config_get("*")
    assert (await check(own_redis.url)).code == 0
    assert await admin.dbsize() == 0
    assert await admin.config_get("*") == before


async def test_a_problem_is_the_exit_code(own_redis: RedisProcess, admin: Redis) -> None:
    await admin.config_set("maxmemory-policy", "allkeys-lru")
    outcome = await check(own_redis.url, "--json")
    assert outcome.code == 1
    assert findings(outcome)["maxmemory-policy"]["level"] == "problem"


async def test_a_server_that_is_not_there_is_a_problem_in_one_row() -> None:
    outcome = await check("redis://someone:secret@127.0.0.1:1/0")
    assert (outcome.code, outcome.err) == (1, "")
    assert "start that server, or correct --redis-url" in outcome.out
    assert "secret" not in outcome.out


async def test_a_wrong_password_is_told_from_a_server_that_is_not_there(
    own_redis: RedisProcess,
) -> None:
    parts = urlsplit(own_redis.url)
    outcome = await check(f"redis://nobody:secret@{parts.hostname}:{parts.port}/0")
    assert outcome.code == 1
    assert "wrong user or password, or the user is switched off" in outcome.out
    assert "correct the user and password in --redis-url" in outcome.out
    assert "secret" not in outcome.out


async def test_a_missing_password_is_told_from_a_wrong_one(
    own_redis: RedisProcess, admin: Redis
) -> None:
    parts = urlsplit(own_redis.url)
    needless = await check(f"redis://:secret@{parts.hostname}:{parts.port}/0")
    assert "leave the password out of --redis-url" in needless.out
    await admin.config_set("requirepass", "secret")
    outcome = await check(own_redis.url)
    assert outcome.code == 1
    assert "write redis://user:password@… in --redis-url" in outcome.out


async def test_a_server_that_does_not_answer_is_not_waited_for_longer_than_said(
    own_redis: RedisProcess,
) -> None:
    own_redis.pause()
    outcome = await check(own_redis.url, "--redis-timeout-seconds", "0.2")
    assert outcome.code == 1
    assert "TimeoutError" in outcome.out


@pytest.mark.parametrize(
    "flags", [("--redis-url", "localhost:6379"), ("--key-template", "run"), ()]
)
async def test_settings_that_can_not_be_used_are_findings_too(flags: tuple[str, ...]) -> None:
    outcome = await run_command("check", "--json", *flags)
    assert (outcome.code, outcome.err) == (1, "")
    assert [finding["level"] for finding in findings(outcome).values()][-1] == "problem"


def rows(outcome: Outcome) -> list[dict[str, Any]]:
    """All findings, from --json."""
    checks: list[dict[str, Any]] = json.loads(outcome.out)["checks"]
    return checks


async def test_several_primaries_are_looked_at_each(
    own_redis: RedisProcess, redis_kind: str
) -> None:
    other = RedisProcess(binary_of(redis_kind), append_only=True)
    other.start()
    try:
        url = f"{own_redis.url} {other.url}"
        found = [row for row in rows(await check(url, "--json")) if row["name"] == "persistence"]
        assert [(row["server"], row["level"]) for row in found] == [
            (own_redis.url, "warning"),
            (other.url, "ok"),
        ]
        text = (await check(url)).out
        # What is the same for both is said once.
        assert sum(line.split()[:2] == ["ok", "version"] for line in text.splitlines()) == 1
        assert f"warning: persistence ({own_redis.url}): CONFIG SET appendonly yes" in text
    finally:
        other.close()
    outcome = await check(url, "--json")
    assert outcome.code == 1
    (away,) = [row for row in rows(outcome) if row["level"] == "problem"]
    assert (away["name"], away["server"]) == ("reachable", other.url)
