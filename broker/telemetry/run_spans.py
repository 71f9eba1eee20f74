"""What the library says of the events that a worker emits, where anybody traces them."""

from typing import Protocol

from broker.telemetry.installed import can_trace
from broker.wire.ids import RunId

__all__ = ["RunSpans", "spans_of"]


class RunSpans(Protocol):
    """The spans of one run's events, each from when it was emitted to when it was in the run."""

    def begin(self, number: int, type: str) -> str:
        """An event is going to be appended.

        Args:
            number: how many were before it, itself included.
            type: its type.

        Returns:
            The `traceparent` that it is to have; empty where the worker has no span active, or
            one that is not recorded.
        """

    def appended(self, number: int) -> None:
        """It is in the run, and so are those before it."""

    def given_up(self, error: BaseException | None) -> None:
        """What has not been appended is not going to be, as far as is known."""


class _NoSpans:
    """OpenTelemetry is not installed: no worker can have a span."""

    def begin(self, number: int, type: str) -> str:
        return ""

    def appended(self, number: int) -> None:
        pass

    def given_up(self, error: BaseException | None) -> None:
        pass


def spans_of(run_id: RunId) -> RunSpans:
    """Those of a run."""
    if not can_trace():
        return _NoSpans()
    from broker.telemetry.publish_spans import PublishSpans

    return PublishSpans(run_id)
