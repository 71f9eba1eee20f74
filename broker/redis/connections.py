"""redis-py's clients and connections: a timeout on every wait, nothing retried, no secret said.

redis-py resends a command up to ten times when a connection fails; an XADD sent twice is two
events. So nothing is retried here: whoever reads repeats the read, whoever appends decides.
"""

from collections.abc import Awaitable, Mapping
from typing import Any, Final

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.connection import (
    AbstractConnection,
    Connection,
    SSLConnection,
    UnixDomainSocketConnection,
)
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel, SentinelConnectionPool
from redis.backoff import NoBackoff
from redis.maint_notifications import MaintNotificationsConfig

from broker.redis.addresses import Address, SentinelAddress

__all__ = ["aclose", "command", "connect", "describe", "open_connection", "primary_of"]

_CONNECT_SECONDS: Final = 2.0
_SENTINEL_SECONDS: Final = 1.0
"""How long one of the sentinels may take, before the next is asked."""


def connect(address: Address, *, timeout_seconds: float, connections: int) -> Redis:
    """A client that makes callers wait for a free connection, not fail. To be closed by `aclose`.

    Args:
        address: of the server, or of those who know it.
        timeout_seconds: how long one command may take, its wait for an answer included.
        connections: the pool's size.
    """
    options: dict[str, Any] = {
        # RESP2 unless the URL says otherwise: its answers' shapes are the same on every server.
        "protocol": 2,
        **address.options,
        "max_connections": connections,
        "socket_timeout": timeout_seconds,
        "socket_connect_timeout": min(_CONNECT_SECONDS, timeout_seconds),
        "health_check_interval": 0,
        "retry": Retry(NoBackoff(), 0),
        "client_name": "runcast",
        # CLIENT SETINFO: a right more, for nothing that we need.
        "driver_info": None,
        # Of Redis Enterprise; asked for by itself with RESP3, and an error elsewhere.
        "maint_notifications_config": MaintNotificationsConfig(enabled=False),
    }
    if isinstance(address, SentinelAddress):
        return Redis.from_pool(_sentinel_pool(address, options))
    if "path" in options:
        options["connection_class"] = UnixDomainSocketConnection
    else:
        # Only for TCP: redis-py's Unix socket connection does not take it.
        options["socket_keepalive"] = True
        options["connection_class"] = SSLConnection if options.pop("ssl", False) else Connection
    return Redis.from_pool(BlockingConnectionPool(timeout=timeout_seconds, **options))


def _sentinel_pool(address: SentinelAddress, options: Mapping[str, Any]) -> SentinelConnectionPool:
    sentinel = Sentinel(  # type: ignore[no-untyped-call]
        address.sentinels,
        sentinel_kwargs={
            **address.sentinel_options,
            "protocol": 2,
            "driver_info": None,
            "socket_timeout": _SENTINEL_SECONDS,
            "socket_connect_timeout": _SENTINEL_SECONDS,
            "retry": Retry(NoBackoff(), 0),
        },
    )
    return SentinelConnectionPool(  # type: ignore[no-untyped-call]
        address.service, sentinel, socket_keepalive=True, **options
    )


async def primary_of(client: Redis) -> tuple[str, int] | None:
    """The address of the primary that Sentinel names now; `None` for a client without Sentinel.

    Raises:
        RedisError, OSError: no sentinel knows one.
    """
    pool = client.connection_pool
    if not isinstance(pool, SentinelConnectionPool):
        return None
    host, port = await pool.sentinel_manager.discover_master(pool.service_name)
    return str(host), int(port)


async def aclose(client: Redis) -> None:
    """Closes the client, and what it asks Sentinel with."""
    await client.aclose()
    pool = client.connection_pool
    if isinstance(pool, SentinelConnectionPool):
        await pool.sentinel_manager.aclose()


def command(client: Redis, *words: object) -> Awaitable[Any]:
    """One command's answer. redis-py leaves this method untyped; here is its one typed door."""
    answer: Awaitable[Any] = client.execute_command(*words)  # type: ignore[no-untyped-call]
    return answer


async def open_connection(client: Redis) -> AbstractConnection:
    """A connection to the client's server, with its settings, for its caller alone.

    Raises:
        RedisError, OSError: it can't be had.
    """
    connection: AbstractConnection = client.connection_pool.make_connection()  # type: ignore[no-untyped-call]
    await connection.connect()  # type: ignore[no-untyped-call]
    return connection


def describe(error: Exception) -> str:
    """An error as one line for a log: its kind and its text, which never has a password."""
    text = str(error).replace("\n", " ")
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
