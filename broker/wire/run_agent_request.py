"""What run-agent's clients ask for: the body of `POST /v1/agents/{agent_id}/stream`.

Also how they are told of problems: they read ``error.message`` and ``error.code``, which stand in
the problem document beside ours.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson

from broker.wire.ids import RUN_ID_PATTERN, is_run_id
from broker.wire.problem import BadBody, Problem
from broker.wire.run_agent import RunAgent

__all__ = ["MOST_DELAY_MILLISECONDS", "MOST_GRAPHEMES", "StreamRequest", "with_error"]

MOST_DELAY_MILLISECONDS: Final = 60_000
MOST_GRAPHEMES: Final = 100_000
_GREATEST_INDEX: Final = (1 << 53) - 1
"""The greatest whole number that every JSON reader takes exactly."""

_MISSING: Final = "MISSING_REQUIRED_FIELD"
_WRONG: Final = "INVALID_FIELD_VALUE"
_WRONG_TYPE: Final = "INVALID_FIELD_TYPE"
_CODES: Final = {
    400: "INVALID_REQUEST",
    401: "INVALID_API_KEY",
    403: "FORBIDDEN",
    404: "NOT_FOUND",
    409: "CONFLICT",
    413: "REQUEST_TOO_LARGE",
    415: "UNSUPPORTED_MEDIA_TYPE",
    422: "UNPROCESSABLE",
    429: "RATE_LIMIT_EXCEEDED",
    503: "SERVICE_UNAVAILABLE",
}
_OTHER_CODE: Final = "INTERNAL_ERROR"


@dataclass(frozen=True, slots=True)
class StreamRequest:
    """A checked request for an agent's answer, or for the rest of one."""

    query: str
    parameters: Mapping[str, Any]
    """All of them, as they were given: they are the worker's, too."""
    session_id: str | None = None
    resume_from: int | None = None
    """The rest of the session's current run from this index on, instead of a new run."""
    delay_seconds: float = 0
    """At most one event in this time."""
    chunk_size: int | None = None
    """Text in pieces of at most so many graphemes."""

    @classmethod
    def parse(cls, body: bytes) -> "StreamRequest":
        """The request that this JSON makes; members that are not known are ignored.

        Raises:
            Problem: it makes none.
        """
        try:
            document = orjson.loads(body)
        except orjson.JSONDecodeError:
            raise with_error(BadBody("it is not JSON")) from None
        if not isinstance(document, dict):
            raise with_error(BadBody("it is not a JSON object"))
        query = document.get("query")
        if query is None or query == "":
            raise _refused(_MISSING, "query", "is required")
        if not isinstance(query, str):
            raise _refused(_WRONG_TYPE, "query", "must be a string")
        parameters = document.get("parameters") or {}
        if not isinstance(parameters, dict):
            raise _refused(_WRONG_TYPE, "parameters", "must be an object")
        try:
            orjson.dumps({"parameters": parameters})
        except orjson.JSONEncodeError:
            raise with_error(BadBody("it is nested too deeply")) from None
        session_id = document.get("session_id")
        if session_id is not None and not (isinstance(session_id, str) and is_run_id(session_id)):
            raise _refused(_WRONG, "session_id", f"must match {RUN_ID_PATTERN}")
        resume_from = _whole(parameters, "resume_from_index", 0, _GREATEST_INDEX)
        if resume_from is not None and session_id is None:
            raise _refused(_MISSING, "session_id", "is required to resume")
        delay = _whole(parameters, "stream_delay_ms", 0, MOST_DELAY_MILLISECONDS)
        size = _whole(parameters, "chunk_size", 1, MOST_GRAPHEMES)
        return cls(query, parameters, session_id, resume_from, (delay or 0) / 1000, size)

    def input(self, session_id: str) -> str:
        """What the worker is given: the request as JSON text.

        Args:
            session_id: the request's, or the one that was made for it.
        """
        document = {
            "query": self.query,
            "parameters": self.parameters,
            "session_id": session_id,
        }
        return orjson.dumps(document).decode()

    def dialect(self, session_id: str) -> RunAgent:
        """How the run looks to this client."""
        return RunAgent(session_id, self.chunk_size)

    def history(self, session_id: str) -> RunAgent | None:
        """How what is replayed of it looks to them, where that is different."""
        if not self.resume_from:
            return None
        return RunAgent(session_id, self.chunk_size, self.resume_from)


def with_error(
    problem: Problem, code: str | None = None, details: Mapping[str, Any] | None = None
) -> Problem:
    """The problem, with the member that run-agent's clients look for.

    Args:
        problem: any.
        code: what they know it by; `None` for the one that fits the status.
        details: for programs.
    """
    error: dict[str, Any] = {
        "code": code or _CODES.get(problem.status, _OTHER_CODE),
        "message": problem.detail,
        "status": problem.status,
    }
    if details:
        error["details"] = dict(details)
    retry_after = problem.headers.get("retry-after", "")
    if retry_after.isdigit():
        error["retry_after"] = int(retry_after)
    problem.members["error"] = error
    return problem


def _whole(parameters: Mapping[str, Any], name: str, least: int, most: int) -> int | None:
    value = parameters.get(name)
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool):
        raise _refused(_WRONG_TYPE, name, "must be a whole number")
    if not least <= value <= most:
        raise _refused(_WRONG, name, f"must be from {least} to {most}")
    return value


def _refused(code: str, name: str, why: str) -> Problem:
    return with_error(BadBody(f"field '{name}' {why}"), code, {"field": name})
