"""AG-UI's event types, and what each of them opens, continues and closes.

As `@ag-ui/client` 1.0 checks it (`verifyEvents`, `transformChunks`): what is open has a kind and an
id, is continued and closed by that id, and must be closed before the run finishes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

__all__ = [
    "CHUNKS",
    "CLOSERS",
    "CONTINUERS",
    "DEPRECATED_TYPES",
    "KEEPS_LANES",
    "OPENERS",
    "OWNER",
    "TYPES",
    "Chunk",
    "Document",
    "Kind",
]

Document = Mapping[str, Any]
"""An event of AG-UI: a JSON object with a `type`."""

OWNER: Final = "subagentRunId"
"""The member that says which subagent an event is of; absent for the agent itself."""


@dataclass(frozen=True, slots=True)
class Kind:
    """Something that is opened, maybe continued, and closed."""

    name: str
    opener: str
    closer: str
    id: str | None
    """The member that has its id; `None` where only one can be open at a time."""
    continuer: str | None = None
    per_owner: bool = False
    """Whether an id is only unique within its owner."""
    bucket: str | None = None
    """Among which ids each has one owner for as long as the run goes on."""
    required: Mapping[str, str] = field(default_factory=dict, hash=False)
    """What an opener must have besides the id, with values for one that is made up; an empty one
    stands for the id."""


_KINDS: Final = (
    Kind(
        "text",
        opener="TEXT_MESSAGE_START",
        continuer="TEXT_MESSAGE_CONTENT",
        closer="TEXT_MESSAGE_END",
        id="messageId",
        bucket="message",
        required={"role": "assistant"},
    ),
    Kind(
        "tool",
        opener="TOOL_CALL_START",
        continuer="TOOL_CALL_ARGS",
        closer="TOOL_CALL_END",
        id="toolCallId",
        bucket="tool call",
        required={"toolCallName": "unknown"},
    ),
    Kind(
        "reasoning",
        opener="REASONING_MESSAGE_START",
        continuer="REASONING_MESSAGE_CONTENT",
        closer="REASONING_MESSAGE_END",
        id="messageId",
        bucket="reasoning",
        required={"role": "reasoning"},
    ),
    Kind(
        "span",
        opener="REASONING_START",
        closer="REASONING_END",
        id="messageId",
        bucket="reasoning",
    ),
    Kind("step", opener="STEP_STARTED", closer="STEP_FINISHED", id="stepName", per_owner=True),
    Kind(
        "subagent",
        opener="SUBAGENT_STARTED",
        closer="SUBAGENT_FINISHED",
        id=OWNER,
        required={"name": ""},
    ),
    Kind(
        "thinking text",
        opener="THINKING_TEXT_MESSAGE_START",
        continuer="THINKING_TEXT_MESSAGE_CONTENT",
        closer="THINKING_TEXT_MESSAGE_END",
        id=None,
    ),
    Kind("thinking", opener="THINKING_START", closer="THINKING_END", id=None),
)

OPENERS: Final = {kind.opener: kind for kind in _KINDS}
CONTINUERS: Final = {kind.continuer: kind for kind in _KINDS if kind.continuer is not None}
CLOSERS: Final = {kind.closer: kind for kind in _KINDS} | {
    "SUBAGENT_ERROR": OPENERS["SUBAGENT_STARTED"]
}


@dataclass(frozen=True, slots=True)
class Chunk:
    """A type of which the first event opens something by the way, and the next event of the same
    owner that is none of it closes it. Each owner has one such lane."""

    type: str
    kind: Kind
    """What it opens."""
    id: str
    opens_with: tuple[str, ...]
    """The members of the first one that say what is opened."""
    required: Mapping[str, str] = field(default_factory=dict, hash=False)
    """As in `Kind`."""


CHUNKS: Final = {
    chunk.type: chunk
    for chunk in (
        Chunk(
            "TEXT_MESSAGE_CHUNK",
            OPENERS["TEXT_MESSAGE_START"],
            id="messageId",
            opens_with=("messageId", "role", "name"),
        ),
        Chunk(
            "TOOL_CALL_CHUNK",
            OPENERS["TOOL_CALL_START"],
            id="toolCallId",
            opens_with=("toolCallId", "toolCallName", "parentMessageId"),
            required={"toolCallName": "unknown"},
        ),
        Chunk(
            "REASONING_MESSAGE_CHUNK",
            OPENERS["REASONING_MESSAGE_START"],
            id="messageId",
            opens_with=("messageId",),
        ),
    )
}

KEEPS_LANES: Final = frozenset(
    {
        *CHUNKS,
        *("RAW", "ACTIVITY_SNAPSHOT", "ACTIVITY_DELTA"),
        *("REASONING_ENCRYPTED_VALUE", "SUBAGENT_STARTED"),
    }
)
"""Types that close no lane."""

DEPRECATED_TYPES: Final = frozenset(
    {
        *("THINKING_START", "THINKING_END", "THINKING_TEXT_MESSAGE_START"),
        *("THINKING_TEXT_MESSAGE_CONTENT", "THINKING_TEXT_MESSAGE_END"),
    }
)
"""No longer in the protocol; clients translate them."""

TYPES: Final = frozenset(
    {
        *OPENERS,
        *CONTINUERS,
        *CLOSERS,
        *CHUNKS,
        *("RUN_STARTED", "RUN_FINISHED", "RUN_ERROR", "TOOL_CALL_RESULT"),
        *("STATE_SNAPSHOT", "STATE_DELTA", "MESSAGES_SNAPSHOT"),
        *("ACTIVITY_SNAPSHOT", "ACTIVITY_DELTA", "RAW", "CUSTOM"),
        "REASONING_ENCRYPTED_VALUE",
    }
)
"""Every type that a client knows; others it leaves out, with a warning."""
