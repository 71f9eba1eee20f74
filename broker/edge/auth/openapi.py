"""The part of the OpenAPI document that is about tickets."""

from collections.abc import Collection

from broker.edge.auth.identity import CredentialKind
from broker.edge.auth.ticket_endpoint import TICKET_MAKERS, TICKETS_PATH
from broker.edge.auth.tickets import TICKET_ACTIONS
from broker.edge.openapi_parts import (
    JSON,
    NO_STORE,
    RUN_ID_PARAMETER,
    Document,
    closed_object,
    headers_of,
    problem_response,
    reference,
)
from broker.wire.ids import RUN_ID_PATTERN
from broker.wire.problem import (
    BadBody,
    BadHttp,
    BadRunId,
    InternalProblem,
    SlowBody,
    TooLarge,
    TooManyRequests,
    Unavailable,
    UnsupportedMediaType,
)

__all__ = ["ticket_paths", "ticket_schemas"]


def ticket_paths(kinds: Collection[CredentialKind]) -> dict[str, Document]:
    """The operations, by path and method.

    Args:
        kinds: what proves who asks, at this edge.
    """
    makers: list[Document] = [{kind.value: []} for kind in TICKET_MAKERS if kind in kinds]
    return {TICKETS_PATH: {"post": {**_ticket_operation(), "security": makers}}}


def ticket_schemas() -> Document:
    """What the operations refer to."""
    return {
        "NewTicket": closed_object(
            {},
            {
                "rights": {**_rights(), "default": ["watch"]},
                "seconds": {
                    "type": ["integer", "null"],
                    "minimum": 1,
                    "description": "How long it lasts, at most.",
                },
            },
        ),
    }


def _ticket_operation() -> Document:
    return {
        "operationId": "createTicket",
        "summary": "Makes a ticket: a short-lived token for this run, to be sent in a URL.",
        "parameters": [RUN_ID_PARAMETER],
        "requestBody": {
            "required": False,
            "content": {JSON: {"schema": reference("NewTicket")}},
        },
        "responses": {
            "201": {
                "description": "The ticket.",
                "headers": headers_of(NO_STORE),
                "content": {
                    JSON: {
                        "schema": closed_object(
                            {
                                "ticket": {"type": "string", "description": "A secret."},
                                "expires_at": {"type": "string", "format": "date-time"},
                                "run_id": {"type": "string", "pattern": f"^{RUN_ID_PATTERN}$"},
                                "rights": _rights(),
                                "events_url": {
                                    "type": "string",
                                    "pattern": "^/",
                                    "description": "The run's events, with the ticket.",
                                },
                            }
                        )
                    }
                },
            },
            "400": problem_response(BadRunId, BadBody, BadHttp),
            "408": problem_response(SlowBody),
            "413": problem_response(TooLarge),
            "415": problem_response(UnsupportedMediaType),
            "429": problem_response(TooManyRequests),
            "500": problem_response(InternalProblem),
            "503": problem_response(Unavailable),
        },
    }


def _rights() -> Document:
    return {
        "type": "array",
        "minItems": 1,
        "items": {"enum": [action.value for action in TICKET_ACTIONS]},
    }
