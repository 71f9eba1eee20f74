"""Problems: what a client is told when a request can't be served (RFC 9457)."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

import orjson

__all__ = [
    "CONTENT_TYPE",
    "BadCursor",
    "BadHttp",
    "BadParameter",
    "BadRunId",
    "HttpProblem",
    "InternalProblem",
    "Problem",
    "RunNotFound",
    "Unavailable",
    "WrongKeyType",
]

CONTENT_TYPE: Final = "application/problem+json"
_SHOWN: Final = 64


def _shown(value: str) -> str:
    """`value` as it may stand in an answer: printable ASCII, cut to a bounded length."""
    clipped = value if len(value) <= _SHOWN else value[:_SHOWN] + "…"
    return ascii(clipped)


class Problem(Exception):
    """The base of everything that is answered with ``application/problem+json``."""

    status: int
    slug: str
    title: str

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail

    @property
    def headers(self) -> dict[str, str]:
        """Further response headers."""
        return {"cache-control": "no-store"}

    def body(self) -> bytes:
        """The JSON document."""
        return orjson.dumps(
            {
                "type": f"urn:runcast:problem:{self.slug}",
                "title": self.title,
                "status": self.status,
                "detail": self.detail,
            }
        )


class BadHttp(Problem):
    """The bytes are not an HTTP request."""

    status, slug, title = 400, "bad-http", "Not an HTTP request"

    def __init__(self) -> None:
        super().__init__("The request could not be read as HTTP/1.1.")


class BadRunId(Problem):
    """The run id has characters or a length that no run has."""

    status, slug, title = 400, "bad-run-id", "Not a run id"

    def __init__(self, text: str) -> None:
        super().__init__(f"{_shown(text)} is not a run id: use 1 to 128 of A-Z a-z 0-9 _ -.")


class BadCursor(Problem):
    """The cursor is not a stream id."""

    status, slug, title = 400, "bad-cursor", "Not a cursor"

    def __init__(self, source: str, text: str, why: str) -> None:
        super().__init__(
            f"{source} {_shown(text)} is not a cursor ({why}): send back an id as it was received, "
            "such as 1718900000000-0, or leave it out to start at the first event."
        )


class BadParameter(Problem):
    """A query parameter has a value that it can't have."""

    status, slug, title = 400, "bad-parameter", "Bad query parameter"

    def __init__(self, name: str, text: str, expected: str) -> None:
        super().__init__(f"{name}={_shown(text)}: {expected}.")


class RunNotFound(Problem):
    """There is no such run, and the setting says not to wait for it."""

    status, slug, title = 404, "run-not-found", "No such run"

    def __init__(self, run_id: str) -> None:
        super().__init__(f"There is no run {run_id}. It may have expired, or not begun yet.")


class WrongKeyType(Problem):
    """The run's key holds something that is not a stream."""

    status, slug, title = 409, "not-a-stream", "Not a stream"

    def __init__(self, run_id: str) -> None:
        super().__init__(
            f"The key of run {run_id} holds something other than a stream. "
            "Check the key template, or what else writes to that key."
        )


class Unavailable(Problem):
    """It can't be served now, but it will be."""

    status, slug, title = 503, "unavailable", "Temporarily unavailable"

    def __init__(self, detail: str, retry_after_seconds: int) -> None:
        super().__init__(detail)
        self.retry_after_seconds = retry_after_seconds

    @property
    def headers(self) -> dict[str, str]:
        """Adds when to come back."""
        return super().headers | {"retry-after": str(self.retry_after_seconds)}


class InternalProblem(Problem):
    """A defect of ours. The log has the details; the client gets none."""

    status, slug, title = 500, "internal", "Internal error"

    def __init__(self) -> None:
        super().__init__("Something went wrong on our side; the server's log has the details.")


class HttpProblem(Problem):
    """The router's own answers (404, 405) in the same form as the rest."""

    def __init__(self, status: int, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        phrase = HTTPStatus(status).phrase
        self.status = status
        self.slug = phrase.lower().replace(" ", "-")
        self.title = phrase
        self._headers = dict(headers or {})

    @property
    def headers(self) -> dict[str, str]:
        """Keeps the router's headers (`Allow`)."""
        return super().headers | self._headers
