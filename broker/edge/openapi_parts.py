"""What the parts of the OpenAPI document are written with."""

import re
from collections.abc import Mapping
from typing import Any, Final

from broker.wire.ids import RUN_ID_PATTERN
from broker.wire.problem import (
    CONTENT_TYPE,
    BadHttp,
    NotAuthenticated,
    Problem,
    TooManyRequests,
    Unavailable,
)

__all__ = [
    "JSON",
    "NO_STORE",
    "RUN_ID_PARAMETER",
    "Document",
    "closed_object",
    "decimal",
    "header",
    "headers_of",
    "problem_response",
    "reference",
]

JSON: Final = "application/json"
NO_STORE: Final = {"cache-control": "no-store"}

Document = dict[str, Any]

RUN_ID_PARAMETER: Final[Document] = {
    "name": "run_id",
    "in": "path",
    "required": True,
    "schema": {"type": "string", "pattern": f"^{RUN_ID_PATTERN}$"},
}


def problem_response(*kinds: type[Problem], **members: Document) -> Document:
    """The answer with any of these, all of one status.

    Args:
        kinds: the problems.
        members: further ones that their documents may have, with their schemas.
    """
    [status] = {kind.status for kind in kinds}
    headers = headers_of(NO_STORE) if BadHttp not in kinds else {}
    if NotAuthenticated in kinds:
        headers["WWW-Authenticate"] = header({"type": "string"})
    if Unavailable in kinds or TooManyRequests in kinds:
        headers["Retry-After"] = header({"type": "integer", "minimum": 1})
    return {
        "description": "; ".join(kind.title for kind in kinds) + ".",
        "headers": headers,
        "content": {
            CONTENT_TYPE: {
                "schema": closed_object(
                    {
                        "type": {"enum": [f"urn:runcast:problem:{kind.slug}" for kind in kinds]},
                        "title": {"enum": [kind.title for kind in kinds]},
                        "status": {"const": status},
                        "detail": {"type": "string"},
                    },
                    members,
                )
            }
        },
    }


def headers_of(values: Mapping[str, str]) -> Document:
    """Headers that always have these values."""
    return {name.title(): header({"const": value}) for name, value in values.items()}


def header(schema: Document, *, required: bool = True) -> Document:
    """A header with such values."""
    return {"required": required, "schema": schema}


def closed_object(properties: Document, optional: Document | None = None) -> Document:
    """An object that has all of these properties, maybe some of the `optional` ones, and nothing
    else."""
    return {
        "type": "object",
        "properties": properties | (optional or {}),
        "required": list(properties),
        "additionalProperties": False,
    }


def reference(name: str) -> Document:
    """The schema of this name."""
    return {"$ref": f"#/components/schemas/{name}"}


def decimal(least: int, greatest: int) -> str:
    """An expression for the whole numbers from `least`, 0 or 1, to `greatest`, as they are written.

    Schemas have no bounds for numbers within a string.
    """
    digits = str(greatest)
    count = len(digits)
    alternatives = ["0"] if least == 0 else []
    if count > 1:
        alternatives.append("[1-9]" + _digits(count - 2))
    for place, digit in enumerate(digits):
        # As `greatest` up to this place, less than it here, and anything after.
        lowest = 1 if place == 0 else 0
        if int(digit) > lowest:
            choice = f"[{lowest}-{int(digit) - 1}]"
            alternatives.append(digits[:place] + choice + _digits(count - place - 1, exact=True))
    alternatives.append(re.escape(digits))
    return f"({'|'.join(alternatives)})"


def _digits(count: int, *, exact: bool = False) -> str:
    if count == 0:
        return ""
    return f"[0-9]{{{count}}}" if exact else f"[0-9]{{0,{count}}}"
