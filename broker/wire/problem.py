"""Problems: what a client is told when a request can't be served (RFC 9457)."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

import orjson

__all__ = [
    "CONTENT_TYPE",
    "BadBody",
    "BadCursor",
    "BadHeader",
    "BadHttp",
    "BadParameter",
    "BadRunId",
    "Forbidden",
    "HeadersTooLarge",
    "HttpProblem",
    "IdempotencyKeyReused",
    "InternalProblem",
    "NotAuthenticated",
    "Problem",
    "RunExists",
    "RunNotFound",
    "RunOver",
    "SessionUnknown",
    "SlowBody",
    "SlowHeaders",
    "SubscriberNotFound",
    "TargetTooLong",
    "TooLarge",
    "TooManyConnections",
    "TooManyRequests",
    "TooManyStreams",
    "Unavailable",
    "UnsupportedMediaType",
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
        self.members: dict[str, Any] = {}
        """Further members of the document, for programs (RFC 9457, 3.2)."""

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
                **self.members,
            }
        )


class BadHttp(Problem):
    """The bytes are not an HTTP request."""

    status, slug, title = 400, "bad-http", "Not an HTTP request"

    def __init__(self) -> None:
        super().__init__("The request could not be read as HTTP/1.1.")


class SlowHeaders(Problem):
    """The request's head did not come."""

    status, slug, title = 408, "slow-headers", "The request took too long"

    def __init__(self, seconds: float) -> None:
        super().__init__(f"The request's head was not complete within {seconds:g} s.")


class TargetTooLong(Problem):
    """The request's target is longer than what is taken."""

    status, slug, title = 414, "target-too-long", "The request's target is too long"

    def __init__(self, most_bytes: int) -> None:
        super().__init__(f"It has more than {most_bytes} bytes, which is the most that is taken.")


class HeadersTooLarge(Problem):
    """The request's headers are larger than what is taken (RFC 6585, 5)."""

    status, slug, title = 431, "headers-too-large", "The request's headers are too large"

    def __init__(self, most_bytes: int) -> None:
        super().__init__(
            f"They have more than {most_bytes} bytes, which is the most that is taken."
        )


class BadRunId(Problem):
    """The run id has characters or a length that no run has."""

    status, slug, title = 400, "bad-run-id", "Not a run id"

    def __init__(self, text: str) -> None:
        super().__init__(f"{_shown(text)} is not a run id: use 1 to 128 of A-Z a-z 0-9 _ -.")


class BadCursor(Problem):
    """The cursor is not a stream id."""

    status, slug, title = 400, "bad-cursor", "Not a cursor"

    def __init__(self, source: str, text: str, why: str, example: str = "1718900000000-0") -> None:
        super().__init__(
            f"{source} {_shown(text)} is not a cursor ({why}): send back an id as it was received, "
            f"such as {example}, or leave it out to start at the first event."
        )


class BadParameter(Problem):
    """A query parameter has a value that it can't have."""

    status, slug, title = 400, "bad-parameter", "Bad query parameter"

    def __init__(self, name: str, text: str, expected: str) -> None:
        super().__init__(f"{name}={_shown(text)}: {expected}.")


class BadHeader(Problem):
    """A request header has a value that it can't have."""

    status, slug, title = 400, "bad-header", "Bad request header"

    def __init__(self, name: str, text: str, expected: str) -> None:
        super().__init__(f"{name}: {_shown(text)}: {expected}.")


class BadBody(Problem):
    """The request's body is not what is taken here."""

    status, slug, title = 400, "bad-body", "Bad request body"

    def __init__(self, why: str, line: int | None = None) -> None:
        """
        Args:
            why: what is wrong, as a clause without its full stop.
            line: the number of the line, from 1, where the body is read line by line.
        """
        super().__init__(f"{'The body' if line is None else f'Line {line}'}: {why}.")
        if line is not None:
            self.members["line"] = line


class SlowBody(Problem):
    """The request's body did not come on."""

    status, slug, title = 408, "slow-body", "The body took too long"

    def __init__(self, seconds: float) -> None:
        super().__init__(f"Nothing complete came for {seconds:g} s: send faster, or in parts.")


class TooLarge(Problem):
    """The request's body, or an event in it, is larger than what is taken."""

    status, slug, title = 413, "too-large", "Too large"

    def __init__(self, what: str, most: int, unit: str, line: int | None = None) -> None:
        """
        Args:
            what: that is too large, such as "The body".
            most: how much is taken.
            unit: of that.
            line: the number of the line, from 1, where the body is read line by line.
        """
        super().__init__(f"{what} has more than {most} {unit}, which is the most that is taken.")
        if line is not None:
            self.members["line"] = line


class UnsupportedMediaType(Problem):
    """The request's body is in a format that is not read here."""

    status, slug, title = 415, "unsupported-media-type", "Unsupported media type"

    def __init__(self, text: str, expected: str) -> None:
        super().__init__(f"{_shown(text)} is not read here: {expected}.")


class IdempotencyKeyReused(Problem):
    """The key was used before, for something else."""

    status, slug, title = 422, "idempotency-key-reused", "Idempotency-Key is already used"

    def __init__(self) -> None:
        super().__init__(
            "This Idempotency-Key came before with another request: send that one again, or take "
            "a new key for this one."
        )


class TooManyRequests(Problem):
    """More than the rate that is taken."""

    status, slug, title = 429, "too-many-requests", "Too many requests"

    def __init__(self, detail: str, retry_after_seconds: int) -> None:
        super().__init__(detail)
        self.retry_after_seconds = retry_after_seconds

    @property
    def headers(self) -> dict[str, str]:
        """Adds when to come back."""
        return super().headers | {"retry-after": str(self.retry_after_seconds)}


class NotAuthenticated(Problem):
    """Nothing in the request proves who asks."""

    status, slug, title = 401, "not-authenticated", "Not authenticated"

    @property
    def headers(self) -> dict[str, str]:
        """Adds the scheme that may prove it (RFC 9110, 11.6.1; RFC 6750, 3)."""
        return super().headers | {"www-authenticate": 'Bearer realm="runcast"'}


class Forbidden(Problem):
    """It is known who asks, and they may not."""

    status, slug, title = 403, "forbidden", "Forbidden"


class RunNotFound(Problem):
    """There is no such run, and the setting says not to wait for it; or it is nothing to those who
    ask, and the setting says not to tell them of it."""

    status, slug, title = 404, "run-not-found", "No such run"

    def __init__(self) -> None:
        # The same for all of these, so that they can't be told apart.
        super().__init__(
            "There is no such run, or not for you. It may have expired, or not begun yet."
        )


class SubscriberNotFound(Problem):
    """No viewer that is connected has this id."""

    status, slug, title = 404, "subscriber-not-found", "No such subscriber"

    def __init__(self, text: str) -> None:
        super().__init__(
            f"No viewer here is called {_shown(text)}, or not any more: see GET /admin/subscribers."
        )


class SessionUnknown(Problem):
    """A session that is to be resumed has no run, or none any more."""

    status, slug, title = 404, "session-unknown", "No such session"

    def __init__(self, session_id: str) -> None:
        super().__init__(
            f"The session {session_id} has no run to resume: it may be over for too long. Ask "
            "without resume_from_index for a new one."
        )


class WrongKeyType(Problem):
    """The run's key holds something that is not a stream."""

    status, slug, title = 409, "not-a-stream", "Not a stream"

    def __init__(self, run_id: str) -> None:
        super().__init__(
            f"The key of run {run_id} holds something other than a stream. "
            "Check the key template, or what else writes to that key."
        )


class RunOver(Problem):
    """The run has ended: nothing comes after its terminal event."""

    status, slug, title = 409, "run-ended", "The run has ended"

    def __init__(self, run_id: str, final: str | None) -> None:
        """
        Args:
            run_id: the run.
            final: the id of its terminal event, where it is known.
        """
        super().__init__(f"Run {run_id} has ended: nothing comes after its terminal event.")
        self.members["final"] = final


class RunExists(Problem):
    """The run id was used for another request."""

    status, slug, title = 409, "run-exists", "The run exists"

    def __init__(self, run_id: str) -> None:
        super().__init__(f"Run {run_id} was asked for before, otherwise: take another run id.")


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


class TooManyStreams(Unavailable):
    """There are as many streams as there may be."""

    slug, title = "too-many-streams", "Too many streams"


class TooManyConnections(Unavailable):
    """There are as many connections as there may be."""

    slug, title = "too-many-connections", "Too many connections"


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
