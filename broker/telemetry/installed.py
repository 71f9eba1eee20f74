"""Whether the packages for traces are there: they are the extra `runcast[otel]`."""

from functools import cache
from importlib.util import find_spec

__all__ = ["can_export", "can_trace"]


@cache
def can_trace() -> bool:
    """Whether OpenTelemetry's API is installed, through which workers' own spans are found."""
    return _is_there("opentelemetry.trace")


@cache
def can_export() -> bool:
    """Whether all is installed that an edge needs to export."""
    return _is_there("opentelemetry.sdk.trace") and _is_there(
        "opentelemetry.exporter.otlp.proto.http.trace_exporter"
    )


def _is_there(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        # A package that it is in is missing.
        return False
