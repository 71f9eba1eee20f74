"""What has been revoked by `runcast revoke`."""

from broker.edge.auth.identity import Identity
from broker.redis.revocations import RedisRevocations

__all__ = ["Revoked"]


class Revoked:
    """A `Source`."""

    def __init__(self, log: RedisRevocations) -> None:
        self._log = log

    async def look(self) -> bool:
        """See `Source.look`."""
        raise NotImplementedError

    def revoked(self, identity: Identity) -> bool:
        """See `Source.revoked`."""
        raise NotImplementedError
