"""The names of spans and attributes; whoever has built a dashboard on them wants them to stay."""

from typing import Final

__all__ = [
    "DELIVER",
    "EVENTS",
    "EVENT_ID",
    "EVENT_TYPE",
    "LONGEST_TYPE",
    "PUBLISH",
    "READ",
    "RUN_ID",
    "SCOPE",
    "VIEWERS",
]

SCOPE: Final = "runcast"
"""The instrumentation scope."""

PUBLISH: Final = "runcast.publish"
READ: Final = "runcast.read"
DELIVER: Final = "runcast.deliver"

RUN_ID: Final = "runcast.run_id"
EVENT_ID: Final = "runcast.event_id"
EVENT_TYPE: Final = "runcast.event_type"
EVENTS: Final = "runcast.events"
"""How many events are appended together."""
VIEWERS: Final = "runcast.viewers"
"""How many live viewers the event was pushed to, in one process."""

LONGEST_TYPE: Final = 256
"""Characters of a type that are exported: a type may be as large as an entry."""
