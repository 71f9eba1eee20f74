"""What a Redis URL says."""

from pathlib import Path

import pytest

from broker.redis.addresses import (
    ClusterAddress,
    RedisUrlError,
    SentinelAddress,
    ServerAddress,
    parse_addresses,
    shown_url,
)

_SECRET = "hunter2"


def one(url: str) -> ServerAddress | SentinelAddress:
    addresses = parse_addresses(url)
    assert not isinstance(addresses, ClusterAddress)
    (address,) = addresses
    return address


def sentinel(url: str) -> SentinelAddress:
    address = one(url)
    assert isinstance(address, SentinelAddress)
    return address


def cluster(url: str) -> ClusterAddress:
    address = parse_addresses(url)
    assert isinstance(address, ClusterAddress)
    return address


def test_one_server() -> None:
    address = one(f"redis://user:{_SECRET}@host:7000/3?protocol=3")
    assert address.shown == "redis://host:7000/3"
    assert dict(address.options) == {
        "host": "host",
        "port": 7000,
        "db": 3,
        "username": "user",
        "password": _SECRET,
        "protocol": 3,
    }


def test_tls() -> None:
    options = one("rediss://host:6380/0?ssl_ca_certs=/ca.pem").options
    assert options["ssl"] is True
    assert options["ssl_ca_certs"] == "/ca.pem"
    assert "ssl" not in one("redis://host:6380/0").options


def test_a_socket() -> None:
    assert one("unix:///run/redis.sock?db=2").options == {"path": "/run/redis.sock", "db": 2}


def test_sentinel() -> None:
    address = sentinel(
        f"redis+sentinel://user:{_SECRET}@a:1,b,[::1]:3/main/2"
        "?sentinel_username=watch&sentinel_password=man"
    )
    assert address.sentinels == (("a", 1), ("b", 26379), ("::1", 3))
    assert address.service == "main"
    assert dict(address.options) == {"username": "user", "password": _SECRET, "db": 2}
    assert address.sentinel_options == {"username": "watch", "password": "man"}
    assert _SECRET not in address.shown


def test_sentinel_over_tls() -> None:
    address = sentinel("rediss+sentinel://a/main?ssl_ca_certs=/ca.pem")
    tls = {"ssl": True, "ssl_ca_certs": "/ca.pem"}
    assert address.options == tls
    assert address.sentinel_options == tls


def test_cluster() -> None:
    address = cluster(f"rediss+cluster://:{_SECRET}@a:1,b")
    assert address.seeds == (("a", 1), ("b", 6379))
    node = address.node("c", 5)
    assert node.shown == "rediss://c:5"
    assert node.options == {"ssl": True, "password": _SECRET, "host": "c", "port": 5}


def test_several() -> None:
    addresses = parse_addresses("redis://a:1/0  redis+sentinel://s/main")
    assert not isinstance(addresses, ClusterAddress)
    assert [address.shown for address in addresses] == ["redis://a:1/0", "redis+sentinel://s/main"]


def test_a_password_in_a_file_is_read_each_time(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("first\n")
    options = one(f"redis://user@host/0?password_file={file}").options
    assert options.keys() == {"host", "db", "credential_provider"}
    assert options["credential_provider"].get_credentials() == ("user", "first")
    file.write_text("second")
    assert options["credential_provider"].get_credentials() == ("user", "second")


@pytest.mark.parametrize(
    ("url", "advice"),
    [
        ("", "is empty"),
        ("http://host", "is not a Redis URL"),
        ("redis:host", "is not a Redis URL"),
        ("redis://", "is not a Redis URL"),
        ("redis://host/x", "is not a Redis URL"),
        ("redis://host:0/0", "is not a Redis URL"),
        ("redis://host:port/0", "is not a Redis URL"),
        ("redis://[::1/0", "is not a Redis URL"),
        ("redis+sentinel://host:26379", "names no primary"),
        ("redis+sentinel://host:26379/main/x", "names no primary"),
        ("redis+sentinel:///main", "is not a Redis URL"),
        ("redis+sentinel://a:x/main", "is not a Redis URL"),
        ("redis+cluster://host/3", "only database 0"),
        ("redis+cluster://a,,b", "is not a Redis URL"),
        ("redis+cluster://a redis://b", "alone"),
        ("redis://b redis+cluster://a", "alone"),
        ("redis://host?socket_timeout=soon", "is not a Redis URL"),
    ],
)
def test_what_is_no_redis_url(url: str, advice: str) -> None:
    with pytest.raises(RedisUrlError, match=advice):
        parse_addresses(url.replace("://", f"://user:{_SECRET}@") if url else url)


@pytest.mark.parametrize(
    "url",
    [
        f"redis://user:{_SECRET}@host/0?password={_SECRET}",
        f"redis+sentinel://user:{_SECRET}@a,b/main?sentinel_password={_SECRET}",
        f"redis+cluster://user:{_SECRET}@a,b",
        f"redis:user:{_SECRET}@host",
        f"redis://user:a@b/{_SECRET}@host",
        f"redis+sentinel://user:a@b/{_SECRET}@host/main",
        f"redis://user:{_SECRET}@[::1",
        f"redis://:{_SECRET}@a redis://:{_SECRET}@b",
    ],
)
def test_no_password_is_shown(url: str) -> None:
    assert _SECRET not in shown_url(url)
    try:
        said = repr(parse_addresses(url))
    except RedisUrlError as error:
        said = str(error)
    assert _SECRET not in said
