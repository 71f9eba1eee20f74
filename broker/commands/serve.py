"""`runcast serve`: an edge over the given Redis, or over an embedded Valkey."""

import asyncio
import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import structlog
from starlette.routing import BaseRoute

from broker.app import Edge, make_edge
from broker.redis.connections import shown_url
from broker.redis.embedded import run_embedded
from broker.server.run import new_event_loop, serve
from broker.settings import Settings

__all__ = ["redis_for", "run_edge", "run_serve"]

logger = structlog.get_logger("runcast.serve")


@contextlib.contextmanager
def redis_for(settings: Settings, directory: Path | None) -> Iterator[str]:
    """The URL of the Redis to use; an embedded one runs while the context lasts.

    Args:
        settings: its `redis_url` wins.
        directory: where an embedded one keeps its data; `None` keeps nothing.
    """
    if settings.redis_url is not None:
        url = settings.redis_url.get_secret_value()
        logger.info("using redis", url=shown_url(url))
        yield url
        return
    with run_embedded(directory, settings.embedded_port) as url:
        logger.info(
            "no redis url given: running an embedded valkey",
            url=url,
            data="(nothing is kept)" if directory is None else str(directory),
        )
        yield url


def run_edge(
    settings: Settings,
    url: str,
    *,
    routes: Sequence[BaseRoute] = (),
    background: contextlib.AbstractAsyncContextManager[object] | None = None,
    on_listening: Callable[[str], None],
) -> None:
    """Serves an edge until a signal comes."""
    edge = make_edge(settings, url, routes, background)
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(_serve(edge, settings, on_listening))


def run_serve(settings: Settings) -> None:
    """Runs the command."""
    with redis_for(settings, settings.embedded_directory) as url:
        run_edge(settings, url, on_listening=lambda address: logger.info("listening", url=address))


async def _serve(edge: Edge, settings: Settings, on_listening: Callable[[str], None]) -> None:
    await serve(
        edge,
        host=settings.host,
        port=settings.port,
        drain_seconds=settings.drain_seconds,
        on_listening=on_listening,
    )
