"""How many may come, and how much each may ask for: the bounds, as the settings give them."""

import resource
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

__all__ = ["ConnectionLimits", "StreamLimits", "connections_that_fit"]

_RESERVED: Final = 256
"""Open files for all else: Redis, identity providers, other workers, the log."""


def connections_that_fit() -> int:
    """As many connections as the limit of open files allows (`ulimit -n`), and leaves room for all
    else that needs one."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files == resource.RLIM_INFINITY:
        return sys.maxsize
    return max(files // 2, files - _RESERVED)


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """Of one process; they hold before anybody is asked who they are."""

    connections: int
    """Of all kinds, at a time."""
    per_address: int | None = None
    """The same from one address, those of trusted proxies excepted; `None` for any number."""
    per_second: int | None = None
    """New ones, on average; as many may come at once. `None` for any number."""
    trusted_proxies: Sequence[str] = ()
    """Addresses and networks."""
    request_line_bytes: int = 8 << 10
    """Of a request's target."""
    headers_bytes: int = 32 << 10
    """Of a request's headers, and of a chunked body's trailers."""
    headers_seconds: float = 10
    """Within which a request's head has to come."""


@dataclass(frozen=True, slots=True)
class StreamLimits:
    """Streams, and long polls that wait, in one process at a time; `None` for any number."""

    streams: int | None = None
    per_address: int | None = None
    per_subject: int | None = None
    per_run: int | None = None
