"""API keys: a file of their hashes, which is read again when it changes.

The file is TOML::

    [[keys]]
    name = "dashboard"
    hash = "sha256:<64 hexadecimal digits>"
    rights = ["watch:*"]
    subject = "dashboard@example.com"    # optional
    expires = 2027-01-01T00:00:00Z       # optional

A plain hash is enough, for what is hashed is random: there is nothing to guess, so nothing to slow
down. And the time that a look-up takes tells nothing: it depends on the presented key's hash under
a secret of this process.
"""

import asyncio
import hashlib
import hmac
import math
import re
import secrets
import time
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import orjson
import structlog

from broker.edge.auth.identity import CredentialKind, Identity
from broker.edge.auth.presented import Presented
from broker.edge.auth.rights import Action, Rights
from broker.wire.ids import RunId
from broker.wire.problem import NotAuthenticated

__all__ = ["ApiKey", "ApiKeys", "ApiKeysUnusable", "hash_of", "parse_api_keys"]

logger = structlog.get_logger("runcast.auth")

_MOST_BYTES: Final = 1 << 20
"""Of the file: some 6,000 keys."""
_SETTLING_SECONDS: Final = 0.05
"""After which a change must look the same again: no file is taken that is just being written."""
_SIZES: Final = {"name": 128, "subject": 256}
"""The most characters of each."""
_HASH: Final = re.compile(r"sha256:[0-9a-f]{64}")
_NEEDED: Final = frozenset({"name", "hash", "rights"})
_MEMBERS: Final = _NEEDED | {"subject", "expires"}
_ENTRY: Final = "entry:"
"""Marks what the right rests on: all that the file says of a key, not only its name."""


class ApiKeysUnusable(ValueError):
    """The file can't be used. Its text is one line: which, where, and what to change."""


@dataclass(frozen=True, slots=True)
class ApiKey:
    """What the file says of a key."""

    name: str
    hash: str
    """`sha256:` and hexadecimal digits; see `hash_of`."""
    rights: Rights
    subject: str | None = None
    expires: datetime | None = None

    def identity(self) -> Identity:
        """Who presents it."""
        expires = None if self.expires is None else self.expires.isoformat()
        whole = orjson.dumps([self.name, self.hash, str(self.rights), self.subject, expires])
        marks = {f"key:{self.name}", _ENTRY + hashlib.sha256(whole).hexdigest()[:32]}
        if self.subject is not None:
            marks.add(f"subject:{self.subject}")
        return Identity(
            self.subject,
            self.rights,
            CredentialKind.API_KEY,
            until=math.inf if self.expires is None else self.expires.timestamp(),
            marks=frozenset(marks),
        )


def hash_of(key: str) -> str:
    """How the file has a key."""
    return f"sha256:{hashlib.sha256(key.encode()).hexdigest()}"


_OF_NOTHING: Final = hash_of("")


def parse_api_keys(text: str) -> list[ApiKey]:
    """The keys that a file with this text has; none, if it is empty.

    Raises:
        ApiKeysUnusable: it is not such a file.
    """
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ApiKeysUnusable(f"is not TOML: {error}") from None
    tables = document.pop("keys", [])
    if document:
        raise ApiKeysUnusable(f"has {min(document)!r}, and only [[keys]] is read")
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise ApiKeysUnusable("write [[keys]] before each key")
    names: set[str] = set()
    hashes: dict[str, str] = {}
    keys = []
    for number, table in enumerate(tables, 1):
        name = table.get("name")
        where = f"key {name!r}" if isinstance(name, str) else f"key number {number}"
        try:
            key = _parse(table)
            if key.name in names:
                raise ValueError("there are two of this name")
            if key.hash in hashes:
                raise ValueError(f"has the same hash as {hashes[key.hash]!r}")
        except ValueError as error:
            raise ApiKeysUnusable(f"{where}: {error}") from None
        names.add(key.name)
        hashes[key.hash] = key.name
        keys.append(key)
    return keys


def _parse(table: Mapping[str, Any]) -> ApiKey:
    for member in sorted(table.keys() - _MEMBERS):
        raise ValueError(f"{member!r} is not known here")
    for member in sorted(_NEEDED - table.keys()):
        raise ValueError(f"{member} is missing")
    digest = table["hash"]
    # What was written instead may be the key itself, so it is not shown.
    if not isinstance(digest, str) or _HASH.fullmatch(digest.lower()) is None:
        raise ValueError("hash must be sha256: and 64 hexadecimal digits; see runcast key")
    if digest.lower() == _OF_NOTHING:
        raise ValueError("hash is that of an empty text")
    rights = table["rights"]
    if not isinstance(rights, list) or not all(isinstance(right, str) for right in rights):
        raise ValueError('rights must be a list of texts, such as ["watch:*"]')
    expires = table.get("expires")
    if expires is not None and (not isinstance(expires, datetime) or expires.tzinfo is None):
        raise ValueError("expires must be a time with its zone, such as 2027-01-01T00:00:00Z")
    subject = table.get("subject")
    return ApiKey(
        _text("name", table["name"]),
        digest.lower(),
        Rights(rights),
        None if subject is None else _text("subject", subject),
        expires,
    )


def _text(member: str, value: object) -> str:
    most = _SIZES[member]
    if not isinstance(value, str) or not 0 < len(value) <= most or not value.isprintable():
        raise ValueError(f"{member} must be a text of 1 to {most} printable characters")
    return value


class ApiKeys:
    """The file's keys: a `Verifier`, and a `Source`."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.time) -> None:
        """Reads the file.

        Args:
            path: of the file, or of a link to it, which may be turned to another.
            clock: seconds since 1970.

        Raises:
            ApiKeysUnusable: it can't be used.
        """
        self._path = path
        self._clock = clock
        self._blinding = secrets.token_bytes(32)
        self._identities: Mapping[bytes, Identity] = {}
        """By the blinded hashes of their keys."""
        self._entries: frozenset[str] = frozenset()
        """The marks of all of them."""
        self._refused = ""
        """Why the file is not used as it is now; empty if it is."""
        self._content = self._read()
        self._use(self._parse(self._content))

    async def verify(self, presented: Presented, action: Action, run_id: RunId | None) -> Identity:
        """See `Verifier.verify`."""
        identity = self._identities.get(self._blinded(hash_of(presented.text)))
        if identity is None:
            raise NotAuthenticated("There is no such API key.")
        if self._clock() >= identity.until:
            raise NotAuthenticated("The API key has expired.")
        return identity

    async def look(self) -> bool:
        """See `Source.look`. A file that can't be used leaves everything as it was."""
        try:
            content = await asyncio.to_thread(self._read)
            if content == self._content:
                self._refused = ""
                return False
            await asyncio.sleep(_SETTLING_SECONDS)
            if await asyncio.to_thread(self._read) != content:
                # It is being written; the next look is soon enough.
                return False
            # Which takes a while, for thousands.
            identities = await asyncio.to_thread(self._parse, content)
        except ApiKeysUnusable as error:
            self._refuse(str(error))
            return False
        self._refused = ""
        self._content = content
        self._use(identities)
        logger.info("api keys read anew", keys=len(identities))
        return True

    def revoked(self, identity: Identity) -> bool:
        """See `Source.revoked`."""
        return any(mark.startswith(_ENTRY) and mark not in self._entries for mark in identity.marks)

    # ---- inside

    def _read(self) -> bytes:
        try:
            with self._path.open("rb") as file:
                content = file.read(_MOST_BYTES + 1)
        except OSError as error:
            raise ApiKeysUnusable(f"{self._path}: {error.strerror}") from None
        if len(content) > _MOST_BYTES:
            raise ApiKeysUnusable(f"{self._path}: has more than {_MOST_BYTES} bytes")
        return content

    def _parse(self, content: bytes) -> dict[bytes, Identity]:
        try:
            keys = parse_api_keys(content.decode())
        except UnicodeDecodeError:
            raise ApiKeysUnusable(f"{self._path}: is not UTF-8") from None
        except ApiKeysUnusable as error:
            raise ApiKeysUnusable(f"{self._path}: {error}") from None
        return {self._blinded(key.hash): key.identity() for key in keys}

    def _use(self, identities: Mapping[bytes, Identity]) -> None:
        self._identities = identities
        self._entries = frozenset(
            mark
            for identity in identities.values()
            for mark in identity.marks
            if mark.startswith(_ENTRY)
        )

    def _blinded(self, digest: str) -> bytes:
        return hmac.digest(self._blinding, digest.encode(), "sha256")

    def _refuse(self, why: str) -> None:
        if why != self._refused:
            logger.error("api keys can't be used: those of before stay", why=why)
        self._refused = why
