"""The keys that tokens are checked with: from a file, or from the identity provider's JWKS.

Which key checks a token is decided here, by its `kid` and `alg`, and never by what else the token
brings (`jku`, `jwk`, `x5u`, `x5c`). A key is made ready for each algorithm that it may be used with
when it is read, so that a key of one kind can't be used as one of another.
"""

import asyncio
import math
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol, Self

import httpx
import orjson
import structlog
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from jwt.algorithms import Algorithm, get_default_algorithms
from jwt.exceptions import PyJWTError

from broker.engine.cancelling import cancel
from broker.wire.problem import NotAuthenticated, Unavailable

__all__ = ["Jwks", "KeyFile", "KeyFileUnusable", "TokenKey", "TokenKeys"]

logger = structlog.get_logger("runcast.auth")

_MOST_FILE_BYTES: Final = 64 << 10
_MOST_JWKS_BYTES: Final = 256 << 10
_MOST_KEYS: Final = 100
_FETCH_SECONDS: Final = 5.0
"""The longest that a fetch may take, from the first byte sent to the last received."""
_AGAIN_SECONDS: Final = 10.0
"""How soon after a fetch the next may follow, whoever shows which unknown keys."""
_FIRST_AGAIN_SECONDS: Final = 1.0
"""The same while there are no keys at all, and so nobody gets in."""
_OUTAGE_SECONDS: Final = 3600.0
"""How long keys are good that should have been fetched anew, and could not be."""
_RETRY_SECONDS: Final = 2
_MOST_RSA_BITS: Final = 8192
_UNFIT: Final = (PyJWTError, UnsupportedAlgorithm, ValueError, TypeError, KeyError, OverflowError)
"""What making a key raises for one that is none, or not for that algorithm."""


@dataclass(frozen=True, slots=True, eq=False)
class TokenKey:
    """A key, ready to check signatures of one algorithm."""

    algorithm: Algorithm
    key: Any = field(repr=False)

    def signed(self, message: bytes, signature: bytes) -> bool:
        """Whether this is the message's signature."""
        return self.algorithm.verify(message, self.key, signature)


class TokenKeys(Protocol):
    """Finds the key for a token."""

    async def find(self, key_id: str | None, algorithm: str) -> TokenKey:
        """The key for a token whose header has this `kid` and this `alg`; the same object for as
        long as it is the same key.

        Raises:
            NotAuthenticated: there is none.
            Unavailable: it can't be found out now.
        """


class KeyFileUnusable(ValueError):
    """The file can't be used. Its text is one line that says why, and has nothing of the key."""


class KeyFile:
    """One key, for all tokens."""

    def __init__(self, path: Path, algorithms: Sequence[str]) -> None:
        """Reads the file.

        Args:
            path: a PEM public key; for HS algorithms the secret, as bytes, less a line's end.
            algorithms: those that tokens may be signed with: HS alone, or none of HS.

        Raises:
            KeyFileUnusable: it can't be used.
        """
        try:
            with path.open("rb") as file:
                content = file.read(_MOST_FILE_BYTES + 1)
        except OSError as error:
            raise KeyFileUnusable(f"{path}: {error.strerror}") from None
        if len(content) > _MOST_FILE_BYTES:
            raise KeyFileUnusable(f"{path}: has more than {_MOST_FILE_BYTES} bytes")
        try:
            symmetric = algorithms[0].startswith("HS")
            key = _secret(content) if symmetric else _public_key(content)
            self._keys = _made_ready(lambda algorithm: algorithm.prepare_key(key), algorithms)
        except ValueError as error:
            raise KeyFileUnusable(f"{path}: {error}") from None

    async def find(self, key_id: str | None, algorithm: str) -> TokenKey:
        """See `TokenKeys.find`. Whatever it is called, there is one."""
        key = self._keys.get(algorithm)
        if key is None:
            raise NotAuthenticated(_NOT_OURS)
        return key


_NOT_OURS: Final = "The token is not signed with a key that is known here."


def _secret(content: bytes) -> bytes:
    # One line's end, which editors and echo put there; a secret of random bytes may have others.
    secret = content.removesuffix(b"\n").removesuffix(b"\r")
    if b"-----BEGIN" in secret:
        raise ValueError("is a PEM file, and HS algorithms need a secret; see jwt_algorithms")
    return secret


def _public_key(content: bytes) -> Any:
    if b"PRIVATE KEY" in content:
        raise ValueError(
            "has a private key; leave it where tokens are signed, and give the public one: "
            "openssl pkey -pubout"
        )
    try:
        return load_pem_public_key(content)
    except (ValueError, UnsupportedAlgorithm):
        raise ValueError("is not a public key in PEM (BEGIN PUBLIC KEY)") from None


def _made_ready(make: Callable[[Algorithm], Any], algorithms: Iterable[str]) -> dict[str, TokenKey]:
    """By algorithm, for those that the key fits.

    Args:
        make: makes the key for an algorithm; raises one of `_UNFIT` if it is none for it.
        algorithms: their names.

    Raises:
        ValueError: it fits none, is too short to be safe, or so long that it costs too much.
    """
    ready = {}
    for name in algorithms:
        algorithm = get_default_algorithms()[name]
        try:
            key = make(algorithm)
        except _UNFIT:
            continue
        weak = algorithm.check_key_length(key)
        if weak is not None:
            raise ValueError(f"is too short a key: {weak}")
        if isinstance(key, RSAPublicKey) and key.key_size > _MOST_RSA_BITS:
            raise ValueError(f"is a key of more than {_MOST_RSA_BITS} bits")
        ready[name] = TokenKey(algorithm, key)
    if not ready:
        raise ValueError(f"is no key for {', '.join(algorithms)}; see jwt_algorithms")
    return ready


# ---- an identity provider's keys


class Jwks:
    """An identity provider's keys (RFC 7517). Use it as an async context manager.

    One task fetches them: at once, then every `keep_seconds`; sooner if a token has a `kid` that is
    not among them, which is how a new key is noticed. Whoever has such a token waits for that
    fetch, all of them for the same one; until ten seconds after it, a `kid` that it had not is
    refused without another. Keys that can't be fetched anew stay good for an hour more.
    """

    def __init__(
        self,
        url: str,
        algorithms: Sequence[str],
        *,
        keep_seconds: float,
        again_seconds: float = _AGAIN_SECONDS,
    ) -> None:
        """
        Args:
            url: where they are.
            algorithms: those that tokens may be signed with; none of HS.
            keep_seconds: how long they are used before they are fetched again.
            again_seconds: how soon an unknown `kid` may have them fetched again.
        """
        self._url = url
        self._algorithms = algorithms
        self._keep_seconds = keep_seconds
        self._again_seconds = again_seconds
        self._keys: dict[tuple[str, str], TokenKey] = {}
        """By `kid` and `alg`."""
        self._content = b""
        self._fetched_at: float | None = None
        """When they were fetched last; `None` if there are none that are good."""
        self._tried_at = -math.inf
        """When a fetch ended last, well or not."""
        self._failure = ""
        """Why that one failed; empty if it has not."""
        self._fetching = False
        self._wanted = asyncio.Event()
        self._done = asyncio.Event()
        """Set when the present fetch, or else the next one, has ended."""
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        client = await self._stack.enter_async_context(
            # What it is redirected to is nobody's choice here.
            httpx.AsyncClient(timeout=_FETCH_SECONDS, follow_redirects=False)
        )
        task = asyncio.create_task(self._keep(client), name="token keys")
        self._stack.push_async_callback(cancel, [task])
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def find(self, key_id: str | None, algorithm: str) -> TokenKey:
        """See `TokenKeys.find`. A token without a `kid` has none."""
        if key_id is None:
            raise NotAuthenticated("The token does not say which key it is signed with (kid).")
        key = self._keys.get((key_id, algorithm))
        if key is None and await self._looked_again():
            key = self._keys.get((key_id, algorithm))
        if key is not None:
            return key
        if self._failure:
            raise Unavailable("The identity provider's keys can't be had.", _RETRY_SECONDS)
        raise NotAuthenticated(_NOT_OURS)

    # ---- inside

    async def _looked_again(self) -> bool:
        """Waits for a fetch, if there may be one now; whether one has ended."""
        pause = self._again_seconds if self._keys else _FIRST_AGAIN_SECONDS
        if not self._fetching and time.monotonic() - self._tried_at < pause:
            return False
        self._wanted.set()
        try:
            async with asyncio.timeout(_FETCH_SECONDS + 1):
                await self._done.wait()
        except TimeoutError:
            return False
        return True

    async def _keep(self, client: httpx.AsyncClient) -> None:
        while True:
            self._fetching = True
            await self._fetch(client)
            self._fetching = False
            self._tried_at = time.monotonic()
            self._wanted.clear()
            self._done.set()
            self._done = asyncio.Event()
            pause = self._again_seconds if self._failure else self._keep_seconds
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._wanted.wait()

    async def _fetch(self, client: httpx.AsyncClient) -> None:
        try:
            async with asyncio.timeout(_FETCH_SECONDS):
                content = await _downloaded(client, self._url)
            if content != self._content:
                self._keys = _keys_in(content, self._algorithms)
                self._content = content
        except Exception as error:
            # Whatever it was, the next fetch may go well. The text of others' errors may have the
            # URL in it, and that a secret.
            self._failed(str(error) if isinstance(error, _JwksUnusable) else type(error).__name__)
        else:
            if self._failure or self._fetched_at is None:
                logger.info("token keys are here", keys=len(self._keys))
            self._failure = ""
            self._fetched_at = time.monotonic()

    def _failed(self, why: str) -> None:
        if why != self._failure:
            logger.error("token keys can't be fetched (jwt_jwks_url)", why=why)
        self._failure = why
        good_for = self._keep_seconds + _OUTAGE_SECONDS
        if self._fetched_at is not None and time.monotonic() - self._fetched_at > good_for:
            logger.error("token keys are too old to be used: no token is taken")
            self._keys = {}
            self._content = b""
            self._fetched_at = None


class _JwksUnusable(ValueError):
    """What was fetched is no JWKS; its text has nothing of it."""


async def _downloaded(client: httpx.AsyncClient, url: str) -> bytes:
    content = b""
    # Compressed, a small answer could be a large one.
    headers = {"accept": "application/json", "accept-encoding": "identity"}
    async with client.stream("GET", url, headers=headers) as response:
        if response.status_code != httpx.codes.OK:
            raise _JwksUnusable(f"status {response.status_code}")
        if response.headers.get("content-encoding", "identity") != "identity":
            raise _JwksUnusable("is compressed, although it was asked for as it is")
        async for piece in response.aiter_raw():
            content += piece
            if len(content) > _MOST_JWKS_BYTES:
                raise _JwksUnusable(f"has more than {_MOST_JWKS_BYTES} bytes")
    return content


def _keys_in(content: bytes, algorithms: Sequence[str]) -> dict[tuple[str, str], TokenKey]:
    try:
        document = orjson.loads(content)
    except orjson.JSONDecodeError:
        raise _JwksUnusable("is not JSON") from None
    entries = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(entries, list):
        raise _JwksUnusable("is not a JWKS: it has no list of keys")
    if len(entries) > _MOST_KEYS:
        raise _JwksUnusable(f"has more than {_MOST_KEYS} keys")
    keys: dict[tuple[str, str], TokenKey] = {}
    for number, entry in enumerate(entries, 1):
        try:
            found = _keys_of(entry, algorithms)
        except ValueError as error:
            logger.warning("a token key can't be used", number=number, why=str(error))
            continue
        for place, key in found.items():
            # Of two with one name, the first: which is chosen must not depend on chance.
            keys.setdefault(place, key)
    return keys


def _keys_of(entry: object, algorithms: Sequence[str]) -> dict[tuple[str, str], TokenKey]:
    """What one of a JWKS' keys can be used for here; nothing, if it is for something else.

    Raises:
        ValueError: it is none that can be used; says nothing of its content.
    """
    if not isinstance(entry, dict):
        raise ValueError("is not an object")
    operations = entry.get("key_ops", ["verify"])
    if entry.get("use", "sig") != "sig" or not (
        isinstance(operations, list) and "verify" in operations
    ):
        return {}
    if "alg" in entry and entry["alg"] not in algorithms:
        return {}
    if entry.get("kty") == "oct" or "d" in entry:
        raise ValueError("is a secret, and secrets must not be published")
    key_id = entry.get("kid")
    if not isinstance(key_id, str) or not key_id:
        raise ValueError("has no kid to be found by")
    fitting = [entry["alg"]] if "alg" in entry else algorithms
    ready = _made_ready(lambda algorithm: algorithm.prepare_key(algorithm.from_jwk(entry)), fitting)
    return {(key_id, algorithm): key for algorithm, key in ready.items()}
