"""What to think of what a server says.

Each `judge_…` is a function of that alone, where `None` stands for "it would not say": managed
servers refuse CONFIG, and strict users may not INFO. That alone is never a problem.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

from broker.redis.inspection.findings import CANT_TELL, Finding, Level
from broker.redis.notifications import flags_suffice
from broker.redis.tail import Strategy

__all__ = [
    "judge_connections",
    "judge_eviction",
    "judge_memory",
    "judge_mode",
    "judge_notifications",
    "judge_output_buffer",
    "judge_persistence",
    "judge_replication",
    "judge_role",
    "judge_version",
]

_LEAST_VERSION: Final = (6, 2)
_FULL_VERSION: Final = (7, 0)
_LEAST_OUTPUT_BUFFERS: Final = {"normal": 64 << 20, "pubsub": 8 << 20}
"""Bytes. A page of 1,000 events of 64 KB, the answer to one XREAD; some 50,000 notifications."""
_OUTPUT_BUFFER_ADVICE: Final = {
    "normal": 'CONFIG SET client-output-buffer-limit "normal 0 0 0": '
    "Redis cuts an edge off when a page of events is larger",
    "pubsub": 'CONFIG SET client-output-buffer-limit "pubsub 32mb 8mb 60": '
    "Redis cuts an edge off when more notifications wait, and every run is then looked at",
}
_FULL: Final = 0.9


def judge_version(info: Mapping[str, Any]) -> Finding:
    """Whether the server's version has what is needed.

    Args:
        info: the fields of INFO.
    """
    name = "version"
    if info.get("server_name") == "valkey" or "valkey_version" in info:
        shown = info.get("valkey_version") or info.get("redis_version")
        return Finding(name, Level.OK, f"Valkey {shown}")
    text = info.get("redis_version")
    if text is None:
        return Finding(
            name,
            Level.WARNING,
            CANT_TELL,
            "make sure that it is Redis 6.2 or later, better 7.0, or Valkey",
        )
    version = tuple(int(number) for number in re.findall(r"\d+", str(text))[:2])
    found = f"Redis {text}"
    if version < _LEAST_VERSION:
        return Finding(name, Level.PROBLEM, found, "upgrade to Redis 7.0 or later, or Valkey")
    if version < _FULL_VERSION:
        return Finding(
            name,
            Level.WARNING,
            found,
            "upgrade to 7.0 or later: before, it does not say what was deleted, so that events "
            "trimmed before a viewer's first one can't be told from none, and a gap's reason is "
            "less exact",
        )
    return Finding(name, Level.OK, found)


def judge_mode(info: Mapping[str, Any], *, in_cluster: bool, place: str) -> Finding:
    """Whether the URL has the form that this kind of server wants.

    Args:
        info: the fields of INFO, or what HELLO says, under the same names.
        in_cluster: whether the URL says that it is a node of a Cluster.
        place: its ``host:port``.
    """
    mode = info.get("redis_mode") or info.get("server_mode")
    if mode is None:
        return Finding(
            "mode",
            Level.WARNING,
            CANT_TELL,
            "make sure that --redis-url has the form for it: redis:// for a server, "
            "redis+sentinel:// for Sentinel, redis+cluster:// for a Cluster",
        )
    if mode == "sentinel":
        return Finding(
            "mode",
            Level.PROBLEM,
            "a Sentinel, which has no runs",
            f"write redis+sentinel://{place}/NAME, with the name that it monitors the primary by "
            "and, better, all Sentinels' addresses, separated by commas",
        )
    if mode == "cluster" and not in_cluster:
        return Finding(
            "mode",
            Level.PROBLEM,
            "a node of a Cluster, which has only a part of the runs",
            f"write redis+cluster://{place} and, better, some more nodes' addresses, "
            "separated by commas",
        )
    if mode == "standalone" and in_cluster:
        return Finding(
            "mode", Level.PROBLEM, "a server that is in no Cluster", f"write redis://{place}"
        )
    return Finding("mode", Level.OK, "a node of a Cluster" if in_cluster else "a single server")


def judge_role(info: Mapping[str, Any]) -> Finding:
    """Whether it is a primary.

    Args:
        info: the fields of INFO, or what HELLO says, under the same names.
    """
    role = info.get("role")
    if role is None:
        return Finding("role", Level.WARNING, CANT_TELL, "make sure that it is a primary")
    if role == "master":
        return Finding("role", Level.OK, "primary")
    host, port = info.get("master_host"), info.get("master_port")
    of = f" of {host}:{port}" if host else ""
    found = f"a replica{of}"
    if info.get("master_link_status") == "down":
        found += ", which it has lost"
    return Finding(
        "role",
        Level.WARNING,
        found,
        "give the primary's address: events come late from a replica, and not at all once it has "
        "lost its primary",
    )


def judge_eviction(policy: str | None, maxmemory: int | None) -> Finding:
    """Whether runs may be evicted when memory is short.

    Args:
        policy: `maxmemory-policy`.
        maxmemory: the limit in bytes; 0 is none.
    """
    name = "maxmemory-policy"
    if policy is None:
        return Finding(
            name, Level.WARNING, CANT_TELL, "make sure that it is noeviction: else runs vanish"
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


def judge_memory(used: int | None, maxmemory: int | None) -> Finding:
    """Whether there is room for more events.

    Args:
        used: bytes in use.
        maxmemory: the limit in bytes; 0 is none.
    """
    name = "memory"
    if used is None or maxmemory is None:
        return Finding(name, Level.WARNING, CANT_TELL, "make sure that maxmemory is not used up")
    shown = f"{used / (1 << 20):,.0f} MiB used"
    if not maxmemory:
        return Finding(name, Level.OK, f"{shown}, no maxmemory")
    found = f"{shown} of {maxmemory / (1 << 20):,.0f} MiB"
    if used > _FULL * maxmemory:
        return Finding(
            name,
            Level.WARNING,
            found,
            "raise maxmemory, or keep runs for less long: once it is used up, appends are refused, "
            "or runs evicted, as maxmemory-policy says",
        )
    return Finding(name, Level.OK, found)


def judge_persistence(info: Mapping[str, Any], save: str | None) -> Finding:
    """Whether a restart loses runs.

    Args:
        info: the fields of INFO.
        save: when snapshots are taken; empty for never.
    """
    name = "persistence"
    aof_enabled = info.get("aof_enabled")
    for field, kept in (
        ("aof_last_write_status", aof_enabled),
        ("rdb_last_bgsave_status", save),
    ):
        if kept and info.get(field, "ok") != "ok":
            return Finding(
                name,
                Level.PROBLEM,
                f"{field} is {info[field]}",
                "see the server's log, and whether its disk is full: it may refuse appends, "
                "and a restart would lose them",
            )
    if aof_enabled:
        return Finding(name, Level.OK, "append-only file")
    if save:
        return Finding(
            name, Level.OK, f"snapshots (save {save}): a crash loses what came after the last"
        )
    if aof_enabled is None or save is None:
        return Finding(
            name, Level.WARNING, CANT_TELL, "make sure that appendonly is on, if runs matter"
        )
    return Finding(
        name,
        Level.WARNING,
        "none",
        "CONFIG SET appendonly yes: otherwise a restart of Redis loses every run",
    )


def judge_replication(replicas: int | None, min_replicas: int | None) -> Finding:
    """Whether a failover may lose events that were acknowledged.

    Args:
        replicas: how many are connected.
        min_replicas: `min-replicas-to-write`.
    """
    name = "replication"
    if replicas is None:
        return Finding(
            name, Level.WARNING, CANT_TELL, "if it has replicas, set min-replicas-to-write to 1"
        )
    found = "no replica" if not replicas else f"{replicas} replica{'s' if replicas > 1 else ''}"
    if not replicas or min_replicas:
        least = f", min-replicas-to-write {min_replicas}" if min_replicas else ""
        return Finding(name, Level.OK, found + least)
    if min_replicas is None:
        return Finding(
            name,
            Level.WARNING,
            f"{found}; min-replicas-to-write: {CANT_TELL}",
            "make sure that min-replicas-to-write is 1 or more",
        )
    return Finding(
        name,
        Level.WARNING,
        f"{found}, min-replicas-to-write 0",
        "CONFIG SET min-replicas-to-write 1: a primary that was cut off goes on taking events "
        "which the failover then loses (with it, appends are refused while no replica is there)",
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
            name, Level.WARNING, CANT_TELL, f"make sure that each edge can have {needed}"
        )
    free = maxclients - connected
    found = f"{free:,} of {maxclients:,} free"
    if free < needed:
        return Finding(
            name, Level.WARNING, found, f"raise maxclients: one edge may need {needed} connections"
        )
    return Finding(name, Level.OK, found)


def judge_output_buffer(limits: str | None, kind: str = "normal") -> Finding:
    """Whether Redis would cut an edge off for what it has not taken yet.

    Args:
        limits: `client-output-buffer-limit`: class, hard, soft and seconds, for each class.
        kind: the class: ``normal`` for answers, ``pubsub`` for notifications.
    """
    name = "output buffer" if kind == "normal" else f"output buffer ({kind})"
    words = (limits or "").split()
    of_kind = dict(zip(words[::4], words[1::4], strict=False))
    if kind not in of_kind:
        usual = "0 0 0" if kind == "normal" else "32mb 8mb 60 or more"
        return Finding(
            name,
            Level.WARNING,
            CANT_TELL,
            f"make sure that client-output-buffer-limit {kind} is {usual}",
        )
    hard = int(of_kind[kind])
    if hard == 0:
        return Finding(name, Level.OK, "unlimited")
    found = f"at most {hard / (1 << 20):.1f} MiB"
    if hard < _LEAST_OUTPUT_BUFFERS[kind]:
        return Finding(name, Level.WARNING, found, _OUTPUT_BUFFER_ADVICE[kind])
    return Finding(name, Level.OK, found)


def judge_notifications(
    setting: str | None,
    *,
    strategy: Strategy = "auto",
    in_cluster: bool = False,
    turns_on: bool = False,
) -> Finding:
    """Whether the server notifies of new events, as far as the edge needs it.

    Args:
        setting: `notify-keyspace-events`.
        strategy: how new events are noticed.
        in_cluster: whether the server is a node of a Cluster.
        turns_on: whether the edge turns them on.
    """
    name = "notifications"
    does_without = strategy == "block" or (strategy == "auto" and not in_cluster)
    if setting is None:
        if does_without:
            return Finding(name, Level.OK, f"{CANT_TELL}: new events come by blocked reads")
        return Finding(
            name, Level.WARNING, CANT_TELL, "make sure that notify-keyspace-events has K and t"
        )
    if strategy == "block":
        return Finding(name, Level.OK, f"{setting or 'off'}: not used, as the setting tail says")
    if flags_suffice(setting):
        return Finding(name, Level.OK, f"{setting}: new events come by notification")
    found = setting or "off"
    if turns_on:
        return Finding(name, Level.OK, f"{found}: the edge turns them on")
    if does_without:
        return Finding(
            name,
            Level.OK,
            f"{found}: new events come by blocked reads; for thousands of runs, "
            f"CONFIG SET notify-keyspace-events {_with_needed(setting)}",
        )
    return Finding(
        name,
        Level.WARNING,
        found,
        f"CONFIG SET notify-keyspace-events {_with_needed(setting)}: without, every run is looked "
        "at every second, and events come that much later",
    )


def _with_needed(flags: str) -> str:
    missing = ["K"] if "K" not in flags else []
    if not {"t", "A"} & set(flags):
        missing.append("t")
    return flags + "".join(missing)
