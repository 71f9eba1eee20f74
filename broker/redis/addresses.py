"""Where Redis is, as its URL says: one server, Sentinel's primary, a Cluster, or several primaries.

========================================  ======================================================
``redis://host:6379/0``                   one server (``rediss://`` with TLS, ``unix://``)
``redis+sentinel://a:26379,b:26379/name`` the primary of that name, wherever Sentinel says it is
``redis+cluster://a:6379,b:6379``         a Cluster, from any of its nodes
several, separated by spaces              independent primaries, runs spread by hash
========================================  ======================================================

A URL's query has redis-py's options, and ours: ``password_file`` (read anew for each connection, so
that a password can be changed under us), ``sentinel_username`` and ``sentinel_password``.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit, urlunsplit

from redis.asyncio.connection import parse_url
from redis.credentials import CredentialProvider

__all__ = [
    "Address",
    "Addresses",
    "ClusterAddress",
    "RedisUrlError",
    "SentinelAddress",
    "ServerAddress",
    "parse_addresses",
    "shown_url",
]

_PLAIN: Final = ("redis", "rediss", "unix")
_SENTINEL: Final = ("redis+sentinel", "rediss+sentinel")
_CLUSTER: Final = ("redis+cluster", "rediss+cluster")
_DATABASE: Final = re.compile(r"/?[0-9]{0,4}")
_SENTINEL_PORT: Final = 26379
_PORT: Final = 6379
_OURS: Final = frozenset({"password_file", "sentinel_username", "sentinel_password"})


class RedisUrlError(ValueError):
    """The URL can't be used; the message says what to change, without repeating its password."""


@dataclass(frozen=True, slots=True)
class ServerAddress:
    """One server, at one address."""

    shown: str
    """The URL without user, password and query: fit for a log."""
    options: Mapping[str, Any] = field(repr=False)
    """What redis-py's connection is made with."""


@dataclass(frozen=True, slots=True)
class SentinelAddress:
    """A primary that Sentinel knows the address of."""

    shown: str
    service: str
    sentinels: tuple[tuple[str, int], ...]
    options: Mapping[str, Any] = field(repr=False)
    sentinel_options: Mapping[str, Any] = field(repr=False)
    """What the connections to the sentinels themselves are made with."""


@dataclass(frozen=True, slots=True)
class ClusterAddress:
    """A Cluster."""

    shown: str
    seeds: tuple[tuple[str, int], ...]
    """Nodes to ask for the others."""
    options: Mapping[str, Any] = field(repr=False)

    def node(self, host: str, port: int) -> ServerAddress:
        """The address of one of its nodes."""
        scheme = "rediss" if self.options.get("ssl") else "redis"
        return ServerAddress(
            f"{scheme}://{host}:{port}", {**self.options, "host": host, "port": port}
        )


Address = ServerAddress | SentinelAddress
Addresses = tuple[Address, ...] | ClusterAddress


class _PasswordFile(CredentialProvider):
    """A password that may change while we run: read for each new connection."""

    def __init__(self, path: Path, username: str | None) -> None:
        self._path = path
        self._username = username

    def get_credentials(self) -> tuple[str] | tuple[str, str]:
        password = self._path.read_text().strip()
        return (password,) if self._username is None else (self._username, password)


def parse_addresses(text: str) -> Addresses:
    """What the URL, or the URLs, stand for.

    Raises:
        RedisUrlError: one of them is none of ours.
    """
    parsed = [_parse(url) for url in text.split()]
    if not parsed:
        raise RedisUrlError("the Redis URL is empty: write redis://host:6379/0")
    first = parsed[0]
    if isinstance(first, ClusterAddress):
        if len(parsed) > 1:
            raise RedisUrlError(
                "a Cluster can't be one of several: write redis+cluster://host:6379,host:6379 alone"
            )
        return first
    return tuple(_no_cluster(one) for one in parsed)


def shown_url(text: str) -> str:
    """The URLs without user, password and query: fit for a log."""
    return " ".join(map(_shown, text.split())) or "(empty URL)"


def _no_cluster(address: Address | ClusterAddress) -> Address:
    if isinstance(address, ClusterAddress):
        raise RedisUrlError(
            "a Cluster can't be one of several: write redis+cluster://host:6379,host:6379 alone"
        )
    return address


def _parse(url: str) -> Address | ClusterAddress:
    try:
        scheme = urlsplit(url).scheme
        if scheme in _PLAIN:
            return _parse_plain(url)
        if scheme in _SENTINEL:
            return _parse_sentinel(url)
        if scheme in _CLUSTER:
            return _parse_cluster(url)
    except RedisUrlError:
        raise
    except ValueError:
        pass
    raise RedisUrlError(
        f"{_shown(url)} is not a Redis URL: write redis://host:6379/0, rediss://host:6380/0, "
        "unix:///path/to/socket, redis+sentinel://host:26379,host:26379/NAME or "
        "redis+cluster://host:6379,host:6379, special characters of a password percent-encoded"
    )


def _parse_plain(url: str) -> ServerAddress:
    parts = urlsplit(url)
    if not (parts.path if parts.scheme == "unix" else parts.hostname):
        raise ValueError
    # Reading the port checks it; an unescaped "/" in a password ends up there too.
    if parts.port is not None and parts.port < 1:
        raise ValueError
    # redis-py reads the database from the path, and is stricter than it says.
    if parts.scheme != "unix" and _DATABASE.fullmatch(parts.path) is None:
        raise ValueError
    return ServerAddress(_shown(url), _options(url))


def _parse_sentinel(url: str) -> SentinelAddress:
    parts = urlsplit(url)
    service, _, database = parts.path.removeprefix("/").partition("/")
    if not service or _DATABASE.fullmatch(database) is None:
        raise RedisUrlError(
            f"{_shown(url)} names no primary: write redis+sentinel://host:26379/NAME, "
            "with the name that Sentinel monitors it by"
        )
    options = _options(_one_host(url, f"/{database}"))
    options.pop("port", None)
    options.pop("host", None)
    ours = dict(parse_qsl(parts.query))
    shared = {name: value for name, value in options.items() if name.startswith("ssl")}
    if "sentinel_password" in ours:
        shared["username"] = ours.get("sentinel_username")
        shared["password"] = ours["sentinel_password"]
    return SentinelAddress(
        _shown(url), unquote(service), _hosts(parts.netloc, _SENTINEL_PORT), options, shared
    )


def _parse_cluster(url: str) -> ClusterAddress:
    parts = urlsplit(url)
    if parts.path not in ("", "/", "/0"):
        raise RedisUrlError(f"{_shown(url)} has a database: a Cluster has only database 0")
    options = _options(_one_host(url, ""))
    return ClusterAddress(_shown(url), _hosts(parts.netloc, _PORT), options)


def _one_host(url: str, path: str) -> str:
    """The same for one host, as redis-py reads it."""
    parts = urlsplit(url)
    user, at, _ = parts.netloc.rpartition("@")
    scheme = parts.scheme.partition("+")[0]
    return urlunsplit((scheme, f"{user}{at}host", path, parts.query, ""))


def _options(url: str) -> dict[str, Any]:
    parts = urlsplit(url)
    query = parse_qsl(parts.query, keep_blank_values=True)
    ours = {name: value for name, value in query if name in _OURS}
    theirs = urlencode([(name, value) for name, value in query if name not in _OURS])
    options: dict[str, Any] = dict(parse_url(urlunsplit(parts._replace(query=theirs))))
    if options.pop("connection_class", None) is not None and parts.scheme == "rediss":
        options["ssl"] = True
    if "password_file" in ours:
        options.pop("password", None)
        path = Path(ours["password_file"])
        options["credential_provider"] = _PasswordFile(path, options.pop("username", None))
    return options


def _hosts(netloc: str, default_port: int) -> tuple[tuple[str, int], ...]:
    hosts = []
    for host in netloc.rpartition("@")[2].split(","):
        parts = urlsplit(f"//{host}")
        if not parts.hostname:
            raise ValueError
        hosts.append((parts.hostname, parts.port or default_port))
    return tuple(hosts)


def _shown(url: str) -> str:
    try:
        parts = urlsplit(url)
        scheme = parts.scheme
        if not url.lower().startswith((f"{scheme}://", "//")) or "@" in parts.path:
            # Without "//" it is not told apart into host and password, nor with a "/" in it.
            return "(unreadable URL)"
        if scheme in _SENTINEL or scheme in _CLUSTER:
            hosts = parts.netloc.rpartition("@")[2]
            return f"{scheme}://{hosts}{parts.path}"
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return "(unreadable URL)"
    return f"{scheme}://{parts.hostname or ''}{port}{parts.path}"
