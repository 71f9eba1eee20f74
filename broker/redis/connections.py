"""Clients for Redis: timeouts on every wait, no hidden retries, no secrets in errors.

redis-py resends a command up to ten times when a connection fails; an XADD sent twice is two
events. So nothing is retried here: whoever reads repeats the read, whoever appends decides.
"""

import re
from collections.abc import Awaitable
from typing import Any, Final
from urllib.parse import urlsplit

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.connection import AbstractConnection, parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

__all__ = [
    "CONTROL_CONNECTIONS",
    "RedisUrlError",
    "check_url",
    "command",
    "connect",
    "describe",
    "open_connection",
    "shown_url",
]

CONTROL_CONNECTIONS: Final = 4
"""For what an edge asks beside the reads: the server's setup, and to unblock a blocked read."""
_SCHEMES: Final = ("redis", "rediss", "unix")
_CONNECT_SECONDS: Final = 2.0
_DATABASE: Final = re.compile(r"/?[0-9]{0,4}")


class RedisUrlError(ValueError):
    """The URL can't be used; the message says what to change, without repeating its password."""


def check_url(url: str) -> str:
    """`url` if its form is right.

    Raises:
        RedisUrlError: it is not.
    """
    try:
        parts = urlsplit(url)
        usable = parts.scheme in _SCHEMES and bool(
            parts.path if parts.scheme == "unix" else parts.hostname
        )
        # Reading the port checks it; an unescaped "/" in a password ends up there too.
        usable = usable and (parts.port is None or parts.port > 0)
        # redis-py reads the database from the path, and is stricter than it says.
        usable = usable and (parts.scheme == "unix" or _DATABASE.fullmatch(parts.path) is not None)
        parse_url(url)
    except ValueError:
        usable = False
    if not usable:
        raise RedisUrlError(
            f"{shown_url(url)} is not a Redis URL: write redis://host:6379/0, "
            "rediss://host:6380/0 or unix:///path/to/socket, special characters of a password "
            "percent-encoded"
        )
    return url


def shown_url(url: str) -> str:
    """`url` without user, password and query: fit for a log."""
    try:
        parts = urlsplit(url)
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return "(unreadable URL)"
    if not url.lower().startswith((f"{parts.scheme}://", "//")):
        # Without "//" it is not told apart into host and password.
        return "(unreadable URL)"
    return f"{parts.scheme}://{parts.hostname or ''}{port}{parts.path}"


def connect(url: str, *, timeout_seconds: float, connections: int) -> Redis:
    """A client that owns a pool that makes callers wait for a free connection, not fail.

    Args:
        url: a checked URL.
        timeout_seconds: how long one command may take, its wait for an answer included.
        connections: the pool's size.
    """
    # Only for TCP: redis-py's Unix socket connection does not take it.
    keepalive = {} if url.startswith("unix:") else {"socket_keepalive": True}
    pool = BlockingConnectionPool.from_url(
        url,
        max_connections=connections,
        timeout=timeout_seconds,
        # RESP2 has the same answer shapes on every server that we support.
        protocol=2,
        socket_timeout=timeout_seconds,
        socket_connect_timeout=min(_CONNECT_SECONDS, timeout_seconds),
        health_check_interval=0,
        retry=Retry(NoBackoff(), 0),
        client_name="runcast",
        **keepalive,
    )
    return Redis.from_pool(pool)


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
