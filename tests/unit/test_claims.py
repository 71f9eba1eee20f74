"""What claims mean: times, parties, subjects, and rights that no claim can widen."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.edge.auth.claims import (
    ClaimedRights,
    Lifetime,
    claim_at,
    claim_path,
    lifetime,
    require_parties,
    subject_of,
    token_id,
)
from broker.edge.auth.rights import Action, Rights, Verdict
from broker.wire.ids import RunId
from broker.wire.problem import NotAuthenticated
from tests.fuzz.effort import effort

_NOW = 1_800_000_000.5
_LEEWAY = 10
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)


def rights(claims: dict[str, Any], templates: str = "", **given: Any) -> str:
    """What the claims give."""
    chosen: dict[str, Any] = {"rights_claim": None, "roles_claim": None, "roles": {}, **given}
    return str(ClaimedRights(templates, **chosen).of(claims))


# ---- where a claim is


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("team", "a"),
        ("https://example.com/team", "b"),
        ("/nested/list/1", 2),
        ("/nested/x~1y/~0z", "c"),
        ("/https:~1~1example.com~1team", "b"),
        ("nested/list", None),
        ("/nested/list/2", None),
        ("/nested/list/01", None),
        ("/nested/list/-1", None),
        ("/nested/list/99999999999999999999", None),
        ("/team/x", None),
        ("missing", None),
    ],
)
def test_a_claim_is_found_by_name_or_pointer(name: str, value: Any) -> None:
    claims = {
        "team": "a",
        "https://example.com/team": "b",
        "nested": {"list": [1, 2], "x/y": {"~z": "c"}},
    }
    assert claim_at(claims, claim_path(name)) == value


def test_a_pointer_with_a_bad_escape_is_none() -> None:
    with pytest.raises(ValueError, match="~0 for ~"):
        claim_path("/a~2b")


# ---- times


@pytest.mark.parametrize(
    ("claims", "expected"),
    [
        ({"exp": _NOW + 60}, Lifetime(_NOW + 60, None)),
        ({"exp": _NOW + 60, "iat": 5, "nbf": 6}, Lifetime(_NOW + 60, 5)),
        # Within the leeway it lasts as long as that.
        ({"exp": _NOW - 9}, Lifetime(_NOW + 1, None)),
        ({"exp": _NOW}, Lifetime(_NOW + 10, None)),
        ({"exp": _NOW + 60, "nbf": _NOW + 10, "iat": _NOW + 10}, Lifetime(_NOW + 60, _NOW + 10)),
    ],
)
def test_how_long_a_token_lasts(claims: dict[str, Any], expected: Lifetime) -> None:
    assert lifetime(claims, _NOW, _LEEWAY) == expected


@pytest.mark.parametrize(
    ("claims", "why"),
    [
        ({}, "does not say when"),
        ({"exp": None}, "exp is not a number"),
        ({"exp": _NOW - 10}, "has expired"),
        ({"exp": 0}, "has expired"),
        ({"exp": -1}, "exp is not a time"),
        ({"exp": "1900000000"}, "exp is not a number"),
        ({"exp": True}, "exp is not a number"),
        ({"exp": [_NOW + 60]}, "exp is not a number"),
        ({"exp": float("nan")}, "exp is not a time"),
        ({"exp": float("inf")}, "exp is not a time"),
        ({"exp": 10**400}, "exp is not a time"),
        ({"exp": _NOW * 1000}, "exp is not a time in seconds"),
        ({"exp": _NOW + 60, "nbf": _NOW + 10.1}, "not valid yet"),
        ({"exp": _NOW + 60, "nbf": "soon"}, "nbf is not a number"),
        ({"exp": _NOW + 60, "nbf": None}, "nbf is not a number"),
        ({"exp": _NOW + 60, "iat": _NOW + 10.1}, "in the future"),
        ({"exp": _NOW + 60, "iat": {}}, "iat is not a number"),
        ({"exp": _NOW + 60, "iat": float("-inf")}, "iat is not a time"),
    ],
)
def test_times_that_refuse_a_token(claims: dict[str, Any], why: str) -> None:
    with pytest.raises(NotAuthenticated, match=why):
        lifetime(claims, _NOW, _LEEWAY)


# ---- parties, subjects, names


@pytest.mark.parametrize(
    ("claims", "issuer", "good"),
    [
        ({"iss": "i", "aud": "a"}, "i", True),
        ({"iss": "i", "aud": ["b", "a"]}, "i", True),
        ({"aud": "a"}, None, True),
        ({"aud": "a"}, "i", False),
        ({"iss": "I", "aud": "a"}, "i", False),
        ({"iss": ["i"], "aud": "a"}, "i", False),
        ({"iss": "i/", "aud": "a"}, "i", False),
        ({"iss": "i", "aud": "a"}, "i/", False),
        ({"iss": "", "aud": "a"}, "i", False),
        ({"iss": "i"}, "i", False),
        ({"iss": "i", "aud": None}, "i", False),
        ({"iss": "i", "aud": []}, "i", False),
        ({"iss": "i", "aud": "ab"}, "i", False),
        ({"iss": "i", "aud": {"a": 1}}, "i", False),
        ({"iss": "i", "aud": ["a", 1]}, "i", False),
        ({"iss": "i", "aud": [["a"]]}, "i", False),
        ({"iss": "i", "aud": 1}, "i", False),
    ],
)
def test_a_token_is_of_the_issuer_and_for_the_audience(
    claims: dict[str, Any], issuer: str | None, good: bool
) -> None:
    if good:
        require_parties(claims, issuer, "a")
    else:
        with pytest.raises(NotAuthenticated):
            require_parties(claims, issuer, "a")


@pytest.mark.parametrize(
    ("claims", "name", "expected"),
    [
        ({"sub": "auth0|1"}, "sub", "auth0|1"),
        ({"sub": "s", "user_id": 42}, "user_id", "42"),
        ({"user": {"id": "u"}}, "/user/id", "u"),
        ({"sub": 42}, "sub", None),
        ({"sub": 42, "user_id": "u"}, "user_id", None),
        ({"sub": ""}, "sub", None),
        ({"sub": "a\nb"}, "sub", None),
        ({"sub": "x" * 257}, "sub", None),
        ({"sub": None}, "sub", None),
        ({"sub": ["s"]}, "sub", None),
        ({"user_id": True}, "user_id", None),
        ({"user_id": 4.0}, "user_id", None),
        ({}, "sub", None),
    ],
)
def test_whose_a_token_is(claims: dict[str, Any], name: str, expected: str | None) -> None:
    if expected is not None:
        assert subject_of(claims, claim_path(name)) == expected
    else:
        with pytest.raises(NotAuthenticated):
            subject_of(claims, claim_path(name))


def test_a_tokens_own_name() -> None:
    assert token_id({}) is None
    assert token_id({"jti": "t-1"}) == "t-1"
    for bad in (None, "", 1, ["t-1"], "x" * 257, "a\0b"):
        with pytest.raises(NotAuthenticated):
            token_id({"jti": bad})


@effort(100)
@given(st.dictionaries(st.sampled_from(["exp", "nbf", "iat", "iss", "aud", "sub", "jti"]), _JSON))
def test_no_claims_do_anything_but_pass_or_be_refused(claims: dict[str, Any]) -> None:
    try:
        lasts = lifetime(claims, _NOW, _LEEWAY)
        require_parties(claims, "i", "a")
        subject_of(claims, ("sub",))
        token_id(claims)
    except NotAuthenticated:
        return
    assert lasts.until > _NOW


# ---- rights


@pytest.mark.parametrize(
    ("claims", "templates", "expected"),
    [
        ({}, "watch:@own command:@own", "watch:@own command:@own"),
        ({}, "watch:*,metrics", "watch:* metrics"),
        ({"team": "blue"}, "watch:{team}-*", "watch:blue-*"),
        ({"team": 7}, "watch:{team}-*", "watch:7-*"),
        ({"run": "r1"}, "watch:{run}", "watch:r1"),
        ({"a": "x", "b": "y"}, "watch:{a}_{b}-* publish:{b}-*", "watch:x_y-* publish:y-*"),
        ({"o": {"t": "z"}}, "watch:{/o/t}-*", "watch:z-*"),
        ({"https://example.com/t": "z"}, "watch:{https://example.com/t}-*", "watch:z-*"),
        # What is missing or has what no run id has takes that one right away, not the others.
        ({}, "watch:{team}-* metrics", "metrics"),
        ({"team": ""}, "watch:{team}*", ""),
        ({"team": "*"}, "watch:{team}", ""),
        ({"team": "a*"}, "watch:{team}", ""),
        ({"team": "@own"}, "watch:{team}", ""),
        ({"team": "a b"}, "watch:{team}-*", ""),
        ({"team": "a,admin"}, "watch:{team}-*", ""),
        ({"team": "{sub}", "sub": "s"}, "watch:{team}-*", ""),
        ({"team": "a\n"}, "watch:{team}-*", ""),
        ({"team": "é"}, "watch:{team}-*", ""),
        ({"team": True}, "watch:{team}-*", ""),
        ({"team": 1.5}, "watch:{team}-*", ""),
        ({"team": None}, "watch:{team}-*", ""),
        ({"team": ["a"]}, "watch:{team}-*", ""),
        ({"team": "x" * 128}, "watch:{team}-*", ""),
    ],
)
def test_templates(claims: dict[str, Any], templates: str, expected: str) -> None:
    assert rights(claims, templates) == expected


@pytest.mark.parametrize(
    "templates",
    [
        *("watch", "a:*", "watch:{team", "watch:team}", "watch:{}", "watch:{team}:x", "see:{team}"),
        *("{role}", "{action}:x", "{a}:{b}", "watch:{a~}/*", "watch:{/a~2}"),
    ],
)
def test_templates_that_are_none(templates: str) -> None:
    with pytest.raises(ValueError):
        rights({}, templates)


@effort(100)
@given(st.dictionaries(st.just("team"), _JSON))
def test_no_claim_widens_a_template(claims: dict[str, Any]) -> None:
    given = ClaimedRights("watch:{team}-*", None, None, {}).of(claims)
    for action in Action:
        assert given.of(action, RunId("other-run")) is Verdict.NO
        # One that is yet to be named must be one of the team's: never any.
        assert given.of(action, None) in (Verdict.NO, Verdict.IF_NAMED)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (["watch:*", "admin"], "watch:* admin"),
        ("openid watch:team-* profile", "watch:team-*"),
        (["watch:a b", "watch:*x", "watch:", 1, None, ["watch:*"], "publish:p"], "publish:p"),
        ({"watch:*": 1}, ""),
        (7, ""),
        (None, ""),
    ],
)
def test_rights_of_its_own(value: Any, expected: str) -> None:
    assert rights({"scope": value}, rights_claim="scope") == expected
    assert rights({"a": {"scope": value}}, rights_claim="/a/scope") == expected


def test_roles() -> None:
    roles = {"viewer": Rights.parse("watch:*"), "Run Operator": Rights.parse("watch:* admin")}

    def of(value: Any) -> str:
        return rights({"r": value}, roles_claim="r", roles=roles)

    assert of(["viewer"]) == "watch:*"
    assert of(["viewer", "Run Operator", "unknown", 3]) == "watch:* admin"
    assert of("viewer other") == "watch:*"
    assert of("Viewer") == ""
    assert of({"viewer": True}) == ""


def test_all_three_together() -> None:
    given = rights(
        {"team": "t", "scope": "publish:p", "groups": ["ops"]},
        "watch:{team}-*",
        rights_claim="scope",
        roles_claim="groups",
        roles={"ops": Rights.parse("metrics")},
    )
    assert given == "watch:t-* publish:p metrics"
