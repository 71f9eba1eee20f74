"""Keys that name a run: an agent's current execution, a session's run."""

from typing import Final

from redis.exceptions import RedisError

from broker.engine.log import LogUnavailable
from broker.redis.connections import describe
from broker.redis.deployment import Deployment
from broker.wire.ids import RunId, is_run_id

__all__ = ["RedisPointers"]

_KEEP_SECONDS: Final = 24 * 3600


class RedisPointers:
    """Reads and sets them (GET, SET EX)."""

    def __init__(self, deployment: Deployment) -> None:
        self._deployment = deployment

    async def get(self, key: str) -> RunId | None:
        """The run that the key names; `None` if there is none, or no run could have such an id.

        Raises:
            LogUnavailable: Redis can't be read now, or the key holds something else.
        """
        try:
            found = await self._deployment.ask(key, "GET", key)
        except (RedisError, OSError, TimeoutError) as error:
            raise LogUnavailable(describe(error)) from error
        text = "" if found is None else bytes(found).decode("utf-8", "replace")
        return RunId(text) if is_run_id(text) else None

    async def set(self, key: str, run_id: RunId) -> None:
        """Has the key name this run, for a day.

        Raises:
            LogUnavailable: Redis does not acknowledge it.
        """
        try:
            await self._deployment.ask(key, "SET", key, run_id, "EX", _KEEP_SECONDS)
        except (RedisError, OSError, TimeoutError) as error:
            raise LogUnavailable(describe(error)) from error
