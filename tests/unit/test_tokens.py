"""Tokens: their form, their signature, what is remembered of them, and the key that a file has."""

import base64
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import jwt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from hypothesis import given
from hypothesis import strategies as st
from trustme import CA

from broker.edge.auth.identity import CredentialKind, Identity
from broker.edge.auth.presented import Presented
from broker.edge.auth.rights import Action
from broker.edge.auth.token_keys import KeyFile, KeyFileUnusable, TokenKey
from broker.edge.auth.tokens import TokenRules, Tokens
from broker.wire.problem import NotAuthenticated, Unavailable
from tests.fuzz.effort import effort
from tests.support.identity_provider import (
    AUDIENCE,
    ISSUER,
    IdentityProvider,
    SigningKey,
    compact,
    new_key,
)

_PROVIDER: Final = IdentityProvider()
_ALGORITHMS: Final = ["HS256", "HS512", "RS256", "PS256", "ES256", "ES384", "ES512", "EdDSA"]
_KEYS: Final = {name: new_key(name) for name in _ALGORITHMS}
_RULES: Final = TokenRules(
    algorithms=["HS256"],
    issuer=ISSUER,
    audience=AUDIENCE,
    leeway_seconds=10,
    subject_claim="sub",
    rights="watch:*",
    rights_claim=None,
    roles_claim=None,
    roles={},
)


class Keys:
    """Those that a test has put there."""

    def __init__(self, *keys: SigningKey) -> None:
        self.keys = {(key.kid, key.algorithm): ready(key) for key in keys}
        self.asked = 0

    async def find(self, key_id: str | None, algorithm: str) -> TokenKey:
        self.asked += 1
        if not self.keys:
            raise Unavailable("None.", 1)
        key = self.keys.get((key_id or "", algorithm))
        if key is None:
            raise NotAuthenticated("None.")
        return key


def ready(key: SigningKey) -> TokenKey:
    return TokenKey(jwt.algorithms.get_default_algorithms()[key.algorithm], key.public)


def tokens_for(*keys: SigningKey, **rules: Any) -> Tokens:
    algorithms = [key.algorithm for key in keys]
    chosen = replace(_RULES, **{"algorithms": algorithms, **rules})
    return Tokens(chosen, Keys(*keys))


async def who(tokens: Tokens, text: str, kind: CredentialKind = CredentialKind.BEARER) -> Identity:
    return await tokens.verify(Presented(kind, text), Action.WATCH, None)


async def refused(tokens: Tokens, text: str) -> str:
    """Why."""
    with pytest.raises(NotAuthenticated) as caught:
        await who(tokens, text)
    for part in text.split("."):
        assert len(part) < 8 or part not in f"{caught.value.detail}{caught.value!r}"
    return caught.value.detail


# ---- what is taken


@pytest.mark.parametrize("algorithm", _ALGORITHMS)
async def test_each_algorithm(algorithm: str) -> None:
    key = _KEYS[algorithm]
    tokens = tokens_for(key)
    good = _PROVIDER.token(key, jti="t-1", iat=1, exp=4_000_000_000)
    identity = await who(tokens, good)
    assert identity == Identity(
        "user-1",
        identity.rights,
        CredentialKind.BEARER,
        until=4_000_000_000,
        issued_at=1,
        marks=frozenset({"subject:user-1", "token:t-1"}),
    )
    assert str(identity.rights) == "watch:*"
    stranger = replace(new_key(algorithm), kid=key.kid)
    assert "signature" in await refused(tokens, _PROVIDER.token(stranger))


@pytest.mark.parametrize("typ", ["JWT", "jwt", "at+jwt", "application/at+JWT", None])
async def test_types_that_are_taken(typ: str | None) -> None:
    await who(tokens_for(_KEYS["HS256"]), _PROVIDER.token(_KEYS["HS256"], {"typ": typ}))


async def test_a_session_is_a_session() -> None:
    tokens = tokens_for(_KEYS["HS256"])
    text = _PROVIDER.token(_KEYS["HS256"])
    for kind in (CredentialKind.BEARER, CredentialKind.SESSION, CredentialKind.BEARER):
        assert (await who(tokens, text, kind)).kind is kind


# ---- what is refused


_NO_TEXTS: Final[list[Any]] = [1, True, 1.5, ["HS256"], {}]


@pytest.mark.parametrize(
    "header",
    [
        *(
            {"alg": name}
            for name in ("none", "None", "NONE", "nOnE", "", "HS512", "HS256 ", "hs256")
        ),
        *({"alg": name} for name in ("RS256", "ES256K", "EdDSA", None)),
        *({"alg": other} for other in _NO_TEXTS),
        *({"kid": name} for name in ("../../dev/null", "' OR 1=1 --", "x" * 4000)),
        *({"kid": other} for other in _NO_TEXTS),
        *({"typ": name} for name in ("dpop+jwt", "logout+jwt", "secevent+jwt", "JWE", "")),
        *({"typ": other} for other in _NO_TEXTS),
        {"crit": ["exp"]},
        {"crit": []},
        {"crit": ["b64"], "b64": False},
        {"crit": ["b64"], "b64": True},
        {"b64": False},
        {"b64": True},
    ],
)
async def test_headers_that_are_refused(header: dict[str, Any]) -> None:
    key = _KEYS["HS256"]
    await refused(tokens_for(key), _PROVIDER.token(key, header))


@pytest.mark.parametrize(
    "header",
    [
        *(b"", b"{", b"null", b"[]", b'"a"', b"1", b"\xff", b'{"alg":NaN}', b"[" * 5000),
        *(b'{"a":' * 1500 + b"1" + b"}" * 1500, b'{"a":"\xed\xa0\x80"}', b'{"a":"\\ud800"}'),
    ],
)
async def test_what_is_not_a_json_object(header: bytes) -> None:
    key = _KEYS["HS256"]
    good = {"alg": "HS256", "kid": key.kid}
    await refused(tokens_for(key), compact(header, _PROVIDER.claims(), key))
    await refused(tokens_for(key), compact(good, header, key))


@pytest.mark.parametrize(
    "change",
    [
        lambda token: "",
        lambda token: "..",
        lambda token: token[:-1],
        lambda token: token + "A",
        lambda token: token + ".",
        lambda token: token + "." + token,
        lambda token: token.rpartition(".")[0],
        lambda token: token.rpartition(".")[0] + ".",
        lambda token: token.rpartition(".")[0] + "." + "A" * 43,
        lambda token: token + "=",
        lambda token: token.replace(".", "=."),
        lambda token: token.replace(".", " ."),
        lambda token: token.replace(".", "\n."),
        lambda token: token + "\n",
        lambda token: token + "\0",
        lambda token: token[:10] + "+" + token[11:],
        lambda token: token[:10] + "/" + token[11:],
        lambda token: token[:10] + "é" + token[11:],
        lambda token: token.upper(),
        lambda token: "A" * 8192,
        lambda token: "." * 8192,
        lambda token: "A" * 8000 + ".A.A",
    ],
)
async def test_forms_that_are_refused(change: Any) -> None:
    key = _KEYS["HS256"]
    tokens = tokens_for(key)
    good = _PROVIDER.token(key)
    await who(tokens, good)
    await refused(tokens, change(good))


async def test_another_spelling_of_the_same_bytes() -> None:
    """The last digit has bits that mean nothing; a token has one text."""
    key = _KEYS["HS256"]
    good = _PROVIDER.token(key)
    digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    last = digits[digits.index(good[-1]) ^ 1]
    same = base64.urlsafe_b64decode(good.rpartition(".")[2] + "=")
    assert base64.urlsafe_b64decode(good.rpartition(".")[2][:-1] + last + "=") == same
    await refused(tokens_for(key), good[:-1] + last)


async def test_a_payload_that_was_changed() -> None:
    for name in ("HS256", "RS256", "ES256", "EdDSA"):
        key = _KEYS[name]
        header, _, signature = _PROVIDER.token(key).split(".")
        payload = compact({}, _PROVIDER.claims(sub="admin"), None).split(".")[1]
        assert "signature" in await refused(tokens_for(key), f"{header}.{payload}.{signature}")


@pytest.mark.parametrize(
    ("name", "signature"),
    [
        ("ES256", b"\0" * 64),
        ("ES256", b"\0" * 31 + b"\1" + b"\0" * 31 + b"\1"),
        ("ES256", b"\xff" * 64),
        ("ES256", b"0\x06\x02\x01\x00\x02\x01\x00"),
        ("ES256", b"\0"),
        ("EdDSA", b"\0" * 64),
        ("EdDSA", b"\1" + b"\0" * 63),
        ("EdDSA", b"\0" * 10),
        ("RS256", b"\0" * 256),
        ("RS256", b"\0" * 255 + b"\1"),
        ("RS256", b"\0"),
        ("HS256", b"\0" * 32),
        ("HS256", b"\0"),
    ],
)
async def test_signatures_of_nothing(name: str, signature: bytes) -> None:
    key = _KEYS[name]
    message = _PROVIDER.token(key).rpartition(".")[0]
    text = base64.urlsafe_b64encode(signature).rstrip(b"=").decode()
    assert "signature" in await refused(tokens_for(key), f"{message}.{text}")


@pytest.mark.parametrize(
    ("signed", "said"), [("RS256", "PS256"), ("PS256", "RS256"), ("HS512", "HS256")]
)
async def test_an_algorithm_that_is_not_the_one_that_signed(signed: str, said: str) -> None:
    key = _KEYS[signed]
    tokens = tokens_for(key, replace(key, algorithm=said))
    await who(tokens, _PROVIDER.token(key))
    header = {"alg": said, "kid": key.kid}
    assert "signature" in await refused(tokens, compact(header, _PROVIDER.claims(), key, signed))


@pytest.mark.parametrize("encoding", [Encoding.PEM, Encoding.DER])
@pytest.mark.parametrize("name", ["RS256", "ES256", "EdDSA"])
async def test_a_public_key_is_no_secret(name: str, encoding: Encoding) -> None:
    key = _KEYS[name]
    public = key.public.public_bytes(encoding, PublicFormat.SubjectPublicKeyInfo)
    header = {"alg": "HS256", "kid": key.kid}
    # PyJWT would not sign with such; an attacker's tool does.
    secret = SigningKey(key.kid, "HS256", public)
    text = compact(header, _PROVIDER.claims(), secret)
    assert "algorithm" in await refused(tokens_for(key), text)


async def test_claims_are_looked_at() -> None:
    key = _KEYS["ES256"]
    tokens = tokens_for(key)
    changes: list[tuple[dict[str, Any], str]] = [
        ({"exp": None}, "exp"),
        ({"exp": 1}, "expired"),
        ({"nbf": 4_000_000_000}, "nbf"),
        ({"iat": 4_000_000_000}, "iat"),
        ({"iss": "https://other.example.com/"}, "iss"),
        ({"aud": "others"}, "aud"),
        ({"aud": None}, "aud"),
        ({"sub": 1}, "sub"),
        ({"sub": None}, "whose"),
        ({"jti": 1}, "jti"),
    ]
    for claims, why in changes:
        assert why in await refused(tokens, _PROVIDER.token(key, **claims))


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3)
    ),
    max_leaves=5,
)
_HEADERS = st.dictionaries(
    st.sampled_from(["alg", "kid", "typ", "crit", "b64", "jku", "jwk", "x5c", "zip", "cty"]),
    _JSON | st.sampled_from(["HS256", "none", "JWT", _KEYS["HS256"].kid]),
)
_CLAIMS = st.dictionaries(
    st.sampled_from(["exp", "nbf", "iat", "iss", "aud", "sub", "jti", "team", "scope", "roles"]),
    _JSON | st.sampled_from([ISSUER, AUDIENCE, 4_000_000_000]),
)


@effort(100)
@given(_HEADERS, _CLAIMS, st.booleans())
async def test_what_is_taken_is_taken_by_pyjwt_too(
    header: dict[str, Any], claims: dict[str, Any], whole: bool
) -> None:
    """And whatever a signed token says, it is taken or refused, and nothing else."""
    key = _KEYS["HS256"]
    if whole:
        header = {"alg": "HS256", "kid": key.kid, "typ": "JWT"} | header
        claims = _PROVIDER.claims() | claims
    tokens = tokens_for(key, rights="watch:{team}-*", rights_claim="scope", roles_claim="/roles/0")
    text = compact(header, claims, key)
    try:
        await who(tokens, text)
    except NotAuthenticated:
        return
    jwt.decode(
        text,
        key.private,
        algorithms=["HS256"],
        audience=AUDIENCE,
        issuer=ISSUER,
        leeway=10,
        options={"require": ["exp", "sub"]},
    )


@effort(100)
@given(st.data())
async def test_a_token_with_a_change_anywhere_is_refused(data: st.DataObject) -> None:
    key = _KEYS["HS256"]
    good = _PROVIDER.token(key)
    place = data.draw(st.integers(0, len(good) - 1))
    put = data.draw(st.characters(codec="latin-1") | st.text("AZaz09-_.=", max_size=3))
    changed = good[:place] + put + good[place + 1 :]
    if changed != good:
        with pytest.raises(NotAuthenticated):
            await who(tokens_for(key), changed)


@effort(100)
@given(st.text(st.characters(codec="latin-1"), max_size=300))
async def test_any_text_is_refused(text: str) -> None:
    with pytest.raises(NotAuthenticated):
        await who(tokens_for(_KEYS["HS256"]), text)


# ---- what is remembered


async def test_what_was_proven_is_not_proven_again_while_its_key_is_the_same() -> None:
    key = _KEYS["HS256"]
    keys = Keys(key)
    tokens = Tokens(_RULES, keys)
    text = _PROVIDER.token(key)
    first = await who(tokens, text)
    assert await who(tokens, text) is first

    keys.keys = {place: replace(same) for place, same in keys.keys.items()}
    second = await who(tokens, text)
    assert second is not first
    assert second == replace(first, rights=second.rights)

    keys.keys = {(key.kid, "HS256"): ready(new_key("HS256"))}
    await refused(tokens, text)
    keys.keys = {("another", "HS256"): ready(key)}
    await refused(tokens, text)
    keys.keys = {}
    with pytest.raises(Unavailable):
        await who(tokens, text)


async def test_what_was_proven_ends() -> None:
    key = _KEYS["HS256"]
    now = [1_800_000_000.0]
    tokens = Tokens(_RULES, Keys(key), clock=lambda: now[0])
    text = _PROVIDER.token(key, iat=None, exp=now[0] + 60)
    assert (await who(tokens, text)).until == now[0] + 60
    now[0] += 60
    # Within the leeway there is a little more, for clocks that differ.
    assert (await who(tokens, text)).until == now[0] + 10
    now[0] += 10
    assert "expired" in await refused(tokens, text)


async def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("broker.edge.auth.tokens._REMEMBERED", 3)
    key = _KEYS["HS256"]
    tokens = tokens_for(key)
    texts = [_PROVIDER.token(key, sub=f"user-{number}") for number in range(5)]
    first = [await who(tokens, text) for text in texts]
    again = [await who(tokens, text) for text in reversed(texts)]
    assert [new is old for new, old in zip(again, reversed(first), strict=True)] == [
        *(True, True, True),
        *(False, False),
    ]


async def test_nothing_shows_a_token() -> None:
    key = _KEYS["HS256"]
    tokens = tokens_for(key)
    text = _PROVIDER.token(key)
    identity = await who(tokens, text)
    shown = f"{identity!r} {vars(tokens)!r} {vars(tokens)['_keys'].keys!r}"
    assert "user-1" in shown
    for secret in (*text.split("."), repr(key.private)):
        assert secret not in shown


# ---- the key that a file has


def pem(key: SigningKey) -> bytes:
    data: bytes = key.public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return data


def private_pem(key: SigningKey, form: PrivateFormat = PrivateFormat.PKCS8) -> bytes:
    data: bytes = key.private.private_bytes(Encoding.PEM, form, NoEncryption())
    return data


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "key"


@pytest.mark.parametrize("name", ["RS256", "ES256", "ES384", "EdDSA"])
async def test_a_public_key(file: Path, name: str) -> None:
    key = _KEYS[name]
    put(file, b"A comment, as openssl writes them.\n" + pem(key))
    tokens = Tokens(replace(_RULES, algorithms=[name]), KeyFile(file, [name]))
    for kid in (key.kid, "another", None):
        await who(tokens, _PROVIDER.token(key, {"kid": kid}))
    await refused(tokens, _PROVIDER.token(replace(new_key(name), kid=key.kid)))


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n"])
async def test_a_secret(file: Path, end: bytes) -> None:
    """The end of its line is not the secret's, though it may have others in it."""
    key = SigningKey("k", "HS256", b" 0123456789\nabcdefghijklmnopqrstuvwxyz\t")
    put(file, key.private + end)
    await who(Tokens(_RULES, KeyFile(file, ["HS256"])), _PROVIDER.token(key))


async def test_a_key_for_some_of_the_algorithms(file: Path) -> None:
    put(file, pem(_KEYS["RS256"]))
    keys = KeyFile(file, ["RS256", "PS512", "ES256"])
    assert (await keys.find(None, "RS256")).key == _KEYS["RS256"].public
    assert (await keys.find("any", "PS512")).key == _KEYS["RS256"].public
    for other in ("ES256", "HS256", "none"):
        with pytest.raises(NotAuthenticated):
            await keys.find(None, other)


def certificate() -> bytes:
    data: bytes = CA().cert_pem.bytes()
    assert x509.load_pem_x509_certificate(data)
    return data


_DER: Final = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
_SSH: Final = (Encoding.OpenSSH, PublicFormat.OpenSSH)
_RSA: Final = _KEYS["RS256"]


@pytest.mark.parametrize(
    ("content", "algorithms", "why"),
    [
        pytest.param(content, algorithms.split(), why, id=name)
        for name, content, algorithms, why in [
            ("PEM for HS", pem(_RSA), "HS256", "is a PEM file, and HS"),
            ("certificate for HS", certificate(), "HS256", "is a PEM file, and HS"),
            ("SSH for HS", _RSA.public.public_bytes(*_SSH), "HS256", "is no key for HS256"),
            ("DER for HS", _RSA.public.public_bytes(*_DER), "HS256", "is no key for HS256"),
            ("JWK for HS", json.dumps(_RSA.jwk()).encode(), "HS256", "is no key for HS256"),
            ("31 bytes", b"0123456789012345678901234567890\n", "HS256", "is too short"),
            ("32 for HS384", b"01234567890123456789012345678901", "HS256 HS384", "is too short"),
            ("empty", b"", "HS256", "is no key for HS256"),
            ("private", private_pem(_RSA), "RS256", "has a private key"),
            (
                "private RSA",
                private_pem(_RSA, PrivateFormat.TraditionalOpenSSL),
                *("RS256", "has a private key"),
            ),
            (
                "private OpenSSH",
                private_pem(_KEYS["EdDSA"], PrivateFormat.OpenSSH),
                *("EdDSA", "has a private key"),
            ),
            (
                "both",
                private_pem(_KEYS["ES256"]) + pem(_KEYS["ES256"]),
                *("ES256", "has a private key"),
            ),
            ("another kind", pem(_RSA), "ES256 EdDSA", "is no key for ES256, EdDSA"),
            ("another curve", pem(_KEYS["ES384"]), "ES256", "is no key for ES256"),
            ("1024 bits", pem(new_key("RS256", bits=1024)), "RS256", "is too short"),
            ("certificate", certificate(), "ES256", "is not a public key in PEM"),
            (
                "no PEM",
                b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
                *("RS256", "is not a public key in PEM"),
            ),
            ("a secret", b"a secret that is no PEM, and long", "RS256", "is not a public key"),
            ("large", b"A" * 70_000, "HS256", "has more than"),
            ("missing", None, "HS256", "No such file"),
        ]
    ],
)
def test_files_that_are_refused(
    file: Path, content: bytes | None, algorithms: list[str], why: str
) -> None:
    put(file, content)
    with pytest.raises(KeyFileUnusable, match=re.escape(str(file))) as caught:
        KeyFile(file, algorithms)
    said = str(caught.value).removeprefix(f"{file}: ")
    assert why in said
    assert "\n" not in said
    assert not content or content[:40].decode("latin-1") not in said


def test_a_key_that_would_cost_too_much(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("broker.edge.auth.token_keys._MOST_RSA_BITS", 2047)
    put(file, pem(_RSA))
    with pytest.raises(KeyFileUnusable, match="more than 2047 bits"):
        KeyFile(file, ["RS256"])


def put(file: Path, content: bytes | None) -> None:
    if content is not None:
        file.write_bytes(content)
