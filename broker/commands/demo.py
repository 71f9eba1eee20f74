"""`runcast demo`: an edge, a made-up agent beside it, and a page to watch both."""

import contextlib
from collections.abc import AsyncIterator
from random import Random
from typing import Final

import click

from broker.commands.serve import redis_for, run_edge
from broker.demo.agent import Agent
from broker.demo.page import demo_pages
from broker.redis.addresses import shown_url
from broker.redis.catalogue import Catalogue, Reading
from broker.redis.deployment import Deployment
from broker.redis.opening import make_deployment
from broker.redis.publisher import Publisher
from broker.redis.streams import RedisLog
from broker.settings import Settings, SettingsError

__all__ = ["run_demo"]

_DRAIN_SECONDS: Final = 0.5
"""Nobody has another edge to go to, so there is no point in leaving slowly."""
_INDEX_KEPT_SECONDS: Final = 3600
_ENDED_KEPT_SECONDS: Final = 2 * 3600
"""More than the index, so that every run in the page's list can still be opened."""


def run_demo(settings: Settings) -> None:
    """Runs the command.

    Raises:
        SettingsError: the settings would make runs that never end.
    """
    if not {"succeeded", "failed"} <= settings.events.terminal_types:
        raise SettingsError("terminal_types: the demo needs succeeded and failed among them")
    settings = settings.model_copy(
        update={"drain_seconds": min(settings.drain_seconds, _DRAIN_SECONDS)}
    )
    with redis_for(settings, directory=None) as url:
        deployment = make_deployment(
            url, connections=1, timeout_seconds=settings.redis_timeout_seconds
        )
        agent = _agent(deployment, settings)
        run_edge(
            settings,
            url,
            pages=demo_pages(
                redis_url=shown_url(url),
                embedded=settings.redis_url is None,
                keys=settings.keys,
                events=settings.events,
            ),
            background=_at_work(agent, deployment),
            on_listening=lambda address: _greet(address, agent),
        )


def _agent(deployment: Deployment, settings: Settings) -> Agent:
    log = RedisLog(deployment, Catalogue(Reading(settings.keys, settings.events)))
    publisher = Publisher(
        deployment,
        settings.keys,
        settings.events,
        retention_seconds=_INDEX_KEPT_SECONDS,
        retention_after_end_seconds=_ENDED_KEPT_SECONDS,
    )
    return Agent(publisher, log, random_source=Random())


@contextlib.asynccontextmanager
async def _at_work(agent: Agent, deployment: Deployment) -> AsyncIterator[None]:
    async with deployment, agent.at_work():
        yield


def _greet(address: str, agent: Agent) -> None:
    """Says where to look; the run named is the one that plays now, or is about to."""
    page = click.style(f"{address}/", fg="cyan", underline=True)
    curl = f"curl -N {address}/v1/runs/{agent.current.run_id}/events"
    click.echo(
        f"\n  {click.style('Runcast demo', bold=True)}: a made-up agent is at work."
        "\n  Watch it, cut the connection, and come back.\n"
        f"\n    Open   {page}"
        f"\n    or     {curl}"
        "\n    Stop   Ctrl-C\n"
    )
