"""Looks at what Sentinel says of a primary, and at the primary."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from redis.asyncio import Redis
from redis.asyncio.sentinel import SentinelConnectionPool
from redis.exceptions import NoPermissionError, RedisError, ResponseError

from broker.redis.addresses import SentinelAddress, ServerAddress
from broker.redis.connections import aclose, command, connect
from broker.redis.inspection.findings import CANT_TELL, Finding, Level
from broker.redis.inspection.server import Needs, inspect_server
from broker.redis.inspection.unreachable import judge_failure

__all__ = ["SentinelView", "inspect_sentinel", "judge_sentinels"]

_LEAST: Final = 3
"""Fewer can't tell a dead primary from being cut off themselves."""


@dataclass(frozen=True, slots=True)
class SentinelView:
    """What one Sentinel says."""

    place: str
    failure: str = ""
    """Why it could not be asked."""
    names: tuple[str, ...] = ()
    """What it monitors."""
    primary: str | None = None
    """The ``host:port`` of the primary in question; `None` if it does not know it."""
    sentinels: int = 0
    """How many monitor it, with itself."""
    complaint: str | None = ""
    """Why these can't agree on a failover; empty if they can, `None` if we may not ask."""


async def inspect_sentinel(address: SentinelAddress, needs: Needs) -> list[Finding]:
    """Findings about the Sentinels, then about the primary that they name.

    Args:
        address: of the Sentinels.
        needs: what an edge wants of the primary.
    """
    client = connect(address, timeout_seconds=needs.timeout_seconds, connections=1)
    try:
        pool = client.connection_pool
        assert isinstance(pool, SentinelConnectionPool)
        views = [
            await _view(sentinel, f"{host}:{port}", address)
            for sentinel, (host, port) in zip(
                pool.sentinel_manager.sentinels, address.sentinels, strict=True
            )
        ]
    finally:
        await aclose(client)
    findings = [judge_sentinels(address.service, views)]
    primary = next((view.primary for view in views if view.primary), None)
    if primary is None:
        return findings
    host, _, port = primary.rpartition(":")
    scheme = "rediss" if address.options.get("ssl") else "redis"
    server = ServerAddress(
        f"{scheme}://{primary}", {**address.options, "host": host, "port": int(port)}
    )
    return findings + [
        replace(finding, server=server.shown) for finding in await inspect_server(server, needs)
    ]


def judge_sentinels(service: str, views: Sequence[SentinelView]) -> Finding:
    """Whether the Sentinels know the primary, and can agree on another.

    Args:
        service: the name of the primary.
        views: what each of the Sentinels of the URL says.
    """
    name = "sentinel"
    failed = [view for view in views if view.failure]
    failures = "; ".join(f"{view.place}: {view.failure}" for view in failed)
    if len(failed) == len(views):
        return Finding(
            name,
            Level.PROBLEM,
            failures,
            "see the reasons above; a Sentinel's own user and password are given as "
            "?sentinel_username=…&sentinel_password=… in --redis-url",
        )
    primaries = sorted({view.primary for view in views if view.primary})
    if not primaries:
        monitored = ", ".join(sorted({one for view in views for one in view.names})) or "none"
        return Finding(
            name,
            Level.PROBLEM,
            f"no primary is monitored as {service}; those that are: {monitored}",
            "write one of these names at the end of redis+sentinel://…/NAME",
        )
    found = f"{service} is at {primaries[0]}, as {len(views) - len(failed)} of {len(views)} say"
    complaints = [view for view in views if view.complaint]
    if complaints:
        return Finding(
            name,
            Level.PROBLEM,
            f"{found}; {complaints[0].place}: {complaints[0].complaint}",
            "start more Sentinels, or those that are down: without a majority nobody takes over",
        )
    if failed:
        return Finding(
            name,
            Level.WARNING,
            f"{found}; {failures}",
            "start the Sentinel, or correct its address in --redis-url",
        )
    if len(primaries) > 1:
        return Finding(
            name,
            Level.WARNING,
            f"they name several: {', '.join(primaries)}",
            "wait until the failover is over, and ask again",
        )
    if any(view.complaint is None for view in views):
        return Finding(
            name,
            Level.WARNING,
            f"{found}; whether they can agree on another: {CANT_TELL}",
            "permit it there: add +sentinel|ckquorum to the user's ACL rules",
        )
    fewest = min(view.sentinels for view in views)
    if fewest < _LEAST:
        return Finding(
            name,
            Level.WARNING,
            f"{found}; there {'is' if fewest == 1 else 'are'} {fewest}",
            f"run at least {_LEAST} Sentinels, on different machines",
        )
    return Finding(name, Level.OK, f"{found}; {fewest} monitor it")


async def _view(sentinel: Redis, place: str, address: SentinelAddress) -> SentinelView:
    try:
        masters: dict[str, dict[str, Any]] = await command(sentinel, "SENTINEL MASTERS")
    except NoPermissionError:
        return SentinelView(place, "not permitted to ask: add +sentinel|masters to the ACL rules")
    except (RedisError, OSError, TimeoutError) as error:
        if isinstance(error, ResponseError) and str(error).lower().startswith("unknown"):
            return SentinelView(place, "no Sentinel: for a server, write redis://…")
        tls = bool(address.sentinel_options.get("ssl"))
        return SentinelView(place, judge_failure(error, tls=tls).found)
    state = masters.get(address.service)
    if state is None:
        return SentinelView(place, names=tuple(masters))
    return SentinelView(
        place,
        names=tuple(masters),
        primary=f"{state['ip']}:{state['port']}",
        sentinels=int(state["num-other-sentinels"]) + 1,
        complaint=await _complaint(sentinel, address.service),
    )


async def _complaint(sentinel: Redis, service: str) -> str | None:
    try:
        await command(sentinel, "SENTINEL CKQUORUM", service)
    except NoPermissionError:
        return None
    except ResponseError as error:
        return str(error)
    return ""
