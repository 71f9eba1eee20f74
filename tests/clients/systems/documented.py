"""What the three systems' documentation says of their streams.

Coasty: coasty.ai/docs (llms.txt) and its posts on streaming with SSE and Last-Event-ID.
Cortex: acrobi-docs.pages.dev/realtime/sse.html.
Travelmode: travelmode.ai/developers/agent-runs/streaming.
"""

import json
from dataclasses import dataclass, field, replace
from typing import Any, Final

__all__ = ["COASTY", "CORTEX", "CORTEX_AGENT", "TRAVELMODE", "Seen", "System"]

_KEY: Final = "sk-coasty-test-000000000000"
_TOKEN: Final = "a-token"


@dataclass(frozen=True, slots=True)
class Seen:
    """A message as a client dispatched it."""

    type: str
    data: str
    id: str

    @property
    def document(self) -> Any:
        """Its data, read as JSON."""
        return json.loads(self.data)


@dataclass(frozen=True, slots=True)
class System:
    """One of them."""

    name: str
    path: str
    """Of a run's stream, with `{run_id}`."""
    headers: dict[str, str]
    """What its documentation has a client send."""
    types: tuple[str, ...]
    """The names of messages that a client listens for."""
    progress: tuple[str, str]
    """An event of a run that goes on: its type, and its data."""
    success: tuple[str, str]
    """The event at the end of a run that went well."""
    failure: tuple[str, str]
    """The event at the end of a run that did not."""
    ends: dict[str, Any] = field(default_factory=dict)
    """What the data of the last message has: by success or failure."""
    pointer: str = ""
    """The key that names the run, where the path has an agent's name instead."""

    def is_event(self, seen: Seen) -> bool:
        """Whether it stands for one of the run's events."""
        if self.name != "travelmode":
            return True
        return seen.document["type"] in ("run_event", "run_finished", "error")

    def is_last(self, seen: Seen) -> bool:
        """Whether it is the one at which this system's clients stop."""
        if self.name == "travelmode":
            return bool(seen.document["type"] == "run_finished")
        return seen.type == {"coasty": "done", "cortex": "complete"}[self.name]

    def cursor(self, seen: Seen) -> str:
        """What a client remembers of it, to go on from there."""
        if self.name == "coasty":
            return str(seen.document["id"])
        if self.name == "travelmode":
            return str(seen.document["sequence"])
        return seen.id


COASTY: Final = System(
    "coasty",
    "/v1/runs/{run_id}/events",
    {"X-API-Key": _KEY},
    ("status", "text", "tool_call", "awaiting_human", "done"),
    ("tool_call", '{"step": 1, "action_type": "click", "params": {"x": 640, "y": 360}}'),
    ("succeeded", '{"result": {"passed": true, "summary": "done"}}'),
    ("failed", '{"error": {"code": "TASK_FAILED", "message": "no"}}'),
    {"success": {"state": "succeeded"}, "failure": {"state": "failed"}},
)
CORTEX: Final = System(
    "cortex",
    "/api/streaming/workflows/{run_id}/stream",
    {"Authorization": f"Bearer {_TOKEN}", "Accept": "text/event-stream"},
    ("step_start", "step_progress", "step_complete", "complete"),
    ("step_progress", '{"stepId": "step-1", "progress": 0.75, "message": "Found 3 issues"}'),
    ("complete", '{"result": "Task completed successfully", "duration": 12500}'),
    ("complete", '{"status": "failed", "error": "the agent gave up"}'),
    {"success": {"duration": 12500}, "failure": {"status": "failed"}},
)
CORTEX_AGENT: Final = replace(
    CORTEX,
    path="/api/streaming/agents/{run_id}/stream",
    types=("progress", "complete"),
    progress=(
        "progress",
        '{"step": "analyzing", "message": "Reading codebase...", "progress": 0.2}',
    ),
    pointer="agent:{run_id}:current",
)
TRAVELMODE: Final = System(
    "travelmode",
    "/v1/agent-runs/{run_id}/stream",
    {"Cookie": "session_token=a-session"},
    ("message",),
    ("PHASE_STARTED", '{"phase": "compose"}'),
    ("run_finished", '{"status": "completed"}'),
    ("failed", '{"error": "no flights"}'),
    {
        "success": {"type": "run_finished", "status": "completed"},
        "failure": {"type": "run_finished", "status": "failed", "error": "no flights"},
    },
)
