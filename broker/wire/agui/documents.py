"""Between a run's events, AG-UI's JSON, and the wire.

An entry's type is AG-UI's, and its data the rest of the event, with the type in it or without. A
run of another vocabulary is not refused: its events become CUSTOM ones, and its end an end.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

import orjson

from broker.wire.agui.vocabulary import TYPES, Document
from broker.wire.gap import Gap
from broker.wire.ids import RunId, StreamId

__all__ = [
    "COMPLETED",
    "NOT_OF_RUN",
    "custom",
    "document",
    "gap_document",
    "run_broken",
    "run_started",
    "wire",
]

_GOOD_ENDS: Final = frozenset({"done", "succeeded", "completed", "complete"})
"""Types of other vocabularies that end a run well; every other end is an error."""

COMPLETED: Final[Mapping[str, Callable[[RunId], Mapping[str, str]]]] = {
    "RUN_STARTED": lambda run_id: {"threadId": run_id, "runId": run_id},
    "RUN_FINISHED": lambda run_id: {"threadId": run_id, "runId": run_id},
    "RUN_ERROR": lambda _: {"message": "The run has failed."},
}
"""Members that clients insist on, for producers that leave them out."""

NOT_OF_RUN: Final = frozenset({"queued"})
"""Types that stand in a run's stream before it has begun, when clients accept nothing."""


def document(event_type: str, data: bytes, *, final: bool, run_id: RunId) -> dict[str, Any]:
    """The event as AG-UI has it."""
    try:
        content = orjson.loads(data)
    except orjson.JSONDecodeError:
        content = data.decode("utf-8", "replace")
    if isinstance(content, dict):
        own_type = event_type if event_type in TYPES else content.get("type")
        if isinstance(own_type, str) and own_type in TYPES:
            if own_type in COMPLETED:
                return {**COMPLETED[own_type](run_id), **content, "type": own_type}
            content["type"] = own_type
            return content
    if not final:
        return custom(event_type or "message", content)
    if event_type in _GOOD_ENDS:
        return {"type": "RUN_FINISHED", "threadId": run_id, "runId": run_id, "result": content}
    message = content.get("message") if isinstance(content, dict) else None
    return {
        "type": "RUN_ERROR",
        "message": message if isinstance(message, str) else event_type or "the run has ended",
        "code": event_type or "ended",
    }


def run_started(run_id: RunId) -> dict[str, Any]:
    """A RUN_STARTED for a client that can't be sent the run's own."""
    return {"type": "RUN_STARTED", "threadId": run_id, "runId": run_id}


def run_broken() -> dict[str, Any]:
    """What ends a run for a client that has to begin anew: no other event may stand anywhere."""
    return {
        "type": "RUN_ERROR",
        "message": "Events of this run are missing; what follows is told from anew.",
        "code": "runcast.gap",
    }


def custom(name: str, value: Any) -> dict[str, Any]:
    """An event that the protocol has no type for."""
    return {"type": "CUSTOM", "name": name, "value": value}


def gap_document(gap: Gap) -> dict[str, Any]:
    """What could not be served, as docs/wire.md has it."""
    return custom("runcast.gap", gap.document())


def wire(said: Document, event_id: StreamId | None = None) -> bytes:
    """The event as a block of `text/event-stream`: unnamed, as AG-UI wants it.

    Its clients take the `data:` lines of a block and ignore others, so an id does no harm, and an
    EventSource can resume.
    """
    try:
        data = orjson.dumps(said)
    except TypeError:
        # Nested more deeply than orjson writes, although it reads it: its absence is said.
        data = orjson.dumps(custom("runcast.unsendable", {"type": said["type"]}))
    if event_id is None:
        return b"data: %b\n\n" % data
    return b"id: %d-%d\ndata: %b\n\n" % (*event_id, data)
