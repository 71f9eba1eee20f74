"""What was refused because of a limit, counted by reason; never by address, subject or run, of
which there is no end."""

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum

__all__ = ["ConnectionRefusal", "Refusals", "RequestRefusal", "StreamLimit"]


class ConnectionRefusal(StrEnum):
    """Why a connection was not taken."""

    PROCESS = "process"
    """There are as many as the process takes."""
    ADDRESS = "address"
    """There are as many from its address."""
    RATE = "rate"
    """Too many came at once."""


class RequestRefusal(StrEnum):
    """Why a request was refused before it was one."""

    SLOW_HEADERS = "slow_headers"
    TARGET_TOO_LONG = "target_too_long"
    HEADERS_TOO_LARGE = "headers_too_large"
    PIPELINE_TOO_LONG = "pipeline_too_long"
    BAD_HTTP = "bad_http"


class StreamLimit(StrEnum):
    """What a stream was one too many for."""

    PROCESS = "process"
    RUN = "run"
    ADDRESS = "address"
    SUBJECT = "subject"


@dataclass(slots=True)
class Refusals:
    """Of one process, since it began."""

    connections: Counter[ConnectionRefusal] = field(default_factory=Counter)
    requests: Counter[RequestRefusal] = field(default_factory=Counter)
    streams: Counter[StreamLimit] = field(default_factory=Counter)
