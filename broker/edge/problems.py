"""Errors as `application/problem+json`, whatever raised them."""

from collections.abc import Callable, Mapping
from typing import Any

import structlog
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from broker.wire.problem import CONTENT_TYPE, HttpProblem, InternalProblem, Problem

__all__ = ["EXCEPTION_HANDLERS", "problem_response"]

logger = structlog.get_logger("runcast.edge")


def problem_response(problem: Problem) -> Response:
    """The response that says `problem`."""
    return Response(
        problem.body(), problem.status, headers=problem.headers, media_type=CONTENT_TYPE
    )


async def _on_problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)
    return problem_response(error)


async def _on_http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    detail = {
        404: "Nothing is served here. A run's events are at /v1/runs/{run_id}/events.",
        405: "This resource does not take that method.",
    }.get(error.status_code, error.detail)
    return problem_response(HttpProblem(error.status_code, detail, error.headers))


async def _on_defect(request: Request, error: Exception) -> Response:
    # Starlette raises it again after this answer, and the server logs it with its trace.
    logger.error("request failed", path=request.url.path, error=type(error).__name__)
    return problem_response(InternalProblem())


EXCEPTION_HANDLERS: Mapping[Any, Callable[[Request, Exception], Any]] = {
    Problem: _on_problem,
    HTTPException: _on_http_exception,
    Exception: _on_defect,
}
