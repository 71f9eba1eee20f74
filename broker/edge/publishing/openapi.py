"""The part of the OpenAPI document that is about writing."""

from typing import Final

from broker.edge.openapi_parts import (
    JSON,
    NO_STORE,
    RUN_ID_PARAMETER,
    Document,
    closed_object,
    header,
    headers_of,
    problem_response,
    reference,
)
from broker.edge.publishing.documents import (
    MOST_OWNER_CHARACTERS,
    MOST_TYPE_CHARACTERS,
    MOST_VIEWED_CHARACTERS,
)
from broker.edge.publishing.intake import NDJSON
from broker.edge.publishing.limits import PublishingLimits
from broker.edge.publishing.origin import (
    GREATEST_SEQUENCE,
    IDEMPOTENCY_KEY,
    IDEMPOTENCY_KEY_PATTERN,
    PRODUCER,
    PRODUCER_PATTERN,
    SEQUENCE,
)
from broker.edge.publishing.publish import GREATEST_LEASE_SECONDS, LEASE
from broker.wire.ids import RUN_ID_PATTERN
from broker.wire.problem import (
    BadBody,
    BadHeader,
    BadHttp,
    BadRunId,
    IdempotencyKeyReused,
    InternalProblem,
    RunExists,
    RunOver,
    SlowBody,
    TooLarge,
    TooManyRequests,
    Unavailable,
    UnsupportedMediaType,
    WrongKeyType,
)

__all__ = ["publishing_paths", "publishing_schemas"]

_COUNT: Final[Document] = {"type": "integer", "minimum": 0}
_MAYBE_ID: Final[Document] = {"anyOf": [{"type": "null"}, reference("StreamId")]}
_ACCOUNT: Final[Document] = {
    "line": {"type": "integer", "minimum": 1, "description": "Which line is meant."},
    "appended": {**_COUNT, "description": "So many of the first events are in the run."},
    "last_id": {**_MAYBE_ID, "description": "The id of the last of them."},
    "unknown": {**_COUNT, "description": "So many after them may be in the run, or not."},
}
_PATH: Final[Document] = {"type": "string", "pattern": "^/"}


def publishing_paths(limits: PublishingLimits) -> dict[str, Document]:
    """The operations, by path and method."""
    return {
        "/v1/runs": {"post": _create_operation()},
        "/v1/runs/{run_id}/commands": {"post": _command_operation()},
        "/v1/runs/{run_id}/events": {"post": _publish_operation(limits)},
    }


def publishing_schemas() -> Document:
    """What the operations refer to."""
    return {
        "NewRun": closed_object(
            {},
            {
                "run_id": {"type": ["string", "null"], "pattern": f"^{RUN_ID_PATTERN}$"},
                "agent": {"type": ["string", "null"], "pattern": f"^{RUN_ID_PATTERN}$"},
                "input": {"description": "Whatever the worker takes."},
                "owner": {
                    "type": ["string", "null"],
                    "minLength": 1,
                    "maxLength": MOST_OWNER_CHARACTERS,
                    "description": "The subject whose run it is to be, for who asks for others.",
                },
            },
        ),
        "NewCommand": closed_object(
            {"type": {**_type_schema("string"), "minLength": 1}},
            {"data": {"description": "Whatever the worker takes."}},
        ),
        "NewEvent": {
            **closed_object(
                {},
                {
                    "type": _type_schema("string", "null"),
                    "data": {"description": "A text is sent as it is, anything else as JSON."},
                    "final": {"type": "boolean", "description": "Whether it ends the run."},
                    "status": _viewed_schema(),
                    "phase": _viewed_schema(),
                    "producer": {"type": "string", "pattern": f"^{PRODUCER_PATTERN}$"},
                    "sequence": {
                        "type": "integer",
                        "minimum": 1,
                        "maximum": GREATEST_SEQUENCE,
                        "description": "The event's number, which only grows.",
                    },
                },
            ),
            "dependentRequired": {"producer": ["sequence"], "sequence": ["producer"]},
        },
        "AppendedEvent": closed_object(
            {"id": _MAYBE_ID, "duplicate": {"type": "boolean"}},
        ),
    }


def _create_operation() -> Document:
    return {
        "operationId": "createRun",
        "summary": "Asks for a run; answers before any worker has.",
        "parameters": [_idempotency_key_parameter("The same run is answered again, for a day.")],
        "requestBody": _json_body("NewRun"),
        "responses": {
            "201": {
                "description": "It is asked for, or was before by the same key.",
                "headers": {
                    **headers_of(NO_STORE),
                    "Location": header({**_PATH, "description": "The run's events."}),
                },
                "content": {
                    JSON: {
                        "schema": closed_object(
                            {
                                "run_id": {"type": "string", "pattern": f"^{RUN_ID_PATTERN}$"},
                                "events_url": _PATH,
                                "commands_url": _PATH,
                            }
                        )
                    }
                },
            },
            "409": problem_response(RunExists, RunOver, WrongKeyType, final=_MAYBE_ID),
            "422": problem_response(IdempotencyKeyReused),
            **_refusals(BadHeader),
        },
    }


def _command_operation() -> Document:
    return {
        "operationId": "commandRun",
        "summary": "Says something to the run's worker.",
        "parameters": [
            RUN_ID_PARAMETER,
            _idempotency_key_parameter("The same command is not appended again."),
        ],
        "requestBody": _json_body("NewCommand"),
        "responses": {
            "202": {
                "description": "It is where the worker looks for it.",
                "headers": headers_of(NO_STORE),
                "content": {
                    JSON: {
                        "schema": closed_object(
                            {
                                "id": _MAYBE_ID,
                                "open": {
                                    "type": "boolean",
                                    "description": "Whether the run had not ended then.",
                                },
                            }
                        )
                    }
                },
            },
            "409": problem_response(WrongKeyType),
            **_refusals(BadRunId, BadHeader),
        },
    }


def _publish_operation(limits: PublishingLimits) -> Document:
    return {
        "operationId": "publishEvents",
        "summary": "Appends events to the run.",
        "description": (
            f"One event as `{JSON}`, or up to {limits.body_events} as `{NDJSON}`, one a line, "
            "which are appended as they come. Events with `producer` and `sequence` are appended "
            f"once; so are those of a body with `{PRODUCER}` and `{SEQUENCE}`, the number of its "
            f"first event, from which the others count on, or with an `{IDEMPOTENCY_KEY}`. The "
            "first of these three that is given counts. A problem says how many of the body's "
            "first events are in the run."
        ),
        "parameters": [
            RUN_ID_PARAMETER,
            _idempotency_key_parameter("Names the body."),
            {
                "name": LEASE,
                "in": "header",
                "description": "For how many seconds from now the worker is sure to live.",
                "schema": {
                    "type": "integer",
                    "minimum": 1,
                    "maximum": GREATEST_LEASE_SECONDS,
                },
            },
        ],
        "requestBody": {
            "required": True,
            "content": {
                JSON: {"schema": reference("NewEvent")},
                NDJSON: {"schema": {"type": "string"}},
            },
        },
        "responses": {
            "200": {
                "description": "All are in the run.",
                "headers": headers_of(NO_STORE),
                "content": {
                    JSON: {
                        "schema": closed_object(
                            {
                                "events": {
                                    "type": "array",
                                    "maxItems": limits.body_events,
                                    "items": reference("AppendedEvent"),
                                },
                                "last_id": _MAYBE_ID,
                            }
                        )
                    }
                },
            },
            "409": problem_response(RunOver, WrongKeyType, final=_MAYBE_ID, **_ACCOUNT),
            **_refusals(BadRunId, BadHeader, **_ACCOUNT),
        },
    }


def _refusals(*bad: type[BadRunId | BadHeader], **members: Document) -> Document:
    """What all operations may answer."""
    return {
        "400": problem_response(*bad, BadBody, BadHttp, **members),
        "408": problem_response(SlowBody, **members),
        "413": problem_response(TooLarge, **members),
        "415": problem_response(UnsupportedMediaType, **members),
        "429": problem_response(TooManyRequests, **members),
        "500": problem_response(InternalProblem),
        "503": problem_response(Unavailable, **members),
    }


def _idempotency_key_parameter(description: str) -> Document:
    return {
        "name": IDEMPOTENCY_KEY,
        "in": "header",
        "description": description,
        "schema": {"type": "string", "pattern": f"^{IDEMPOTENCY_KEY_PATTERN}$"},
    }


def _json_body(name: str) -> Document:
    return {"required": True, "content": {JSON: {"schema": reference(name)}}}


def _type_schema(*types: str) -> Document:
    return {
        "type": list(types) if len(types) > 1 else types[0],
        "maxLength": MOST_TYPE_CHARACTERS,
        "pattern": r"^(?!runcast\.)[^\r\n\u0000]*$",
    }


def _viewed_schema() -> Document:
    return {
        "type": ["string", "null"],
        "maxLength": MOST_VIEWED_CHARACTERS,
        "description": "For viewers; null leaves it as it is.",
    }
