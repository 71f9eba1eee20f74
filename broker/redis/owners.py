"""Whose runs are: a field of their meta hashes."""

from redis.exceptions import RedisError

from broker.engine.log import LogUnavailable
from broker.redis.catalogue import Catalogue
from broker.redis.connections import describe
from broker.redis.deployment import Deployment
from broker.redis.meta import OWNER, meta_key
from broker.wire.ids import RunId

__all__ = ["RedisOwners"]


class RedisOwners:
    """Reads them (HGET)."""

    def __init__(self, deployment: Deployment, catalogue: Catalogue) -> None:
        """
        Args:
            deployment: where runs are.
            catalogue: which keys they have.
        """
        self._deployment = deployment
        self._catalogue = catalogue

    async def of(self, profile: str, run_id: RunId) -> str | None:
        """The subject that owns the profile's run; `None` if nobody does.

        Raises:
            LogUnavailable: Redis can't be read now.
        """
        key = self._catalogue.key(self._catalogue.address(profile, run_id))
        try:
            found = await self._deployment.ask(key, "HGET", meta_key(key), OWNER)
        except (RedisError, OSError, TimeoutError) as error:
            raise LogUnavailable(describe(error)) from error
        return None if found is None else bytes(found).decode("utf-8", "replace")
