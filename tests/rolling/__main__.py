"""`python -m tests.rolling`: see the package."""

import asyncio
import json
from dataclasses import asdict
from pathlib import Path
from typing import Final
from uuid import uuid4

import click
import uvloop
from redis.asyncio import Redis

from tests.rolling.balancer import Balancer
from tests.rolling.crowd import Crowd
from tests.rolling.producer import Producer
from tests.rolling.restart import Outcome, rolling_restart, table
from tests.support.edges import Edge
from tests.support.servers import available_kinds, redis_of_kind
from tests.support.waiting import eventually

_RESULTS: Final = Path(__file__).parent / "results" / "rolling.json"
_EDGES: Final = 2
_MOST_OF_RATE: Final = 1.5
"""Waits are spread by chance, so a second may have more than its share."""


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--viewers", default=2000, show_default=True, help="How many.")
@click.option("--runs", default=10, show_default=True, help="The runs that they watch.")
@click.option("--rate", default=20.0, show_default=True, help="Events a second, in all.")
@click.option("--drain-seconds", default=20.0, show_default=True, help="The edges' setting.")
@click.option("--results", default=_RESULTS, type=click.Path(path_type=Path), show_default=True)
def main(viewers: int, runs: int, rate: float, drain_seconds: float, results: Path) -> None:
    """Restarts two edges behind HAProxy, one after the other, and says what viewers saw of it."""
    with redis_of_kind(available_kinds()[0]) as url:
        outcome = uvloop.run(_run(url, viewers, runs, rate, drain_seconds))
    results.parent.mkdir(exist_ok=True)
    document = {
        "parameters": {
            "viewers": viewers,
            "runs": runs,
            "events_per_second": rate,
            "drain_seconds": drain_seconds,
            "balancer": Balancer.version(),
        },
        **asdict(outcome),
    }
    results.write_text(json.dumps(document, indent=2) + "\n")
    click.echo(table(outcome, Balancer.version()))
    too_fast = [step for step in outcome.steps if step.peak_reconnects > _MOST_OF_RATE * step.rate]
    if outcome.lost or outcome.doubled or outcome.gaps or outcome.refused or too_fast:
        raise click.ClickException("that is not as it should be")


async def _run(
    redis_url: str, viewers: int, runs: int, rate: float, drain_seconds: float
) -> Outcome:
    settings = {
        "drain_seconds": drain_seconds,
        # As users get them.
        "heartbeat_seconds": 15,
        "retry_seconds": 3,
    }
    edges = [Edge(redis_url, **settings) for _ in range(_EDGES)]
    ports = [edge.port for edge in edges]
    run_ids = [f"rolling-{uuid4().hex}" for _ in range(runs)]
    try:
        with Balancer(ports) as balancer:
            async with Redis.from_url(redis_url, decode_responses=True) as client:

                async def restarted(place: int) -> Edge:
                    edges[place].close()
                    # In a thread: viewers go on meanwhile.
                    edges[place] = await asyncio.to_thread(
                        Edge, redis_url, port=ports[place], **settings
                    )
                    return edges[place]

                crowd = Crowd(lambda: balancer.port)
                producer = Producer(client, run_ids, rate)
                outcome = await rolling_restart(
                    edges,
                    crowd,
                    producer,
                    run_ids,
                    viewers=viewers,
                    drain_seconds=drain_seconds,
                    restarted=restarted,
                )
                await eventually(lambda: crowd.connected == 0)
                return outcome
    finally:
        for edge in edges:
            edge.close()


if __name__ == "__main__":
    main()
