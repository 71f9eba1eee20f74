"""`/openapi.json`: what this edge serves, as an OpenAPI 3.1 document.

Made from what the code itself goes by (the limits of this edge, the forms of ids, the problems and
gap reasons), so that it is true of the edge that answers it. It is meant for machines: generators
of clients, and the tests' fuzzer. People are better served by `docs/wire.md`.
"""

from collections.abc import Collection
from typing import Final

import orjson
from starlette.requests import Request
from starlette.responses import Response

from broker import __version__
from broker.edge.admin.openapi import admin_paths, admin_schemas
from broker.edge.auth.gate import EdgeRoute, public_route
from broker.edge.auth.identity import CredentialKind
from broker.edge.auth.openapi import ticket_paths, ticket_schemas
from broker.edge.auth.presented import API_KEY, TICKET
from broker.edge.events import JSON_HEADERS
from broker.edge.openapi_parts import (
    JSON,
    NO_STORE,
    RUN_ID_PARAMETER,
    Document,
    closed_object,
    decimal,
    header,
    headers_of,
    problem_response,
    reference,
)
from broker.edge.publishing.limits import PublishingLimits
from broker.edge.publishing.openapi import publishing_paths, publishing_schemas
from broker.edge.streaming import STREAM_HEADERS
from broker.wire.gap import GapReason
from broker.wire.ids import GREATEST_PART, RUN_ID_PATTERN
from broker.wire.problem import (
    BadCursor,
    BadHttp,
    BadParameter,
    BadRunId,
    Forbidden,
    HeadersTooLarge,
    InternalProblem,
    NotAuthenticated,
    RunNotFound,
    SlowHeaders,
    TargetTooLong,
    TooManyConnections,
    TooManyStreams,
    Unavailable,
    WrongKeyType,
)
from broker.wire.request import CURSOR_PARAMETERS, MAX_TYPES, EventsRequest, RequestLimits

__all__ = ["make_document", "openapi_route"]

_STREAM: Final = "text/event-stream"
_SAMPLE_ID: Final = "1718900000000-0"


def openapi_route(
    limits: RequestLimits,
    publishing: PublishingLimits | None,
    kinds: Collection[CredentialKind] = (),
    *,
    metrics_public: bool = False,
    admin: bool = False,
) -> EdgeRoute:
    """The route that serves the document; see `make_document`."""
    document = make_document(limits, publishing, kinds, metrics_public=metrics_public, admin=admin)
    body = orjson.dumps(document)

    async def show_document(request: Request) -> Response:
        return Response(body, headers=NO_STORE, media_type=JSON)

    return public_route("/openapi.json", show_document, "it tells of no run")


def make_document(
    limits: RequestLimits,
    publishing: PublishingLimits | None,
    kinds: Collection[CredentialKind] = (),
    *,
    metrics_public: bool = False,
    admin: bool = False,
) -> Document:
    """The document.

    Args:
        limits: what may be asked of this edge.
        publishing: what may be sent to it; `None` where nothing is taken.
        kinds: what proves who asks; empty where everyone may do everything.
        metrics_public: whether everyone may read the metrics all the same.
        admin: whether there is an `/admin`.
    """
    paths: dict[str, Document] = {
        "/v1/runs/{run_id}/events": {"get": _events_operation(limits)},
        "/healthz": {"get": _healthz_operation()},
        "/readyz": {"get": _readyz_operation()},
        "/metrics": {"get": _metrics_operation()},
        "/openapi.json": {"get": _openapi_operation()},
    }
    schemas = _schemas(limits)
    if publishing is not None:
        for path, operations in publishing_paths(publishing).items():
            paths.setdefault(path, {}).update(operations)
        schemas |= publishing_schemas()
    if CredentialKind.TICKET in kinds:
        paths |= ticket_paths(kinds)
        schemas |= ticket_schemas()
    if admin:
        paths |= admin_paths()
        schemas |= admin_schemas()
    components: Document = {"schemas": schemas}
    if kinds:
        public = _PUBLIC | ({"/metrics"} if metrics_public else set())
        for path in paths.keys() - public:
            for operation in paths[path].values():
                _secure(operation, path, kinds)
        components["securitySchemes"] = {
            kind.value: _SCHEMES[kind] for kind in CredentialKind if kind in kinds
        }
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Runcast",
            "version": __version__,
            "summary": "Runs' events as server-sent events or as JSON pages.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": components,
    }


_PUBLIC: Final = {"/healthz", "/readyz", "/openapi.json"}
_SCHEMES: Final[dict[CredentialKind, Document]] = {
    CredentialKind.TICKET: {"type": "apiKey", "in": "query", "name": TICKET},
    CredentialKind.API_KEY: {"type": "apiKey", "in": "header", "name": API_KEY},
    CredentialKind.BEARER: {"type": "http", "scheme": "bearer"},
    # The name is the application's; the whole header counts where it is not set.
    CredentialKind.SESSION: {"type": "apiKey", "in": "header", "name": "Cookie"},
}


def _secure(operation: Document, path: str, kinds: Collection[CredentialKind]) -> None:
    """Adds what proves who asks, and what is answered to who can't."""
    operation.setdefault("security", [{kind.value: []} for kind in CredentialKind if kind in kinds])
    refusals: Document = {
        "401": problem_response(NotAuthenticated),
        "403": problem_response(Forbidden),
        "503": problem_response(Unavailable),
    }
    if "{run_id}" in path:
        refusals["404"] = problem_response(RunNotFound)
    operation["responses"] = dict(sorted((refusals | operation["responses"]).items()))


# ---- a run's events


def _events_operation(limits: RequestLimits) -> Document:
    return {
        "operationId": "getRunEvents",
        "summary": "A run's events: a stream, or one page of JSON.",
        "description": (
            f"With `Accept: {JSON}` the answer is a page, else a stream. Parameters that are not "
            "listed are ignored; of one that is given several times, the last counts."
        ),
        "parameters": [
            RUN_ID_PARAMETER,
            {
                "name": "Last-Event-ID",
                "in": "header",
                "description": "What comes after this id. Wins over the query. Empty is absent.",
                "schema": reference("Cursor"),
            },
            *(
                _query(name, "The same for clients that can't set headers.", reference("Cursor"))
                for name in CURSOR_PARAMETERS
            ),
            _query("from", "Where to begin without a cursor.", _from_schema(limits)),
            _query(
                "types",
                "Only these types, comma-separated.",
                {"type": "string", "pattern": _types_pattern()},
            ),
            _query(
                "control",
                "Whether control events are sent.",
                {"type": "string", "enum": ["0", "1"], "default": "1"},
            ),
            _query(
                "heartbeat",
                "What a heartbeat is.",
                {"type": "string", "enum": ["comment", "event"], "default": "comment"},
            ),
            _query(
                "limit",
                "The most events of a page.",
                {
                    "type": "integer",
                    "minimum": 1,
                    "maximum": limits.page_events,
                    "default": _without_parameters(limits).limit,
                },
            ),
            _query(
                "wait",
                "How many seconds a page waits for an event where there is none.",
                {"type": "number", "minimum": 0, "maximum": limits.wait_seconds, "default": 0},
            ),
        ],
        "responses": {
            "200": {
                "description": "The stream, or the page.",
                "headers": {
                    "Cache-Control": header({"type": "string", "pattern": "^no-store"}),
                    "X-Content-Type-Options": header(
                        {"const": STREAM_HEADERS["x-content-type-options"]}
                    ),
                    "X-Accel-Buffering": header(
                        {"const": STREAM_HEADERS["x-accel-buffering"]}, required=False
                    ),
                    "Vary": header({"const": JSON_HEADERS["vary"]}, required=False),
                    "Runcast-Gap": {
                        "description": "With `control=0`, on a stream: a gap at its beginning.",
                        "schema": {"type": "string"},
                    },
                },
                "content": {
                    _STREAM: {"schema": {"type": "string"}},
                    JSON: {"schema": reference("Page")},
                },
            },
            "204": {
                "description": "To who asked for a stream: the run is over, and nothing is left.",
                "headers": headers_of(NO_STORE),
            },
            "400": problem_response(BadRunId, BadCursor, BadParameter, BadHttp),
            "404": problem_response(RunNotFound),
            "408": problem_response(SlowHeaders),
            "409": problem_response(WrongKeyType),
            "414": problem_response(TargetTooLong),
            "431": problem_response(HeadersTooLarge),
            "500": problem_response(InternalProblem),
            "503": problem_response(Unavailable, TooManyStreams, TooManyConnections),
        },
    }


def _without_parameters(limits: RequestLimits) -> EventsRequest:
    return EventsRequest.parse(last_event_id=(), accept="", query={}, limits=limits)


def _query(name: str, description: str, schema: Document) -> Document:
    return {"name": name, "in": "query", "description": description, "schema": schema}


def _from_schema(limits: RequestLimits) -> Document:
    return {
        "anyOf": [
            {"const": ""},
            {"const": "latest"},
            {
                "type": "string",
                "pattern": f"^-{decimal(1, limits.page_events)}$",
                "description": "So many of the newest.",
            },
            {
                "type": "string",
                "format": "date-time",
                # Not before 1970, wherever the clock is; and no leap seconds.
                "pattern": (
                    r"^(197[1-9]|19[89][0-9]|[2-9][0-9]{3})-[0-9]{2}-[0-9]{2}"
                    r"T[0-9]{2}:[0-9]{2}:[0-5][0-9](\.[0-9]{1,6})?(Z|[+-][0-9]{2}:[0-9]{2})$"
                ),
                "description": "What is as old as that, and newer.",
            },
        ]
    }


def _types_pattern() -> str:
    return f"^(,*[^,]+(,+[^,]+){{0,{MAX_TYPES - 1}}},*)?$"


# ---- health and metrics


def _healthz_operation() -> Document:
    return {
        "operationId": "getHealth",
        "summary": "Whether the process works.",
        "responses": {
            "200": _state_response("It works.", "ok"),
            "500": _state_response("It has to be restarted.", "broken"),
        },
    }


def _readyz_operation() -> Document:
    return {
        "operationId": "getReadiness",
        "summary": "Whether viewers should be sent here.",
        "responses": {
            "200": _state_response("They should.", "ready"),
            "503": _state_response("They should not, for now.", "draining", "redis-unreachable"),
        },
    }


def _metrics_operation() -> Document:
    text = {"schema": {"type": "string"}}
    return {
        "operationId": "getMetrics",
        "summary": "Metrics for Prometheus, in its own format or in OpenMetrics'.",
        "responses": {
            "200": {
                "description": "The metrics.",
                "content": {"text/plain": text, "application/openmetrics-text": text},
            }
        },
    }


def _openapi_operation() -> Document:
    return {
        "operationId": "getDocument",
        "summary": "This document.",
        "responses": {
            "200": {
                "description": "This document.",
                "headers": headers_of(NO_STORE),
                "content": {JSON: {"schema": {"type": "object"}}},
            }
        },
    }


def _state_response(description: str, *states: str) -> Document:
    return {
        "description": description,
        "headers": headers_of(NO_STORE),
        "content": {
            JSON: {
                "schema": closed_object(
                    {"status": {"enum": list(states)}, "detail": {"type": "string"}},
                )
            }
        },
    }


# ---- what they have in common


def _schemas(limits: RequestLimits) -> Document:
    part = decimal(0, GREATEST_PART)
    return {
        "StreamId": {
            "type": "string",
            "pattern": f"^{part}-{part}$",
            "description": "An event's id: two unsigned 64-bit numbers, as Redis writes them.",
            "examples": [_SAMPLE_ID],
        },
        "Cursor": {
            "type": "string",
            "pattern": f"^({part}-{part})?$",
            "description": "The id of the last event that was seen.",
            "examples": [_SAMPLE_ID],
        },
        "Page": closed_object(
            {
                "run_id": {"type": "string", "pattern": f"^{RUN_ID_PATTERN}$"},
                "events": {
                    "type": "array",
                    "maxItems": limits.page_events,
                    "items": reference("Event"),
                },
                "next": {
                    **reference("StreamId"),
                    "description": "The cursor to ask again with.",
                },
                "has_more": {"type": "boolean", "description": "Whether there is more now."},
                "final": {"type": "boolean", "description": "Whether there will be no more."},
                "gap": {"anyOf": [{"type": "null"}, reference("Gap")]},
            }
        ),
        "Event": closed_object(
            {
                "id": reference("StreamId"),
                "type": {"type": ["string", "null"], "pattern": r"^[^\r\n\u0000]+$"},
                "data": {"type": "string", "description": "As it was written."},
                "time": {
                    "type": ["string", "null"],
                    "format": "date-time",
                    "description": "When it was appended, where its id says so.",
                },
            }
        ),
        "Gap": closed_object(
            {
                "requested": reference("StreamId"),
                "resumed_at": {"anyOf": [{"type": "null"}, reference("StreamId")]},
                "reason": {"enum": [reason.value for reason in GapReason]},
            }
        ),
    }
