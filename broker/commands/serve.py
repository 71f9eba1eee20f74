"""`runcast serve`: an edge over the given Redis, or over an embedded Valkey."""

import asyncio
import contextlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

import structlog

from broker.app import Page, make_edge
from broker.commands.failure import CommandFailed
from broker.redis.addresses import shown_url
from broker.redis.embedded import run_embedded
from broker.server.listening import bind, bind_for_workers, url_of
from broker.server.run import new_event_loop, serve
from broker.server.workers import WorkersFailed, supervise
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
    pages: Mapping[str, Page] = MappingProxyType({}),
    background: contextlib.AbstractAsyncContextManager[object] | None = None,
    on_listening: Callable[[str], None],
) -> None:
    """Serves an edge until a signal comes."""
    with contextlib.closing(bind(settings.host, settings.port)) as listener:
        edge = make_edge(settings, url, pages, background)
        with asyncio.Runner(loop_factory=new_event_loop) as runner:
            runner.run(
                serve(
                    edge,
                    listener,
                    drain_seconds=settings.drain_seconds,
                    on_listening=lambda: on_listening(url_of(listener, settings.host)),
                )
            )


def run_serve(settings: Settings) -> None:
    """Runs the command."""
    if settings.workers > 1:
        _run_workers(settings)
        return
    with redis_for(settings, settings.embedded_directory) as url:
        run_edge(settings, url, on_listening=lambda address: logger.info("listening", url=address))


def _run_workers(settings: Settings) -> None:
    listeners = bind_for_workers(settings.host, settings.port, settings.workers)
    address = url_of(listeners[0], settings.host)
    with contextlib.ExitStack() as opened:
        for listener in listeners:
            opened.enter_context(listener)
        url = opened.enter_context(redis_for(settings, settings.embedded_directory))
        try:
            # Not uvloop: it has nothing to do but to wait.
            asyncio.run(
                supervise(
                    settings,
                    url,
                    listeners,
                    on_listening=lambda: logger.info(
                        "listening", url=address, workers=settings.workers
                    ),
                )
            )
        except WorkersFailed as failure:
            raise CommandFailed(str(failure)) from failure
