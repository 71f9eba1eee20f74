"""Keyspace notifications, as a server has them set up (Redis: notify-keyspace-events).

They are off by default, belong to one server rather than to a database, and can be switched off at
any time: so whoever relies on them keeps looking.
"""

from typing import Final

from redis.exceptions import RedisError, ResponseError

from broker.redis.server import Server

__all__ = ["channel_prefix", "flags_suffice", "see_to_notifications"]

_SETTING: Final = "notify-keyspace-events"
_NEEDED: Final = "Kt"


def flags_suffice(flags: str) -> bool:
    """Whether these flags have stream commands announced on the key's own channel.

    ``K`` is for keyspace channels, ``t`` for stream commands; ``A`` has ``t`` in it.
    """
    return "K" in flags and ("t" in flags or "A" in flags)


def channel_prefix(database: int) -> str:
    """What a key's channel begins with: notifications name their database."""
    return f"__keyspace@{database}__:"


async def see_to_notifications(server: Server, *, may_turn_on: bool) -> bool | None:
    """Whether the server notifies of stream commands; `None` if it does not tell (CONFIG GET is
    renamed, or not among our rights).

    Args:
        server: the one to ask.
        may_turn_on: where they are off, add what is missing to the server's flags (CONFIG SET).

    Raises:
        RedisError, OSError: it does not answer.
    """
    flags = await _flags(server)
    if flags is None or flags_suffice(flags) or not may_turn_on:
        return None if flags is None else flags_suffice(flags)
    try:
        await server.ask("CONFIG", "SET", _SETTING, flags + _NEEDED)
    except ResponseError as error:
        if _is_refusal(error):
            return False
        raise
    return True


async def _flags(server: Server) -> str | None:
    try:
        answer = await server.ask("CONFIG", "GET", _SETTING)
    except ResponseError as error:
        if _is_refusal(error):
            return None
        raise
    # One setting: a map with RESP3, name and value in a list with RESP2.
    values = list(answer.values()) if isinstance(answer, dict) else answer[1::2]
    return values[0].decode() if values else None


def _is_refusal(error: RedisError) -> bool:
    """Whether the server does not let us, as opposed to not being able to just now."""
    text = str(error).lower()
    return "unknown command" in text or "permission" in text or "not allowed" in text
