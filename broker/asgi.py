"""An edge as an ASGI application, for a server other than ours: ``hypercorn broker.asgi:app``.

Settings come from ``runcast.toml`` and ``RUNCAST_…``. Those of the address, the workers and the
drain are the server's business, and not looked at; streams go through ASGI.
"""

from starlette.types import ASGIApp

from broker.app import make_edge
from broker.logging import configure_logging
from broker.settings import SettingsError, load_settings

__all__ = ["app"]


def _make_app() -> ASGIApp:
    settings = load_settings({}, listens=False)
    if settings.redis_url is None:
        # An embedded one would be started by each of the server's processes, which may be many.
        raise SettingsError("redis_url: set RUNCAST_REDIS_URL; only runcast serve embeds a server")
    configure_logging(settings.log_level, settings.log_format)
    return make_edge(settings, settings.redis_url.get_secret_value(), listens=False).app


app = _make_app()
