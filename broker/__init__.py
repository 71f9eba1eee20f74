"""Runcast: an SSE fan-out broker for agent runs, backed by Redis Streams.

Find your room:

=========== =================================================================
wire/       pure: stream ids, cursors, events, SSE frames, problem+json
engine/     who gets what: window, feed, subscriber, replay, hub; no HTTP, no Redis
redis/      connections, the embedded server, stream reads, the tail, appending
publishing/ the library for workers: runs, requests, commands
profiles/   other systems' routes, cursors and frames, as TOML files
edge/       Starlette endpoints: events, publishing, health, metrics
server/     uvicorn: protocol, signals, drain
telemetry/  OpenTelemetry traces, an extra
console/    the operators' page
demo/       the made-up agent and its page
=========== =================================================================

Data flows one way: Redis → tail → feed → frame → subscriber → socket.

For workers: ``from broker import RunPublisher, BlockingRunPublisher, worker``.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from broker.publishing import BlockingRunPublisher, RunPublisher, worker

__all__ = ["BlockingRunPublisher", "RunPublisher", "__version__", "worker"]

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    # Whoever imports another part of the package does without the library.
    if name in __all__:
        return getattr(import_module("broker.publishing"), name)
    raise AttributeError(f"module 'broker' has no attribute {name!r}")
