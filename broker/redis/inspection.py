"""Is this Redis fit for the job? Looks, and returns findings; prints nothing, changes nothing.

Each `judge_…` is a function of what the server said, where `None` stands for "it would not say":
managed servers refuse CONFIG, and strict users may not INFO. That alone is never a problem.
"""

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from redis.asyncio import Redis
from redis.exceptions import (
    AuthenticationError,
    NoPermissionError,
    RedisError,
    ResponseError,
)

from broker.redis.connections import command, describe
from broker.redis.notifications import flags_suffice
from broker.redis.streams import KeyTemplate
from broker.wire.ids import RunId

__all__ = [
    "Finding",
    "Level",
    "inspect",
    "judge_cluster",
    "judge_connections",
    "judge_eviction",
    "judge_notifications",
    "judge_output_buffer",
    "judge_persistence",
    "judge_rights",
    "judge_version",
]

_PROBE_RUN: Final = RunId("runcast-check")
_LEAST_VERSION: Final = (6, 2)
_FULL_VERSION: Final = (7, 0)
_LEAST_OUTPUT_BUFFER: Final = 64 << 20
"""Bytes. A page of 1,000 events of 64 KB, the answer to one XREAD, fits in."""
_CANT_TELL: Final = "can't tell: not permitted to ask"


class Level(StrEnum):
    """How bad a finding is."""

    OK = "ok"
    WARNING = "warning"
    """It works, but something is at risk."""
    PROBLEM = "problem"
    """It does not work, or loses runs."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found."""

    name: str
    level: Level
    found: str
    advice: str = ""
    """What to do, in one line; empty where nothing need be done."""


@dataclass(frozen=True, slots=True)
class Right:
    """A command that an edge needs, with a harmless way to try it."""

    shown: str
    rule: str
    """The ACL rule that permits it."""
    words: tuple[object, ...]


def rights(keys: KeyTemplate) -> tuple[Right, ...]:
    """What an edge needs to be permitted. The words only read, from a run that is not there."""
    key = keys.key(_PROBE_RUN)
    return (
        Right("PING", "+ping", ("PING",)),
        Right("XREAD", "+xread", ("XREAD", "COUNT", 1, "STREAMS", key, "0-0")),
        Right("XREVRANGE", "+xrevrange", ("XREVRANGE", key, "+", "-", "COUNT", 1)),
        Right("XINFO STREAM", "+xinfo|stream", ("XINFO STREAM", key)),
        Right("CLIENT ID", "+client|id", ("CLIENT ID",)),
        # No client ever has the id 0.
        Right("CLIENT UNBLOCK", "+client|unblock", ("CLIENT UNBLOCK", 0)),
    )


async def inspect(client: Redis, keys: KeyTemplate, *, connections: int) -> list[Finding]:
    """Findings about the server, the most basic first. Where it can't be reached, only that.

    Args:
        client: of the server, as the user that an edge is to be.
        keys: how keys are made.
        connections: how many connections an edge may need.
    """
    findings: list[Finding] = []
    try:
        findings.append(await _reach(client))
        refusals = {right: await _refusal(client, right) for right in rights(keys)}
        info = await _asked(client, "INFO") or {}
        if "redis_version" not in info:
            info = {**await _hello(client), **info}
        findings += [
            judge_version(info),
            judge_rights(
                refusals,
                user=client.connection_pool.connection_kwargs.get("username") or "default",
                key_pattern=keys.key(RunId("*")),
            ),
            judge_cluster(info),
            judge_eviction(
                await _configured(client, "maxmemory-policy") or info.get("maxmemory_policy"),
                info.get("maxmemory"),
            ),
            judge_persistence(
                info.get("aof_enabled"),
                await _configured(client, "save"),
            ),
            judge_connections(info.get("maxclients"), info.get("connected_clients"), connections),
            judge_output_buffer(await _configured(client, "client-output-buffer-limit")),
            judge_notifications(await _configured(client, "notify-keyspace-events")),
        ]
    except (RedisError, OSError, TimeoutError) as error:
        findings.append(_unreachable(error))
    return findings


# ---- what the server says


async def _reach(client: Redis) -> Finding:
    try:
        # The first one also connects, which is not what is to be measured.
        await command(client, "PING")
        before = time.perf_counter()
        await command(client, "PING")
    except NoPermissionError as error:
        if _is_setname(error):
            raise
        return Finding("reachable", Level.OK, "it answers")
    milliseconds = (time.perf_counter() - before) * 1000
    return Finding("reachable", Level.OK, f"PING takes {milliseconds:.1f} ms")


async def _refusal(client: Redis, right: Right) -> str | None:
    """Why the command is not available; `None` if it is, whatever its answer."""
    try:
        await command(client, *right.words)
    except NoPermissionError as error:
        return str(error)
    except ResponseError as error:
        text = str(error)
        return text if text.lower().startswith("unknown") else None
    return None


async def _asked(client: Redis, *words: object) -> Any:
    """The answer; `None` if the server refuses to give one."""
    try:
        return await command(client, *words)
    except ResponseError:
        return None


async def _configured(client: Redis, name: str) -> str | None:
    answer: Mapping[str, str] = await _asked(client, "CONFIG GET", name) or {}
    return answer.get(name)


async def _hello(client: Redis) -> dict[str, Any]:
    """What HELLO says, under INFO's names: users who may not INFO may HELLO, to connect at all."""
    answer = await _asked(client, "HELLO")
    if answer is None:
        return {}
    texts = [part.decode() if isinstance(part, bytes) else part for part in answer]
    hello = dict(zip(texts[::2], texts[1::2], strict=False))
    return {
        "server_name": hello.get("server"),
        "redis_version": hello.get("version"),
        "cluster_enabled": int(hello.get("mode") == "cluster"),
    }


def _is_setname(error: NoPermissionError) -> bool:
    return "setname" in str(error).lower()


def _unreachable(error: RedisError | OSError | TimeoutError) -> Finding:
    if isinstance(error, NoPermissionError) and _is_setname(error):
        advice = "permit connections to be named: add +client|setname to the user's ACL rules"
    elif isinstance(error, (AuthenticationError, ResponseError)):
        advice = "correct the user and password in --redis-url"
    else:
        advice = "start that server, or correct --redis-url"
    return Finding("reachable", Level.PROBLEM, describe(error), advice)


# ---- what to think of it


def judge_version(info: Mapping[str, Any]) -> Finding:
    """Whether the server's version has what is needed.

    Args:
        info: the fields of INFO.
    """
    if info.get("server_name") == "valkey" or "valkey_version" in info:
        shown = info.get("valkey_version") or info.get("redis_version")
        return Finding("version", Level.OK, f"Valkey {shown}")
    text = info.get("redis_version")
    if text is None:
        return Finding(
            "version",
            Level.WARNING,
            _CANT_TELL,
            "make sure that it is Redis 6.2 or later, better 7.0, or Valkey",
        )
    version = tuple(int(number) for number in re.findall(r"\d+", str(text))[:2])
    found = f"Redis {text}"
    if version < _LEAST_VERSION:
        return Finding("version", Level.PROBLEM, found, "upgrade to Redis 7.0 or later, or Valkey")
    if version < _FULL_VERSION:
        return Finding(
            "version",
            Level.WARNING,
            found,
            "upgrade to 7.0 or later: before, some gaps can't be told apart from none",
        )
    return Finding("version", Level.OK, found)


def judge_rights(refusals: Mapping[Right, str | None], *, user: str, key_pattern: str) -> Finding:
    """Whether every command that an edge needs may be used.

    Args:
        refusals: for each command, the server's words if it was refused.
        user: the ACL user's name.
        key_pattern: of the keys of runs.
    """
    refused = {right: text for right, text in refusals.items() if text is not None}
    if not refused:
        return Finding("rights", Level.OK, f"all {len(refusals)} commands of an edge")
    found = "refused: " + ", ".join(right.shown for right in refused)
    rules: list[str] = []
    for right, text in refused.items():
        if text.lower().startswith("unknown"):
            return Finding(
                "rights", Level.PROBLEM, found, f"use a server that has {right.shown}: {text}"
            )
        # 7.0: "No permissions to access a key"; 6.2: "… to access one of the keys used …".
        about_key = re.search(r"access .*\bkey", text) is not None
        rules.append(f"%R~{key_pattern}" if about_key else right.rule)
    unique = " ".join(dict.fromkeys(rules))
    hint = " (before Redis 7.0 write ~ for %R~)" if "%R~" in unique else ""
    return Finding("rights", Level.PROBLEM, found, f"ACL SETUSER {user} {unique}{hint}")


def judge_cluster(info: Mapping[str, Any]) -> Finding:
    """Whether the server is a node of a cluster."""
    enabled = info.get("cluster_enabled")
    if enabled is None:
        return Finding(
            "cluster", Level.WARNING, _CANT_TELL, "make sure that it is not a cluster node"
        )
    if enabled:
        return Finding(
            "cluster",
            Level.PROBLEM,
            "a cluster node",
            "use a server that is not in cluster mode: this version does not support it yet",
        )
    return Finding("cluster", Level.OK, "not a cluster node")


def judge_eviction(policy: str | None, maxmemory: int | None) -> Finding:
    """Whether runs may be evicted when memory is short.

    Args:
        policy: `maxmemory-policy`.
        maxmemory: the limit in bytes; 0 is none.
    """
    name = "maxmemory-policy"
    if policy is None:
        return Finding(
            name, Level.WARNING, _CANT_TELL, "make sure that it is noeviction: else runs vanish"
        )
    found = policy
    if policy == "noeviction":
        return Finding(name, Level.OK, found)
    if maxmemory == 0:
        found += " (no maxmemory set yet)"
    if policy.startswith("allkeys-"):
        return Finding(
            name,
            Level.PROBLEM,
            found,
            "CONFIG SET maxmemory-policy noeviction: any run may be evicted, even a live one",
        )
    return Finding(
        name,
        Level.WARNING,
        found,
        "CONFIG SET maxmemory-policy noeviction: runs with a TTL may be evicted before it is over",
    )


def judge_persistence(aof_enabled: int | None, save: str | None) -> Finding:
    """Whether a restart loses runs.

    Args:
        aof_enabled: whether there is an append-only file.
        save: when snapshots are taken; empty for never.
    """
    name = "persistence"
    if aof_enabled:
        return Finding(name, Level.OK, "append-only file")
    if save:
        return Finding(name, Level.OK, f"snapshots (save {save})")
    if aof_enabled is None or save is None:
        return Finding(
            name, Level.WARNING, _CANT_TELL, "make sure that appendonly is on, if runs matter"
        )
    return Finding(
        name,
        Level.WARNING,
        "none",
        "CONFIG SET appendonly yes: otherwise a restart of Redis loses every run",
    )


def judge_connections(maxclients: int | None, connected: int | None, needed: int) -> Finding:
    """Whether there is room for an edge's connections.

    Args:
        maxclients: the server's limit.
        connected: clients there are now.
        needed: what an edge may need.
    """
    name = "connections"
    if maxclients is None or connected is None:
        return Finding(
            name, Level.WARNING, _CANT_TELL, f"make sure that each edge can have {needed}"
        )
    free = maxclients - connected
    found = f"{free:,} of {maxclients:,} free"
    if free < needed:
        return Finding(
            name, Level.WARNING, found, f"raise maxclients: one edge may need {needed} connections"
        )
    return Finding(name, Level.OK, found)


def judge_output_buffer(limits: str | None) -> Finding:
    """Whether Redis would cut an edge off for the size of an answer.

    Args:
        limits: `client-output-buffer-limit`: class, hard, soft and seconds, for each class.
    """
    name = "output buffer"
    words = (limits or "").split()
    if "normal" not in words[::4]:
        return Finding(
            name,
            Level.WARNING,
            _CANT_TELL,
            "make sure that client-output-buffer-limit normal is 0 0 0",
        )
    hard = int(words[words.index("normal") + 1])
    if hard == 0:
        return Finding(name, Level.OK, "unlimited")
    found = f"at most {hard / (1 << 20):.1f} MiB"
    if hard < _LEAST_OUTPUT_BUFFER:
        return Finding(
            name,
            Level.WARNING,
            found,
            'CONFIG SET client-output-buffer-limit "normal 0 0 0": '
            "Redis cuts an edge off when a page of events is larger",
        )
    return Finding(name, Level.OK, found)


def judge_notifications(setting: str | None) -> Finding:
    """What `notify-keyspace-events` is set to; for information, since edges do without."""
    if setting is None:
        return Finding("notifications", Level.OK, f"{_CANT_TELL}: new events come by blocked reads")
    if flags_suffice(setting):
        return Finding("notifications", Level.OK, f"{setting}: new events come by notification")
    found = setting or "off"
    return Finding(
        "notifications",
        Level.OK,
        f"{found}: new events come by blocked reads; for thousands of runs, "
        "CONFIG SET notify-keyspace-events Kt",
    )
