"""Tokens on a real edge: what is let in, the list of known attacks, and an identity provider whose
keys change, or that can't be reached."""

import asyncio
import base64
import json
import re
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from typing import Any, Final

import httpx
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import get_default_algorithms
from structlog.testing import capture_logs

from broker.app import make_edge
from broker.edge.auth.token_keys import Jwks
from broker.settings import SettingsError, load_settings
from broker.wire.problem import NotAuthenticated, Unavailable
from tests.support.edges import QUICK, Edge
from tests.support.identity_provider import (
    AUDIENCE,
    ISSUER,
    IdentityProvider,
    SigningKey,
    compact,
    new_key,
)
from tests.support.servers import available_kinds, free_port
from tests.support.viewer import watch
from tests.support.waiting import eventually

_HEARTBEAT: Final[float] = QUICK["heartbeat_seconds"]
_ALGORITHMS: Final = ("RS256", "ES256", "EdDSA")


@pytest.fixture(scope="session")
def redis_kind() -> str:
    """Tokens do not depend on the server."""
    return available_kinds()[0]


@pytest.fixture(scope="module")
def provider() -> Iterator[IdentityProvider]:
    with IdentityProvider([new_key(name) for name in _ALGORITHMS]) as provider:
        yield provider


@pytest.fixture(scope="module")
def edge(redis_url: str, provider: IdentityProvider) -> Iterator[Edge]:
    edge = Edge(redis_url, **settings(provider))
    yield edge
    assert not edge.traces()
    assert "eyJ" not in edge.raw_log()
    edge.close()


def settings(provider: IdentityProvider, **more: Any) -> dict[str, Any]:
    return {
        "jwt_algorithms": ",".join((*_ALGORITHMS, "PS256")),
        "jwt_jwks_url": provider.url,
        "jwt_issuer": ISSUER,
        "jwt_audience": AUDIENCE,
        "jwt_rights": "watch:{team}-*",
        "jwt_rights_claim": "/runcast/rights",
        "jwt_roles_claim": "groups",
        "jwt_roles": "viewer = watch:*; operator = watch:* admin",
        "session_cookie": "session",
        **more,
    }


class Asking:
    """A client of one edge; what it has sent and got is the test's to look at."""

    def __init__(self, edge: Edge, run_id: str, http: httpx.AsyncClient) -> None:
        self._url = edge.events_url(run_id)
        self._http = http

    async def get(
        self, *tokens: str, accept: str = "application/json", **headers: str
    ) -> httpx.Response:
        """What is answered to who shows these tokens."""
        shown = [("authorization", f"Bearer {token}") for token in tokens]
        return await self._http.get(
            self._url, headers=[("accept", accept), *shown, *headers.items()]
        )

    async def status(self, *tokens: str, **headers: str) -> int:
        """Only its status."""
        return (await self.get(*tokens, **headers)).status_code

    async def is_refused(self, *tokens: str, **headers: str) -> None:
        """Asserts that it is refused as it must be, to programs and to an EventSource."""
        for accept in ("application/json", "text/event-stream"):
            refusal = await self.get(*tokens, accept=accept, **headers)
            assert refusal.status_code == 401, refusal.text
            assert refusal.headers["content-type"] == "application/problem+json"
            assert refusal.headers["www-authenticate"] == 'Bearer realm="runcast"'
            assert refusal.json()["type"] == "urn:runcast:problem:not-authenticated"
            for token in tokens:
                assert not any(len(part) > 8 and part in refusal.text for part in token.split("."))


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(timeout=20) as http:
        yield http


@pytest.fixture
def ask(edge: Edge, run_id: str, http: httpx.AsyncClient) -> Asking:
    """A client of the module's edge."""
    return Asking(edge, run_id, http)


# ---- who is let in


@pytest.mark.parametrize("algorithm", _ALGORITHMS)
async def test_a_good_token(
    ask: Asking, provider: IdentityProvider, run_id: str, algorithm: str
) -> None:
    (key,) = [key for key in provider.keys if key.algorithm == algorithm]
    cases: list[tuple[dict[str, Any], int]] = [
        ({"groups": ["viewer"]}, 200),
        ({"groups": "other operator"}, 200),
        ({"team": run_id.partition("-")[0]}, 200),
        ({"runcast": {"rights": ["openid", f"watch:{run_id}"]}}, 200),
        ({"aud": ["others", AUDIENCE], "runcast": {"rights": "watch:*"}}, 200),
        # Who it is is known, and that it is not theirs.
        ({}, 404),
        ({"team": "*"}, 404),
        ({"team": ""}, 404),
        ({"groups": ["unknown"]}, 404),
        ({"groups": ["viewer"], "iss": "https://idp.example.com"}, 401),
    ]
    for given, status in cases:
        assert await ask.status(provider.token(key, **given)) == status, given


async def test_a_session_cookie(ask: Asking, provider: IdentityProvider) -> None:
    token = provider.token(groups=["viewer"])
    assert await ask.status(cookie=f"theme=dark; session={token}; other={token}x") == 200
    await ask.is_refused(cookie=f"session={token}x")
    await ask.is_refused(cookie=f"Session={token}")
    # What is shown on purpose decides, and is not made good by what a browser sends by itself.
    await ask.is_refused(f"{token}x", cookie=f"session={token}")


async def test_a_stream_ends_with_its_token(
    edge: Edge, provider: IdentityProvider, run_id: str
) -> None:
    ends = int(time.time()) + 2
    token = provider.token(groups=["viewer"], exp=ends)
    bearer = {"authorization": f"Bearer {token}"}
    async with watch(edge.events_url(run_id), headers=bearer) as viewer:
        await viewer.until_caught_up()
        await viewer.until_ended(within=5)
    assert viewer.whole
    assert ends - 0.1 <= time.time() < ends + _HEARTBEAT + 1


# ---- attacks


def _encoded(value: Any) -> str:
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _attacks(provider: IdentityProvider) -> Iterator[tuple[str, str]]:
    """The name of each attack, and its token."""
    keys = {key.algorithm: key for key in provider.keys}
    rsa, curve = keys["RS256"], keys["ES256"]
    claims = provider.claims(groups=["operator"])
    good = provider.token(rsa, groups=["operator"])
    header, payload, signature = good.split(".")

    for name in ("none", "None", "NONE", "nOnE", "", "none "):
        unsigned = f"{_encoded({'alg': name, 'kid': rsa.kid})}.{payload}."
        yield f"alg {name!r}", unsigned
        yield f"alg {name!r} with a signature", unsigned + signature
    yield "no alg", compact({"kid": rsa.kid}, claims, rsa)
    values: list[Any] = [None, 0, True, ["RS256"], {"RS256": 1}]
    for value in values:
        yield f"alg {value!r}", compact({"alg": value, "kid": rsa.kid}, claims, rsa)

    for encoding in (Encoding.PEM, Encoding.DER):
        public = rsa.public.public_bytes(encoding, PublicFormat.SubjectPublicKeyInfo)
        for secret in (public, public.strip()):
            confused = SigningKey(rsa.kid, "HS256", secret)
            yield f"HS256 with the public key, {encoding}", provider.token(confused)
    jwk = json.dumps(rsa.jwk()).encode()
    yield "HS256 with the JWK", provider.token(SigningKey(rsa.kid, "HS256", jwk))
    yield "HS256 with nothing", provider.token(SigningKey(rsa.kid, "HS256", b"\0"))

    attacker = new_key("RS256", "attacker")
    for kid in [
        *("unknown", "", "../../../../dev/null", "/dev/null", "/proc/self/environ", "file:///etc"),
        *("' UNION SELECT 'x' --", "x\0y", "|id", "$(id)", "%00", "x" * 4000, rsa.kid + " "),
        *(0, True, 1.5, [rsa.kid], {"kid": rsa.kid}, [], {}),
    ]:
        yield f"kid {str(kid)[:30]!r}", provider.token(rsa, {"kid": kid}, groups=["operator"])
    yield "no kid", provider.token(rsa, {"kid": None}, groups=["operator"])
    yield "another key by its kid", provider.token(rsa, {"kid": curve.kid}, groups=["operator"])
    yield "an attacker's key with a known kid", provider.token(replace(attacker, kid=rsa.kid))

    for value in (["exp"], ["b64"], [], "b64", None, ["http://example.com/x"], [1]):
        yield f"crit {value!r}", compact({**_header(rsa), "crit": value}, claims, rsa)
    unencoded = {**_header(rsa), "crit": ["b64"], "b64": False}
    yield "b64", compact(unencoded, claims, rsa)
    yield "b64 without crit", compact({**_header(rsa), "b64": False}, claims, rsa)
    for typ in ("dpop+jwt", "logout+jwt", "runcast-ticket+jwt", "JOSE", 1, ["JWT"]):
        yield f"typ {typ!r}", compact({**_header(rsa), "typ": typ}, claims, rsa)

    all_changes: dict[str, dict[str, Any]] = {
        "expired": {"exp": int(time.time()) - 11},
        "not yet valid": {"nbf": int(time.time()) + 60},
        "made in the future": {"iat": int(time.time()) + 60},
        "no exp": {"exp": None},
        "endless": {"exp": float("inf")},
        "no number": {"exp": float("nan")},
        "exp as a text": {"exp": str(int(time.time()) + 60)},
        "exp in milliseconds": {"exp": int(time.time() + 60) * 1000},
        "a large exp": {"exp": 10**300},
        "another audience": {"aud": "others"},
        "part of the audience": {"aud": AUDIENCE[:-1]},
        "no audience": {"aud": None},
        "an audience that is none": {"aud": {AUDIENCE: 1}},
        "another issuer": {"iss": "https://attacker.example.com/"},
        "a list of issuers": {"iss": [ISSUER]},
        "no issuer": {"iss": None},
        "no subject": {"sub": None},
        "a number as subject": {"sub": 0},
        "an empty subject": {"sub": ""},
        "a jti that is none": {"jti": {"a": 1}},
    }
    for name, changes in all_changes.items():
        yield name, provider.token(rsa, groups=["operator"], **changes)

    url = f"{provider.url}?attacker"
    for member, value in {
        "jku": url,
        "x5u": url,
        "jwk": attacker.jwk(),
        "x5c": [base64.b64encode(attacker.public.public_bytes(*_DER)).decode()],
    }.items():
        yield f"{member}", provider.token(attacker, {member: value})
        yield f"{member}, known kid", provider.token(attacker, {member: value, "kid": rsa.kid})

    for zeros in (64, 65, 63, 1):
        message = provider.token(curve, groups=["operator"]).rpartition(".")[0]
        yield f"{zeros} zeros for ES256", f"{message}.{_encoded(bytes(zeros))}"
    ps256 = {"alg": "PS256", "kid": rsa.kid}
    yield "PS256 with a key for RS256", compact(ps256, claims, rsa, "PS256")
    yield "RS256 called PS256", compact(ps256, claims, rsa, "RS256")
    yield "RS512", compact({"alg": "RS512", "kid": rsa.kid}, claims, rsa, "RS512")
    yield "ES256 called EdDSA", compact({"alg": "EdDSA", "kid": curve.kid}, claims, curve)

    other = _encoded({**claims, "sub": "another"})
    yield "another payload", f"{header}.{other}.{signature}"
    yield "another header", f"{_encoded({**_header(rsa), 'x': 1})}.{payload}.{signature}"
    yield "no signature", f"{header}.{payload}."
    yield "no signature and no dot", f"{header}.{payload}"
    yield "no payload", f"{header}..{signature}"
    yield "a signature cut short", good[:-4]
    yield "a longer signature", good + "AAAA"
    yield "padding", good + "=="
    yield "padding of all", ".".join(part + "=" * (-len(part) % 4 or 4) for part in good.split("."))
    yield "a space", good.replace(".", " .", 1)
    yield "a tab", good.replace(".", ".\t", 1)
    yield "four parts", f"{good}.{signature}"
    yield "five parts", f"{good}.{payload}.{signature}"
    yield (
        "JSON serialisation",
        json.dumps({"protected": header, "payload": payload, "signature": signature}),
    )
    deep = b'{"a":' * 1000 + b"1" + b"}" * 1000
    yield "a deep header", compact(deep, claims, rsa)
    yield "a deep payload", compact(_header(rsa), deep, rsa)
    yield (
        "two members of one name",
        compact(b'{"alg":"RS256","kid":"%b","alg":"none"}' % rsa.kid.encode(), claims, rsa),
    )
    yield "a list as payload", compact(_header(rsa), [claims], rsa)
    yield "a payload that is no UTF-8", compact(_header(rsa), b'{"sub":"\xff"}', rsa)
    yield "8 KiB", provider.token(rsa, groups=["operator"], more="x" * 6500)
    yield "16 KiB", provider.token(rsa, groups=["operator"], more="x" * 11_000)
    yield "dots", "." * 8192
    yield "an API key", "rck_c29tZXRoaW5nIHRoYXQgaXMgbm90IGEgdG9rZW4"


_DER: Final = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _header(key: SigningKey) -> dict[str, Any]:
    return {"alg": key.algorithm, "kid": key.kid, "typ": "JWT"}


async def test_each_known_attack_is_refused(
    edge: Edge, ask: Asking, provider: IdentityProvider
) -> None:
    good = provider.token(groups=["operator"])
    assert await ask.status(good) == 200
    began, fetches = time.monotonic(), provider.fetches
    attacks = list(_attacks(provider))
    assert len(attacks) > 100
    for name, token in attacks:
        try:
            await ask.is_refused(token)
        except AssertionError as error:
            raise AssertionError(f"attack: {name}: {error}") from None
    await ask.is_refused(good, good)
    await ask.is_refused(authorization=f"Bearer {good}, Bearer {good}")
    await ask.is_refused(authorization=f"Basic {good}")
    # Unknown kids had the keys fetched anew, but not each of them.
    assert provider.fetches - fetches <= 1 + (time.monotonic() - began) / 10
    assert await ask.status(good) == 200
    assert not edge.traces()
    log = edge.raw_log()
    assert not [name for name, token in attacks if len(token) > 30 and token[:30] in log]
    assert "eyJ" not in log


# ---- the provider's keys, as they change


async def test_a_new_key_is_taken_and_an_old_one_is_not(
    redis_url: str, run_id: str, http: httpx.AsyncClient
) -> None:
    old, new = new_key("ES256"), new_key("ES256")
    with IdentityProvider([old]) as provider:
        edge = Edge(redis_url, **settings(provider, jwt_jwks_seconds=0.5))
        try:
            ask = Asking(edge, run_id, http)
            first = provider.token(old, groups=["viewer"])
            second = provider.token(new, groups=["viewer"])
            assert await ask.status(first) == 200
            assert await ask.status(second) == 401
            provider.keys = [old, new]
            await eventually(lambda: _answers(ask, second, 200))
            assert await ask.status(first) == 200
            provider.keys = [new]
            await eventually(lambda: _answers(ask, first, 401))
            assert await ask.status(second) == 200
            # What it has had is good for some time.
            provider.down()
            await eventually(lambda: "token keys can't be fetched" in edge.raw_log())
            assert await ask.status(second) == 200
            assert not edge.traces()
        finally:
            edge.close()


async def _answers(ask: Asking, token: str, status: int) -> bool:
    return await ask.status(token) == status


async def test_a_provider_that_is_down_at_the_start(
    redis_url: str, run_id: str, http: httpx.AsyncClient
) -> None:
    provider = IdentityProvider([new_key("ES256")])
    provider.port = free_port()
    token = provider.token(groups=["viewer"])
    edge = Edge(redis_url, **settings(provider))
    try:
        ask = Asking(edge, run_id, http)
        for_programs = await ask.get(token)
        assert for_programs.status_code == 503
        assert int(for_programs.headers["retry-after"]) >= 1
        assert for_programs.headers["content-type"] == "application/problem+json"
        for_browsers = await ask.get(token, accept="text/event-stream")
        assert for_browsers.status_code == 200
        assert for_browsers.headers["content-type"].startswith("text/event-stream")
        assert for_browsers.text.startswith("retry: ")
        assert "event:" not in for_browsers.text
        # It is known without any key that these are nothing.
        await ask.is_refused("not-a-token")
        await ask.is_refused()
        with provider:
            await eventually(lambda: _answers(ask, token, 200))
        assert not edge.traces()
        assert provider.url not in edge.raw_log()
    finally:
        edge.close()


@pytest.mark.parametrize(
    ("chosen", "why"),
    [
        ({"jwt_jwks_url": "http://idp.example.com/jwks"}, "jwt_jwks_url: use https://"),
        ({"jwt_key_file": "missing.pem"}, "jwt_key_file: missing.pem: No such file"),
        ({"jwt_key_file": "k", "jwt_rights": "{role}"}, "jwt_rights: '{role}' is not a right"),
        ({"jwt_key_file": "k", "jwt_roles_claim": "/~"}, "jwt_roles_claim: '/~' is not a JSON"),
        ({"jwt_key_file": "k", "jwt_subject_claim": "/~"}, "jwt_subject_claim: '/~' is not a"),
    ],
)
def test_settings_with_which_an_edge_does_not_start(chosen: dict[str, str], why: str) -> None:
    given = {"jwt_algorithms": "ES256", "jwt_issuer": ISSUER, "jwt_audience": AUDIENCE}
    with pytest.raises(SettingsError, match=re.escape(why)):
        make_edge(load_settings({**given, **chosen}), "redis://127.0.0.1:1/0")


# ---- the provider's keys, without an edge

_AGAIN: Final = 0.5


@pytest.fixture
def one_key() -> Iterator[IdentityProvider]:
    with IdentityProvider([new_key("ES256", "k1")]) as provider:
        yield provider


@pytest.fixture
async def jwks(one_key: IdentityProvider) -> AsyncIterator[Jwks]:
    async with Jwks(
        one_key.url, ["ES256", "RS256"], keep_seconds=300, again_seconds=_AGAIN
    ) as jwks:
        yield jwks


async def found(jwks: Jwks, key_id: str | None, algorithm: str = "ES256") -> bool:
    try:
        return await jwks.find(key_id, algorithm) is not None
    except NotAuthenticated:
        return False


async def test_a_key_is_found_by_kid_and_algorithm(jwks: Jwks) -> None:
    assert await found(jwks, "k1")
    assert await jwks.find("k1", "ES256") is await jwks.find("k1", "ES256")
    assert not await found(jwks, "k1", "RS256")
    assert not await found(jwks, "k2")
    assert not await found(jwks, "")
    assert not await found(jwks, None)


async def test_a_flood_of_unknown_keys_is_no_flood_of_fetches(
    jwks: Jwks, one_key: IdentityProvider
) -> None:
    assert await found(jwks, "k1")
    began = time.monotonic()
    asked = 0
    while one_key.fetches < 3:
        unknown = (found(jwks, f"unknown-{asked + number}") for number in range(200))
        assert not any(await asyncio.gather(*unknown))
        asked += 200
        assert one_key.fetches <= 2 + (time.monotonic() - began) / _AGAIN
    assert time.monotonic() - began > _AGAIN
    one_key.keys.append(new_key("ES256", "k2"))
    await eventually(lambda: found(jwks, "k2"))


async def test_who_comes_first_waits_for_the_first_fetch(one_key: IdentityProvider) -> None:
    one_key.hold_seconds = 0.3
    async with Jwks(one_key.url, ["ES256"], keep_seconds=300) as jwks:
        assert await asyncio.gather(*(found(jwks, "k1") for _ in range(20))) == [True] * 20
    assert one_key.fetches == 1


async def test_leaving_while_a_fetch_is_under_way(one_key: IdentityProvider) -> None:
    one_key.hold_seconds = 20
    async with Jwks(one_key.url, ["ES256"], keep_seconds=300):
        await eventually(lambda: one_key.fetches == 1)
    one_key.release()


_GOOD: Final = new_key("ES256", "good").jwk()


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"status": 404}, "status 404"),
        ({"status": 302, "headers": {"location": "/elsewhere"}}, "status 302"),
        ({"body": b"<html>"}, "is not JSON"),
        ({"body": b"[]"}, "is not a JWKS: it has no list of keys"),
        ({"body": b'{"keys": {}}'}, "is not a JWKS: it has no list of keys"),
        ({"body": b" " * 300_000}, "has more than 262144 bytes"),
        ({"body": json.dumps({"keys": [_GOOD] * 101}).encode()}, "has more than 100 keys"),
        (
            {"headers": {"content-encoding": "gzip"}},
            "is compressed, although it was asked for as it is",
        ),
    ],
)
async def test_what_is_no_jwks_leaves_the_keys_of_before(
    jwks: Jwks, one_key: IdentityProvider, changes: dict[str, Any], why: str
) -> None:
    assert await found(jwks, "k1")
    for name, value in changes.items():
        setattr(one_key, name, value)
    with capture_logs() as logs:
        await eventually(lambda: _unavailable(jwks), within=5)
    assert [line["why"] for line in logs if line["log_level"] == "error"] == [why]
    assert await found(jwks, "k1")
    one_key.body, one_key.status, one_key.headers = None, 200, {}
    await eventually(lambda: _is_unknown(jwks), within=5)


async def _unavailable(jwks: Jwks) -> bool:
    try:
        return await found(jwks, "unknown")
    except Unavailable:
        return True


async def _is_unknown(jwks: Jwks) -> bool:
    try:
        return not await found(jwks, "unknown")
    except Unavailable:
        return False


@pytest.mark.parametrize("slow", ["hold_seconds", "drip_seconds"])
async def test_a_provider_that_answers_too_slowly(
    one_key: IdentityProvider, monkeypatch: pytest.MonkeyPatch, slow: str
) -> None:
    monkeypatch.setattr("broker.edge.auth.token_keys._FETCH_SECONDS", 0.3)
    setattr(one_key, slow, {"hold_seconds": 20, "drip_seconds": 0.05}[slow])
    async with Jwks(one_key.url, ["ES256"], keep_seconds=300, again_seconds=0.2) as jwks:
        with pytest.raises(Unavailable):
            await jwks.find("k1", "ES256")
        setattr(one_key, slow, 0)
        await eventually(lambda: _is_unknown(jwks), within=5)
        assert await found(jwks, "k1")
    one_key.release()


async def test_keys_of_an_hour_ago(
    one_key: IdentityProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("broker.edge.auth.token_keys._OUTAGE_SECONDS", 0.5)
    async with Jwks(one_key.url, ["ES256"], keep_seconds=0.2, again_seconds=0.1) as jwks:
        assert await found(jwks, "k1")
        one_key.status = 500
        await eventually(lambda: _is_gone(jwks, "k1"), within=5)
        one_key.status = 200
        await eventually(lambda: _is_unknown(jwks), within=5)
        assert await found(jwks, "k1")


async def _is_gone(jwks: Jwks, key_id: str) -> bool:
    try:
        return not await found(jwks, key_id)
    except Unavailable:
        return True


async def test_which_keys_of_a_jwks_are_used(jwks: Jwks, one_key: IdentityProvider) -> None:
    """Those that are meant for signatures, of an algorithm that is taken, and fit for it."""
    rsa, ec = new_key("RS256"), new_key("ES256")
    weak = new_key("RS256", bits=1024)
    secret = new_key("HS256")
    entries: dict[str, Any] = {
        "plain": {"kty": "EC", **_without(ec.jwk(), "alg", "use")},
        "rsa": _without(rsa.jwk(), "alg"),
        "x5c": ec.jwk(x5c=["AAAA"], x5t="AAAA"),
        "twice": ec.jwk(),
        "encryption": ec.jwk(use="enc"),
        "operations": ec.jwk(key_ops=["sign"]),
        "operations 2": ec.jwk(key_ops="verify"),
        "algorithm": ec.jwk(alg="ES384"),
        "algorithm 2": ec.jwk(alg=["ES256"]),
        "kind": ec.jwk(kty="RSA"),
        "kind 2": ec.jwk(kty=["EC"]),
        "curve": ec.jwk(crv="P-384"),
        "curve 2": _without(new_key("ES384").jwk(), "alg"),
        "point": ec.jwk(x=ec.jwk()["y"]),
        "point 2": ec.jwk(x=1),
        "weak": weak.jwk(),
        "exponent": rsa.jwk(e="AQ"),
        "modulus": rsa.jwk(n=3),
        "modulus 2": rsa.jwk(n=""),
        "large": rsa.jwk(n="_" * 4000),
        "secret": secret.jwk(alg="ES256"),
        "secret 2": _without(secret.jwk(), "alg"),
        "private": {**ec.jwk(), **get_default_algorithms()["ES256"].to_jwk(ec.private, True)},
    }
    keys = [{**entry, "kid": name} for name, entry in entries.items()]
    keys += [{**new_key("ES256").jwk(), "kid": "twice"}, ec.jwk(kid=1), _without(ec.jwk(), "kid")]
    one_key.body = json.dumps({"keys": [*keys, 3, None, [], "x"]}).encode()
    with capture_logs() as logs:
        await eventually(lambda: found(jwks, "plain"), within=5)
    usable = [name for name in entries if await found(jwks, name)]
    usable += [name for name in entries if await found(jwks, name, "RS256")]
    assert usable == ["plain", "x5c", "twice", "rsa"]
    assert (await jwks.find("twice", "ES256")).key == ec.public
    assert not await found(jwks, "k1")
    # Said once, and not what they were.
    said = [line["number"] for line in logs if line["event"] == "a token key can't be used"]
    assert len(said) == len(set(said)) == 20
    assert str(secret.jwk()["k"]) not in str(logs)


def _without(members: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in members.items() if name not in names}


async def test_an_empty_jwks_is_believed(jwks: Jwks, one_key: IdentityProvider) -> None:
    assert await found(jwks, "k1")
    one_key.keys = []
    await eventually(lambda: _asked_for_unknown(jwks, one_key), within=3)
    assert not await found(jwks, "k1")


async def _asked_for_unknown(jwks: Jwks, provider: IdentityProvider) -> bool:
    await found(jwks, "unknown")
    return provider.fetches > 1
