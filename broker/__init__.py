"""Runcast: an SSE fan-out broker for agent runs, backed by Redis Streams.

Find your room:

========== ==================================================================
wire/      pure: stream ids, cursors, events, SSE frames, problem+json
engine/    who gets what: window, feed, subscriber, replay, hub; no HTTP, no Redis
redis/     connections, the embedded server, stream reads, the tail, the publisher
edge/      Starlette endpoints: events, health, metrics
server/    uvicorn: protocol, signals, drain
demo/      the made-up agent and its page
========== ==================================================================

Data flows one way: Redis → tail → feed → frame → subscriber → socket.
"""

__all__ = ["__version__"]

__version__ = "0.1.0"
