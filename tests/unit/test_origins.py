"""Whose pages may have a browser send its cookies."""

from typing import Any

import pytest

from broker.edge.auth.origins import Origins
from broker.wire.problem import Forbidden

_APP = "https://app.example.com"


def scope_of(*headers: tuple[str, str], scheme: str = "http") -> dict[str, Any]:
    given = headers if any(name == "host" for name, _ in headers) else (("host", "x:80"), *headers)
    return {
        "type": "http",
        "scheme": scheme,
        "headers": [(name.encode(), text.encode("latin-1")) for name, text in given],
    }


def is_let_in(origins: Origins, *headers: tuple[str, str], scheme: str = "http") -> bool:
    try:
        origins.check(scope_of(*headers, scheme=scheme))
    except Forbidden:
        return False
    return True


@pytest.fixture
def listed() -> Origins:
    return Origins([_APP, "http://localhost:3000"], credentials=True)


@pytest.fixture
def nobody() -> Origins:
    return Origins([])


def test_who_says_no_origin_is_no_page(nobody: Origins) -> None:
    assert is_let_in(nobody)


@pytest.mark.parametrize("site", ["same-origin", "none"])
def test_our_own_pages_are_let_in(nobody: Origins, site: str) -> None:
    assert is_let_in(nobody, ("sec-fetch-site", site))
    # What the proxy has made of Host does not matter to the browser.
    assert is_let_in(nobody, ("sec-fetch-site", site), ("origin", _APP), ("host", "10.0.0.7:8080"))


@pytest.mark.parametrize("site", ["cross-site", "same-site", "", "SAME-ORIGIN", "same-origin,none"])
def test_others_are_not(nobody: Origins, site: str) -> None:
    assert not is_let_in(nobody, ("sec-fetch-site", site))
    assert not is_let_in(nobody, ("sec-fetch-site", site), ("origin", "http://x:80"))


def test_said_twice_is_not_believed(nobody: Origins, listed: Origins) -> None:
    assert not is_let_in(nobody, *[("sec-fetch-site", "same-origin")] * 2)
    assert not is_let_in(listed, *[("origin", _APP)] * 2)
    assert not is_let_in(nobody, ("origin", "http://a"), ("host", "a"), ("host", "b"))


def test_those_on_the_list_are_let_in(listed: Origins) -> None:
    for site in ([], [("sec-fetch-site", "cross-site")], [("sec-fetch-site", "same-site")]):
        assert is_let_in(listed, ("origin", _APP), *site)
        assert is_let_in(listed, ("origin", "http://localhost:3000"), *site)


@pytest.mark.parametrize(
    "origin",
    [
        "http://app.example.com",
        "https://app.example.com:8443",
        "https://app.example.com.evil.example",
        "https://evil-app.example.com",
        "https://APP.example.com",
        "https://app.example.com/",
        "https://app.example.com http://x:80",
        "https://x.app.example.com",
        "https://evil.example#https://app.example.com",
        "app.example.com",
        "*",
        "",
        "null",
        "file://",
    ],
)
def test_those_that_look_like_them_are_not(listed: Origins, origin: str) -> None:
    assert not is_let_in(listed, ("origin", origin))
    assert not is_let_in(listed, ("origin", origin), ("sec-fetch-site", "cross-site"))


def test_null_is_nobody_whatever_else_is_said(listed: Origins) -> None:
    assert not is_let_in(listed, ("origin", "null"), ("sec-fetch-site", "same-origin"))


def test_the_list_alone_is_not_for_cookies() -> None:
    assert not is_let_in(Origins([_APP], credentials=False), ("origin", _APP))


def test_all_are_never_for_cookies() -> None:
    origins = Origins(["*"], credentials=True)
    assert not origins.credentials
    assert not is_let_in(origins, ("origin", _APP))
    assert not is_let_in(origins, ("origin", "*"))
    assert not is_let_in(origins, ("sec-fetch-site", "cross-site"))


@pytest.mark.parametrize(
    ("scheme", "origin", "host", "own"),
    [
        ("http", "http://runs.example", "runs.example", True),
        ("http", "http://runs.example:8080", "RUNS.example:8080", True),
        ("https", "https://runs.example", "runs.example", True),
        # TLS ended at a proxy.
        ("http", "https://runs.example", "runs.example", True),
        # A page that anyone on the way may have written.
        ("https", "http://runs.example", "runs.example", False),
        ("http", "http://runs.example:8081", "runs.example:8080", False),
        ("http", "http://evil.example", "runs.example", False),
        ("http", "http://", "", False),
    ],
)
def test_old_browsers_are_judged_by_host(
    nobody: Origins, scheme: str, origin: str, host: str, own: bool
) -> None:
    assert is_let_in(nobody, ("origin", origin), ("host", host), scheme=scheme) is own


def test_it_is_said_without_repeating_what_came(nobody: Origins) -> None:
    with pytest.raises(Forbidden) as refused:
        nobody.check(scope_of(("origin", "http://evil.example")))
    assert "evil" not in refused.value.detail
