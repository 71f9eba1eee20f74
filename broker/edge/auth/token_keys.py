"""The keys that tokens are checked with."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, Self

__all__ = ["Jwks", "KeyFile", "TokenKeys"]


class TokenKeys(Protocol):
    """Finds the key for a token."""

    async def find(self, key_id: str | None, algorithm: str) -> Any:
        """The key for a token whose header has this `kid` and this `alg`."""


class KeyFile:
    """One key."""

    def __init__(self, path: Path, algorithms: Sequence[str]) -> None:
        self._path = path

    async def find(self, key_id: str | None, algorithm: str) -> Any:
        """See `TokenKeys.find`."""
        raise NotImplementedError


class Jwks:
    """An identity provider's keys. Use it as an async context manager."""

    def __init__(self, url: str, algorithms: Sequence[str], *, keep_seconds: float) -> None:
        self._url = url

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    async def find(self, key_id: str | None, algorithm: str) -> Any:
        """See `TokenKeys.find`."""
        raise NotImplementedError
