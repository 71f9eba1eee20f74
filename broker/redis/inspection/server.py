"""Looks at one server, as the user that an edge is to be. Changes nothing."""

import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

from redis.asyncio import Redis
from redis.exceptions import NoPermissionError, RedisError, ResponseError

from broker.redis.addresses import ServerAddress
from broker.redis.connections import aclose, command, connect, open_connection
from broker.redis.inspection.findings import Finding, Level
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
from broker.redis.inspection.rights import Right, judge_rights, rights
from broker.redis.inspection.unreachable import is_about_naming, judge_failure
from broker.redis.notifications import flags_suffice
from broker.redis.streams import KeyTemplate
from broker.redis.tail import Strategy

__all__ = ["Needs", "inspect_server", "place_of"]

_PORT: Final = 6379
_SUBSCRIBING: Final = frozenset({"SUBSCRIBE", "UNSUBSCRIBE"})


@dataclass(frozen=True, slots=True)
class Needs:
    """What an edge will ask of each server."""

    keys: KeyTemplate
    connections: int
    """The most that it may open."""
    strategy: Strategy = "auto"
    """How new events are noticed."""
    enable_notifications: bool = False
    """Whether it turns them on where they are off."""
    timeout_seconds: float = 5.0
    """How long a command may take."""


async def inspect_server(
    address: ServerAddress, needs: Needs, *, in_cluster: bool = False
) -> list[Finding]:
    """Findings about a server, the most basic first. Where it can't be used at all, only why.

    Args:
        address: of the server.
        needs: what an edge wants of it.
        in_cluster: whether the URL says that it is a node of a Cluster.
    """
    findings: list[Finding] = []
    try:
        async with _client(address, needs) as client:
            findings.append(await _reach(client))
            info = await _info(client)
            findings += [
                judge_version(info),
                judge_mode(info, in_cluster=in_cluster, place=place_of(address)),
            ]
            if findings[-1].level is not Level.PROBLEM:
                findings += await _inspect_more(client, address, needs, info, in_cluster=in_cluster)
    except (RedisError, OSError, TimeoutError) as error:
        findings.append(judge_failure(error, tls=bool(address.options.get("ssl"))))
    return findings


def place_of(address: ServerAddress) -> str:
    """Its ``host:port``, or the path of its socket."""
    options = address.options
    if "path" in options:
        return str(options["path"])
    return f"{options.get('host', 'localhost')}:{options.get('port', _PORT)}"


async def _inspect_more(
    client: Redis,
    address: ServerAddress,
    needs: Needs,
    info: Mapping[str, Any],
    *,
    in_cluster: bool,
) -> list[Finding]:
    database = int(address.options.get("db") or 0)
    flags = await _configured(client, "notify-keyspace-events")
    wanted = rights(
        needs.keys,
        strategy=needs.strategy,
        database=database,
        in_cluster=in_cluster,
        notified=flags is not None and flags_suffice(flags),
        turns_on_notifications=needs.enable_notifications,
    )
    limits = await _configured(client, "client-output-buffer-limit")
    min_replicas = await _configured(client, "min-replicas-to-write")
    policy = await _configured(client, "maxmemory-policy")
    findings = [
        judge_rights(
            await _refusals(client, wanted),
            user=await _user(client, address),
            keys=needs.keys,
            database=database,
        ),
        judge_role(info),
        judge_eviction(policy or info.get("maxmemory_policy"), info.get("maxmemory")),
        judge_memory(info.get("used_memory"), info.get("maxmemory")),
        judge_persistence(info, await _configured(client, "save")),
        judge_replication(
            info.get("connected_slaves"), None if min_replicas is None else int(min_replicas)
        ),
        judge_connections(info.get("maxclients"), info.get("connected_clients"), needs.connections),
        judge_output_buffer(limits),
        judge_notifications(
            flags,
            strategy=needs.strategy,
            in_cluster=in_cluster,
            turns_on=needs.enable_notifications,
        ),
    ]
    if needs.strategy != "block":
        findings.insert(-1, judge_output_buffer(limits, "pubsub"))
    return findings


# ---- what the server says


@asynccontextmanager
async def _client(address: ServerAddress, needs: Needs) -> AsyncIterator[Redis]:
    client = connect(address, timeout_seconds=needs.timeout_seconds, connections=1)
    try:
        yield client
    finally:
        await aclose(client)


async def _reach(client: Redis) -> Finding:
    try:
        # The first one also connects, which is not what is to be measured.
        await command(client, "PING")
        before = time.perf_counter()
        await command(client, "PING")
    except NoPermissionError as error:
        if is_about_naming(error):
            raise
        return Finding("reachable", Level.OK, "it answers")
    milliseconds = (time.perf_counter() - before) * 1000
    return Finding("reachable", Level.OK, f"PING takes {milliseconds:.1f} ms")


async def _info(client: Redis) -> dict[str, Any]:
    """INFO; or what HELLO says under the same names: whoever may connect may HELLO."""
    info: dict[str, Any] = await _asked(client, "INFO") or {}
    if "redis_version" in info:
        return info
    answer = await _asked(client, "HELLO") or []
    # A map with RESP3, names and values in turn with RESP2.
    pairs = (
        answer.items() if isinstance(answer, dict) else zip(answer[::2], answer[1::2], strict=True)
    )
    hello = {_text(name): _text(value) for name, value in pairs}
    role = hello.get("role")
    return {
        "server_name": hello.get("server"),
        "redis_version": hello.get("version"),
        "redis_mode": hello.get("mode"),
        "role": "slave" if role == "replica" else role,
        **info,
    }


async def _refusals(client: Redis, wanted: tuple[Right, ...]) -> dict[Right, str | None]:
    """For each right, why it is not there; `None` where it is, whatever the answer."""
    refusals: dict[Right, str | None] = {}
    for right in wanted:
        subscribes = right.words[0] in _SUBSCRIBING
        try:
            if subscribes:
                await _subscription_command(client, right.words)
            else:
                await command(client, *right.words)
        except ResponseError as error:
            text = str(error)
            refused = isinstance(error, NoPermissionError) or text.lower().startswith("unknown")
            refusals[right] = text if refused else None
        else:
            refusals[right] = None
    return refusals


async def _subscription_command(client: Redis, words: tuple[object, ...]) -> None:
    """Sends it on a connection of its own, which is of no use for anything else afterwards."""
    connection = await open_connection(client)
    try:
        await connection.send_command(*words)
        await connection.read_response()
    finally:
        await connection.disconnect()


async def _user(client: Redis, address: ServerAddress) -> str:
    """The ACL user's name, as far as it can be known."""
    name = await _asked(client, "ACL", "WHOAMI")
    return _text(name) if name else str(address.options.get("username") or "default")


async def _asked(client: Redis, *words: object) -> Any:
    """The answer; `None` if the server refuses to give one."""
    try:
        return await command(client, *words)
    except ResponseError:
        return None


async def _configured(client: Redis, name: str) -> str | None:
    answer: Mapping[str, str] = await _asked(client, "CONFIG GET", name) or {}
    return answer.get(name)


def _text(value: Any) -> Any:
    return value.decode() if isinstance(value, bytes) else value
