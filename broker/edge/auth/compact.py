"""The compact form of a signed token (RFC 7515, 7.1), read strictly. Pure: checks no signature.

There is one spelling for each token: no padding, no spare bits, no line ends.
"""

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final, Self

import orjson

from broker.wire.problem import NotAuthenticated

__all__ = ["MALFORMED", "CompactToken"]

MALFORMED: Final = "The token is not a JWT."

_COMPACT: Final = re.compile(r"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)")


@dataclass(frozen=True, slots=True)
class CompactToken:
    """A token's parts. None of them is proven."""

    header: Mapping[str, Any]
    message: bytes = field(repr=False)
    """What is signed."""
    signature: bytes = field(repr=False)
    payload: str = field(repr=False)
    """As it was sent."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """The parts of a token.

        Raises:
            NotAuthenticated: it is none; or its header wants something to be understood that is
                not (`crit`, RFC 7515, 4.1.11; `b64`, RFC 7797).
        """
        found = _COMPACT.fullmatch(text)
        if found is None:
            raise NotAuthenticated(MALFORMED)
        header, payload, signature = found.groups()
        document = _header(header)
        if "crit" in document or "b64" in document:
            raise NotAuthenticated("The token has a header that is not understood here.")
        message = text[: found.end(2)].encode()
        return cls(document, message, _decoded(signature), payload)

    def claims(self) -> dict[str, Any]:
        """What it says, to be asked for once the signature is right.

        Raises:
            NotAuthenticated: that is no JSON object.
        """
        return _json_object(self.payload)


@lru_cache(maxsize=64)
def _header(part: str) -> Mapping[str, Any]:
    # Whoever signs tokens makes the same header again and again.
    return _json_object(part)


def _decoded(part: str) -> bytes:
    try:
        data = base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
    except binascii.Error:
        raise NotAuthenticated(MALFORMED) from None
    if base64.urlsafe_b64encode(data).rstrip(b"=") != part.encode():
        raise NotAuthenticated(MALFORMED)
    return data


def _json_object(part: str) -> dict[str, Any]:
    try:
        value = orjson.loads(_decoded(part))
    except orjson.JSONDecodeError:
        raise NotAuthenticated(MALFORMED) from None
    if not isinstance(value, dict):
        raise NotAuthenticated(MALFORMED)
    return value
