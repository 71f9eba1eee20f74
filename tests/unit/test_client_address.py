"""Whose a request is, behind proxies and without; and which addresses count as one."""

from collections.abc import Sequence
from typing import Any

import pytest
from starlette.types import Receive, Scope, Send

from broker.edge.client_address import AddressGroups, behind_proxies, unmapped

_PROXY = "10.0.0.1"
_CLIENT = "203.0.113.7"


async def seen(
    connection: str | None, forwarded: Sequence[str], trusted: Sequence[str]
) -> str | None:
    """The address that an application is told, of a connection with these headers."""
    told: list[Any] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        told.append(scope["client"])

    scope = {
        "type": "http",
        "scheme": "http",
        "client": None if connection is None else (connection, 50_000),
        "headers": [(b"x-forwarded-for", value.encode()) for value in forwarded],
    }
    # Neither is called.
    nothing: Any = None
    await behind_proxies(app, trusted)(scope, nothing, nothing)
    [client] = told
    return client[0] if client else None


@pytest.mark.parametrize(
    ("connection", "forwarded", "trusted", "client"),
    [
        pytest.param(_CLIENT, ["1.2.3.4"], [], _CLIENT, id="nobody is trusted"),
        pytest.param(_CLIENT, ["1.2.3.4"], [_PROXY], _CLIENT, id="not by a proxy"),
        pytest.param(_PROXY, [_CLIENT], [_PROXY], _CLIENT, id="by a proxy"),
        pytest.param(_PROXY, [], [_PROXY], _PROXY, id="a proxy that asks for itself"),
        pytest.param(_PROXY, [""], [_PROXY], _PROXY, id="a proxy that says nothing"),
        pytest.param(
            _PROXY, [f"1.2.3.4, 5.6.7.8, {_CLIENT}"], [_PROXY], _CLIENT, id="a client that lies"
        ),
        pytest.param(
            _PROXY, ["1.2.3.4", _CLIENT], [_PROXY], _CLIENT, id="a client that lies in a header"
        ),
        pytest.param(
            _PROXY,
            [f"1.2.3.4, {_CLIENT}, 10.9.8.7, 10.1.1.1"],
            ["10.0.0.0/8"],
            _CLIENT,
            id="through a chain of proxies",
        ),
        pytest.param(
            _PROXY,
            [f"1.2.3.4, 10.9.9.9, {_CLIENT}, 10.1.1.1"],
            ["10.0.0.0/8"],
            _CLIENT,
            id="a client that claims to be a proxy's",
        ),
        pytest.param(
            _PROXY,
            [f"{_CLIENT}, 192.0.2.1"],
            [_PROXY],
            "192.0.2.1",
            id="behind a proxy that is not trusted",
        ),
        pytest.param(
            "2001:db8::1", ["2001:db8:5::9"], ["2001:db8::/64"], "2001:db8:5::9", id="IPv6"
        ),
        pytest.param(_PROXY, [f"{_CLIENT}:4711"], [_PROXY], _CLIENT, id="with a port"),
        pytest.param(_PROXY, ["[2001:db8::2]:99"], [_PROXY], "2001:db8::2", id="IPv6 and port"),
        pytest.param(None, [_CLIENT], [_PROXY], None, id="no address"),
    ],
)
async def test_the_client_is_who_a_trusted_proxy_has_seen(
    connection: str | None, forwarded: list[str], trusted: list[str], client: str | None
) -> None:
    assert await seen(connection, forwarded, trusted) == client


def test_without_proxies_nothing_stands_before_the_application() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        """Is not called."""

    assert behind_proxies(app, []) is app


@pytest.mark.parametrize(
    ("host", "group"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:0DB8:1:2::", "2001:db8:1:2::/64"),
        ("::1", "::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("unknown", "unknown"),
        ("_hidden", "unknown"),
        ("x" * 10_000, "unknown"),
        ("", "unknown"),
        ("10.0.0.1", None),
        ("::ffff:10.0.0.1", None),
        ("2001:db8:ff::1", None),
        (None, None),
    ],
)
def test_addresses_that_count_as_one(host: str | None, group: str | None) -> None:
    assert AddressGroups(["10.0.0.0/8", "2001:db8:ff::1"]).group(host) == group


def test_of_two_networks_the_addresses_differ() -> None:
    groups = AddressGroups([])
    assert groups.group("2001:db8:1:2::1") == groups.group("2001:db8:1:2:ffff::")
    assert groups.group("2001:db8:1:2::1") != groups.group("2001:db8:1:3::1")
    assert groups.group("203.0.113.7") != groups.group("203.0.113.8")


def test_an_address_of_ipv4_is_told_as_such() -> None:
    assert unmapped("::ffff:192.0.2.1") == "192.0.2.1"
    assert unmapped("::ffff:c000:201") == "::ffff:c000:201"
    assert unmapped("192.0.2.1") == "192.0.2.1"
