"""Which Redis a command talks to that runs none of its own."""

from typing import Final

from broker.redis.embedded import embedded_url
from broker.settings import Settings

__all__ = ["NO_REDIS", "START_OR_GIVE_ONE", "redis_in_use"]

NO_REDIS: Final = "no Redis URL given and no embedded server runs"
START_OR_GIVE_ONE: Final = "start `runcast serve`, or give --redis-url"


def redis_in_use(settings: Settings) -> str | None:
    """The URL from the settings, else that of the embedded server that runs; `None` for neither."""
    if settings.redis_url is not None:
        return settings.redis_url.get_secret_value()
    return embedded_url(settings.embedded_directory)
