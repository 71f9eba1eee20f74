"""Revocations, in Redis: one stream for all edges."""

from broker.redis.deployment import Deployment

__all__ = ["RedisRevocations"]


class RedisRevocations:
    """Reads and appends them."""

    def __init__(self, deployment: Deployment, key: str) -> None:
        self._deployment = deployment
        self._key = key
