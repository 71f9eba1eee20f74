"""A producer as any worker is one: plain XADD."""

from typing import Any

from redis.asyncio import Redis

__all__ = ["append", "key_of"]


def key_of(run_id: str) -> str:
    """A run's key, by the default template."""
    return f"run:{run_id}"


async def append(
    client: Redis,
    run_id: str,
    data: str | bytes = "{}",
    event_type: str | bytes | None = "chunk",
    *,
    id: str = "*",
    **fields: Any,
) -> str:
    """Appends one event; its id."""
    entry: dict[Any, Any] = {"data": data, **fields}
    if event_type is not None:
        entry = {"type": event_type, **entry}
    return str(await client.xadd(key_of(run_id), entry, id=id))
