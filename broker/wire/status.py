"""How a run stands, in words for people."""

from typing import Final, NamedTuple

import orjson

__all__ = ["QUEUED", "RUNNING", "RunStatus", "is_outcome", "outcome", "outcome_said", "status_word"]


class RunStatus(NamedTuple):
    """What its worker says of it, or else what can be told from its stream."""

    status: str
    """`queued`, `running`, an outcome, or a word of the worker's own."""
    phase: str | None = None


QUEUED: Final = RunStatus("queued")
"""There are no events yet."""
RUNNING: Final = RunStatus("running")

_COMPLETED: Final = "completed"
_OUTCOMES: Final = frozenset({_COMPLETED, "failed", "cancelled", "timed_out"})
_OUTCOME_OF: Final = {
    **dict.fromkeys(("completed", "complete", "done", "finished"), _COMPLETED),
    **dict.fromkeys(("succeeded", "success", "run_finished"), _COMPLETED),
    **dict.fromkeys(("failed", "error", "run_error", "no_worker", "worker_lost"), "failed"),
    **dict.fromkeys(("cancelled", "canceled"), "cancelled"),
    **dict.fromkeys(("timed_out", "timeout"), "timed_out"),
}
"""Of the words that event types and statuses are made of."""


def status_word(text: str) -> str:
    """A status as it is called here: of the words for the same outcome, one."""
    return _OUTCOME_OF.get(text.lower(), text)


def is_outcome(status: str) -> bool:
    """Whether a run that stands so has ended."""
    return status_word(status) in _OUTCOMES


def outcome(terminal_type: str, said: str | None) -> str:
    """How a run has ended: `completed`, `failed`, `cancelled` or `timed_out`.

    Args:
        terminal_type: the type of the event that ended it.
        said: what its worker says of it, for types that leave it open, such as `done`.
    """
    by_type = _OUTCOME_OF.get(terminal_type.lower(), _COMPLETED)
    if by_type != _COMPLETED or said is None:
        return by_type
    return _OUTCOME_OF.get(said.lower(), by_type)


def outcome_said(data: bytes) -> str | None:
    """What a terminal event's data says of it: its member `status`, else `state`."""
    if b'"stat' not in data:
        return None
    try:
        document = orjson.loads(data)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(document, dict):
        return None
    words = (document.get(name) for name in ("status", "state"))
    return next((word for word in words if isinstance(word, str)), None)
