"""The part of the OpenAPI document that is about administration."""

from collections.abc import Iterable
from enum import StrEnum
from typing import Final

from broker.edge.admin.drain_body import LONGEST_DRAIN_SECONDS
from broker.edge.admin.paths import (
    DRAIN_PATH,
    OVERVIEW_PATH,
    RUNS_PATH,
    SUBSCRIBER_PATH,
    SUBSCRIBERS_PATH,
    USUAL_ROWS,
)
from broker.edge.admin.questions import MOST_ROWS, RunOrder, SubscriberOrder, SubscriberState
from broker.edge.connection_ids import CONNECTION_ID_PATTERN
from broker.edge.openapi_parts import (
    JSON,
    NO_STORE,
    Document,
    closed_object,
    headers_of,
    problem_response,
    reference,
)
from broker.engine.ending import Ending
from broker.wire.ids import RUN_ID_PATTERN
from broker.wire.problem import (
    BadBody,
    BadHttp,
    BadParameter,
    Forbidden,
    InternalProblem,
    SlowBody,
    SubscriberNotFound,
    TooLarge,
    Unavailable,
    UnsupportedMediaType,
)

__all__ = ["admin_paths", "admin_schemas"]

_COUNT: Final[Document] = {"type": "integer", "minimum": 0}
_SECONDS: Final[Document] = {"type": "number", "minimum": 0}
_RATE: Final[Document] = {"type": "number"}
_TEXT: Final[Document] = {"type": "string"}
_RUN_ID: Final[Document] = {"type": "string", "pattern": f"^{RUN_ID_PATTERN}$"}
_ID: Final[Document] = {"type": "string", "pattern": f"^{CONNECTION_ID_PATTERN}$"}


def admin_paths() -> dict[str, Document]:
    """The operations, by path and method."""
    return {
        OVERVIEW_PATH: {"get": _overview()},
        RUNS_PATH: {"get": _runs()},
        SUBSCRIBERS_PATH: {"get": _subscribers()},
        SUBSCRIBER_PATH: {"delete": _disconnect()},
        DRAIN_PATH: {"post": _drain()},
    }


def admin_schemas() -> Document:
    """What the operations refer to."""
    return {
        "Overview": closed_object(
            {
                "version": _TEXT,
                "started_at": {"type": "string", "format": "date-time"},
                "workers": _COUNT,
                "draining": {"type": "boolean"},
                "authentication": {"type": "boolean"},
                "redis": {"enum": ["ok", "unreachable"]},
                "tail": closed_object({"notify": _COUNT, "block": _COUNT}),
                "totals": _counts(
                    *("subscribers", "live", "behind", "runs", "subscriptions", "events_read"),
                    *("frames_delivered", "bytes_delivered", "gaps", "slow", "stalled", "refused"),
                ),
                "endings": _counts(*(ending.value for ending in Ending)),
                "latency": closed_object({"p50": _or_null(_SECONDS), "p99": _or_null(_SECONDS)}),
                "processes": {"type": "array", "items": reference("Process")},
                "silent": _SILENT,
            }
        ),
        "Process": closed_object(
            {
                **dict.fromkeys(("worker", "pid", "subscribers", "live", "runs"), _COUNT),
                "rss_bytes": _COUNT,
                "cpu_seconds": _SECONDS,
                "uptime_seconds": _RATE,
            }
        ),
        "WatchedRun": closed_object(
            {
                "run_id": _RUN_ID,
                "profile": _TEXT,
                **dict.fromkeys(("viewers", "live", "behind"), _COUNT),
                "end": reference("StreamId"),
                "final": _or_null(reference("StreamId")),
                "lag_seconds": {
                    **_or_null(_SECONDS),
                    "description": "How old the newest event was when it was pushed.",
                },
                "events": {**_COUNT, "description": "Read since it is watched."},
                "bytes": {**_COUNT, "description": "Sent to its viewers since then."},
            }
        ),
        "Subscriber": closed_object(
            {
                "id": _ID,
                "worker": _COUNT,
                "run_id": _RUN_ID,
                "profile": _TEXT,
                "subject": _or_null(_TEXT),
                "address": _or_null(_TEXT),
                "state": {"enum": [state.value for state in SubscriberState]},
                "age_seconds": _RATE,
                "position": reference("StreamId"),
                "lag_seconds": {
                    **_or_null(_SECONDS),
                    "description": "How far it is behind the run's end, by the ids' times.",
                },
                **dict.fromkeys(("unsent_bytes", "events", "bytes"), _COUNT),
                "events_per_second": _RATE,
                "bytes_per_second": _RATE,
            }
        ),
    }


_SILENT: Final[Document] = {
    "type": "array",
    "items": _COUNT,
    "description": "Workers that did not answer in time: what follows lacks what is theirs.",
}


def _overview() -> Document:
    return {
        "operationId": "getOverview",
        "summary": "How the edge is, all its processes together.",
        "responses": _responses("200", "How it is.", reference("Overview")),
    }


def _runs() -> Document:
    return {
        "operationId": "listWatchedRuns",
        "summary": "The runs that are watched here, those with most of something first.",
        "parameters": [_order(RunOrder, RunOrder.VIEWERS), _LIMIT],
        "responses": _responses(
            *("200", "The runs."), _list_of("runs", "WatchedRun"), _BAD_PARAMETER
        ),
    }


def _subscribers() -> Document:
    return {
        "operationId": "listSubscribers",
        "summary": "The viewers, those with most of something first.",
        "parameters": [
            _query("run", "Only of this run.", _TEXT),
            _query("subject", "Only this one's.", _TEXT),
            _query("state", "Only those.", _choice(SubscriberState)),
            _order(SubscriberOrder, SubscriberOrder.AGE),
            _LIMIT,
        ],
        "responses": _responses(
            *("200", "The viewers."), _list_of("subscribers", "Subscriber"), _BAD_PARAMETER
        ),
    }


def _disconnect() -> Document:
    return {
        "operationId": "disconnectSubscriber",
        "summary": "Ends a viewer's connection. Its client may come back.",
        "parameters": [{"name": "id", "in": "path", "required": True, "schema": _ID}],
        "responses": _responses(
            *("204", "It is ended.", None),
            {"404": problem_response(SubscriberNotFound), "503": problem_response(Unavailable)},
        ),
    }


def _drain() -> Document:
    return {
        "operationId": "drain",
        "summary": "Takes no new viewers, and sends the present ones elsewhere. Idempotent.",
        "requestBody": {
            "required": False,
            "content": {
                JSON: {
                    "schema": closed_object(
                        {},
                        {
                            "seconds": {
                                "type": "number",
                                "exclusiveMinimum": 0,
                                "maximum": LONGEST_DRAIN_SECONDS,
                                "description": "Over which they go.",
                            }
                        },
                    )
                }
            },
        },
        "responses": _responses(
            "202",
            "It has begun, or had before.",
            closed_object({"draining": {"const": True}, "subscribers": _COUNT, "silent": _SILENT}),
            {
                "400": problem_response(BadBody, BadHttp),
                "408": problem_response(SlowBody),
                "413": problem_response(TooLarge),
                "415": problem_response(UnsupportedMediaType),
            },
        ),
    }


_BAD_PARAMETER: Final[Document] = {"400": problem_response(BadParameter, BadHttp)}


def _responses(
    status: str, description: str, schema: Document | None, others: Document | None = None
) -> Document:
    good: Document = {"description": description, "headers": headers_of(NO_STORE)}
    if schema is not None:
        good["content"] = {JSON: {"schema": schema}}
    responses: Document = {
        status: good,
        "400": problem_response(BadHttp),
        "403": problem_response(Forbidden),
        "500": problem_response(InternalProblem),
        **(others or {}),
    }
    return dict(sorted(responses.items()))


def _query(name: str, description: str, schema: Document) -> Document:
    return {"name": name, "in": "query", "description": description, "schema": schema}


def _order(kind: type[StrEnum], usual: StrEnum) -> Document:
    return _query("order", "Which come first.", {**_choice(kind), "default": usual.value})


_LIMIT: Final = _query(
    "limit",
    "The most rows.",
    {"type": "integer", "minimum": 1, "maximum": MOST_ROWS, "default": USUAL_ROWS},
)


def _choice(values: Iterable[StrEnum]) -> Document:
    return {"type": "string", "enum": [value.value for value in values]}


def _list_of(name: str, row: str) -> Document:
    return closed_object(
        {
            name: {"type": "array", "maxItems": MOST_ROWS, "items": reference(row)},
            "more": {"type": "boolean", "description": "Whether there are more."},
            "silent": _SILENT,
        }
    )


def _counts(*names: str) -> Document:
    return closed_object(dict.fromkeys(names, _COUNT))


def _or_null(schema: Document) -> Document:
    return {"anyOf": [{"type": "null"}, schema]}
