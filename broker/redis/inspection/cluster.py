"""Looks at a Cluster: who serves its slots, and each of these primaries."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from redis.exceptions import RedisError, ResponseError

from broker.redis.addresses import ClusterAddress
from broker.redis.connections import aclose, command, connect
from broker.redis.deployment import SLOTS
from broker.redis.inspection.findings import Finding, Level
from broker.redis.inspection.server import Needs, inspect_server
from broker.redis.inspection.unreachable import judge_failure

__all__ = ["Shard", "inspect_cluster", "judge_cluster"]

Place = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Shard:
    """A primary, as the map of the Cluster has it."""

    place: Place
    slots: int
    """How many it serves."""
    replicas: int


async def inspect_cluster(address: ClusterAddress, needs: Needs) -> list[Finding]:
    """Findings about the Cluster, then about each of its primaries.

    Args:
        address: of some of its nodes.
        needs: what an edge wants of each.
    """
    silent: list[Place] = []
    failure: Finding | None = None
    for seed in address.seeds:
        client = connect(address.node(*seed), timeout_seconds=needs.timeout_seconds, connections=1)
        try:
            answer = await command(client, "CLUSTER", "SLOTS")
        except ResponseError:
            # It is none of a Cluster, or we may not ask: that comes out here.
            return await inspect_server(address.node(*seed), needs, in_cluster=True)
        except (RedisError, OSError, TimeoutError) as error:
            failure = judge_failure(error, tls=bool(address.options.get("ssl")))
            silent.append(seed)
            continue
        finally:
            await aclose(client)
        shards = _shards(answer, seed[0])
        findings = [judge_cluster(shards, silent)]
        for shard in shards:
            node = address.node(*shard.place)
            of_node = await inspect_server(node, needs, in_cluster=True)
            findings += [replace(finding, server=node.shown) for finding in of_node]
        return findings
    assert failure is not None
    return [failure]


def judge_cluster(shards: Sequence[Shard], silent: Sequence[Place]) -> Finding:
    """Whether every slot is served, and would be if a primary failed.

    Args:
        shards: the primaries that have slots.
        silent: nodes of the URL that did not answer, before one did.
    """
    name = "cluster"
    missing = SLOTS - sum(shard.slots for shard in shards)
    found = f"{len(shards)} {'primary' if len(shards) == 1 else 'primaries'}"
    if missing:
        return Finding(
            name,
            Level.PROBLEM,
            f"{found}; {missing:,} of {SLOTS:,} slots are served by nobody",
            "see CLUSTER NODES: start the nodes that are down, or give the slots to others",
        )
    alone = [shard for shard in shards if not shard.replicas]
    if alone:
        places = ", ".join(f"{host}:{port}" for host, port in (shard.place for shard in alone))
        return Finding(
            name,
            Level.WARNING,
            f"{found}; without a replica: {places}",
            "give each primary a replica: its runs can't be read or written while it is down",
        )
    if silent:
        places = ", ".join(f"{host}:{port}" for host, port in silent)
        return Finding(
            name,
            Level.WARNING,
            f"{found}; no answer from {places}",
            "start that node, or give another one's address in --redis-url",
        )
    return Finding(name, Level.OK, f"{found}, each with a replica; every slot is served")


def _shards(answer: Sequence[Sequence[Any]], asked_host: str) -> list[Shard]:
    """From CLUSTER SLOTS: first and last slot of each range, its primary, its replicas."""
    shards: dict[Place, Shard] = {}
    for first, last, primary, *replicas in answer:
        # A node that does not know its own address has an empty one: it is where we asked.
        place = (primary[0].decode() if primary[0] else asked_host, int(primary[1]))
        before = shards.get(place)
        slots = last - first + 1 + (before.slots if before is not None else 0)
        shards[place] = Shard(place, slots, len(replicas))
    return list(shards.values())
