"""Who an event comes from, so that it is appended once however often it is sent. Pure.

Three ways to say it, the later wins: an ``Idempotency-Key``, whose events are numbered from 1;
``Runcast-Producer`` and ``Runcast-Sequence``, the number of the body's first event; and
``producer`` and ``sequence`` in an event. Keys and names make different producers, so that none can
take another's numbers, nor those of workers that append by themselves.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from broker.wire.problem import BadHeader

__all__ = [
    "GREATEST_SEQUENCE",
    "IDEMPOTENCY_KEY",
    "IDEMPOTENCY_KEY_PATTERN",
    "PRODUCER",
    "PRODUCER_PATTERN",
    "SEQUENCE",
    "Origin",
    "idempotency_key",
    "is_producer",
    "named_producer",
    "stated_origin",
]

IDEMPOTENCY_KEY: Final = "Idempotency-Key"
PRODUCER: Final = "Runcast-Producer"
SEQUENCE: Final = "Runcast-Sequence"
PRODUCER_PATTERN: Final = r"[A-Za-z0-9._:-]{1,64}"
GREATEST_SEQUENCE: Final = 2**52
"""Numbers are exact in Lua, and in JSON as most languages read it, up to twice as much: what a body
counts on from here is, too."""
IDEMPOTENCY_KEY_PATTERN: Final = r'("([ !#-\[\]-~]|\\["\\]){1,255}"|[!#-~]([ !#-~]{0,253}[!#-~])?)'
"""A string of structured fields (RFC 9651, 3.3.3), or the same without quotes."""

_PRODUCER: Final = re.compile(PRODUCER_PATTERN)
_KEY: Final = re.compile(IDEMPOTENCY_KEY_PATTERN)
_NUMBER: Final = re.compile(r"[1-9][0-9]{0,15}")


@dataclass(frozen=True, slots=True)
class Origin:
    """A producer, and the number of the first event that comes from it."""

    producer: str
    sequence: int


def is_producer(text: str) -> bool:
    """Whether a producer may have this name."""
    return _PRODUCER.fullmatch(text) is not None


def named_producer(name: str) -> str:
    """The producer that a client calls so."""
    return f"http:{name}"


def idempotency_key(values: Sequence[str]) -> str | None:
    """The key that the header's fields give; `None` without one.

    Written as the draft has it, ``"8e03978e"``, or as most clients write it, without the quotes;
    both are the same key.

    Raises:
        BadHeader: it can't be one.
    """
    if not values:
        return None
    text = values[0].strip(" \t")
    if len(values) > 1 or not _KEY.fullmatch(text):
        expected = "give one key of 1 to 255 printable ASCII characters, in quotes or without"
        raise BadHeader(IDEMPOTENCY_KEY, ", ".join(values), expected)
    return re.sub(r"\\(.)", r"\1", text[1:-1]) if text.startswith('"') else text


def stated_origin(
    keys: Sequence[str], producers: Sequence[str], sequences: Sequence[str]
) -> Origin | None:
    """What the request's headers say of its events; `None` if they say nothing.

    Args:
        keys: the fields of `Idempotency-Key`.
        producers: the fields of `Runcast-Producer`.
        sequences: the fields of `Runcast-Sequence`.

    Raises:
        BadHeader: they can't be used, or not together.
    """
    key = idempotency_key(keys)
    if not producers and not sequences:
        return None if key is None else Origin(_producer_of(key), 1)
    name, number = ", ".join(producers), ", ".join(sequences)
    if not is_producer(name):
        expected = "give a name of 1 to 64 of A-Z a-z 0-9 . _ : -"
        raise BadHeader(PRODUCER, name, f"{expected}, together with {SEQUENCE}")
    if not _NUMBER.fullmatch(number) or int(number) > GREATEST_SEQUENCE:
        expected = f"give the number of the first event, from 1 to {GREATEST_SEQUENCE}"
        raise BadHeader(SEQUENCE, number, expected)
    return Origin(named_producer(name), int(number))


def _producer_of(key: str) -> str:
    # Keys may be long, and secrets of their clients.
    return f"key:{hashlib.sha256(key.encode()).hexdigest()[:32]}"
