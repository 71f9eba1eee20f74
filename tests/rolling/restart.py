"""Restarts one edge after the other, and says what the viewers saw of it."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tests.rolling.crowd import Crowd
from tests.rolling.producer import Producer
from tests.support.edges import Edge
from tests.support.waiting import eventually

__all__ = ["Outcome", "Step", "rolling_restart", "table"]


@dataclass(frozen=True)
class Step:
    """The restart of one edge."""

    viewers: int
    """That it had when it was told to leave."""
    rate: float
    """At which they were to leave, each second."""
    left_seconds: float
    """Until the process had ended."""
    duration_seconds: float
    """Until it served again, and all viewers were connected."""
    reconnects: int
    peak_reconnects: int
    """Of any second."""


@dataclass(frozen=True)
class Outcome:
    """Of all of it."""

    viewers: int
    events: int
    deliveries: int
    lost: int
    doubled: int
    gaps: int
    refused: dict[str, int]
    """What an EventSource does not survive, and connections that came to nothing."""
    steps: list[Step]


async def rolling_restart(
    edges: Sequence[Edge],
    crowd: Crowd,
    producer: Producer,
    run_ids: Sequence[str],
    *,
    viewers: int,
    drain_seconds: float,
    restarted: Callable[[int], Awaitable[Edge]],
    arrival_seconds: float = 60,
) -> Outcome:
    """Does it: viewers come, each edge leaves and is replaced, the runs end.

    Args:
        edges: those that are there.
        crowd: empty yet.
        producer: appends to the runs.
        run_ids: the runs, to which viewers are spread.
        viewers: how many.
        drain_seconds: the edges' setting.
        restarted: has the edge of this place run again, and be balanced to.
        arrival_seconds: how long it may take until all viewers are connected.
    """
    producing = asyncio.create_task(producer.run(), name="producer")
    now = list(edges)
    try:
        for number in range(viewers):
            crowd.watch(run_ids[number % len(run_ids)])
            if number % 50 == 49:
                await asyncio.sleep(0.05)
        await eventually(lambda: all(seen.last for seen in crowd.viewers), within=arrival_seconds)
        steps = [
            await _restart(now, place, crowd, drain_seconds, restarted) for place in range(len(now))
        ]
        producer.end()
        await producing
        await crowd.until_over(arrival_seconds)
    finally:
        producing.cancel()
        await asyncio.gather(producing, return_exceptions=True)
        await crowd.close()
    lost = sum(seen.lost for seen in crowd.viewers)
    for number, seen in enumerate(crowd.viewers):
        # What came after the last that it saw.
        lost += producer.appended[run_ids[number % len(run_ids)]] - seen.last
    return Outcome(
        viewers=viewers,
        events=producer.appended.total(),
        deliveries=sum(seen.last - seen.first + 1 for seen in crowd.viewers),
        lost=lost,
        doubled=sum(seen.doubled for seen in crowd.viewers),
        gaps=sum(seen.gaps for seen in crowd.viewers),
        refused=dict(crowd.refused),
        steps=steps,
    )


async def _restart(
    edges: list[Edge],
    place: int,
    crowd: Crowd,
    drain_seconds: float,
    restarted: Callable[[int], Awaitable[Edge]],
) -> Step:
    loop = asyncio.get_running_loop()
    edge = edges[place]
    there = round(edge.metric("runcast_subscribers"))
    began = loop.time()
    code = await loop.run_in_executor(None, lambda: edge.stop(within=3 * drain_seconds + 20))
    left = loop.time() - began
    assert code == 0, edge.raw_log()
    assert edge.traces() == ""
    edges[place] = await restarted(place)
    # The last of them come back after the longest wait that they were told.
    total = len(crowd.viewers)
    await eventually(lambda: crowd.connected == total, within=60)
    ended = loop.time()
    seconds = range(int(began), int(ended) + 1)
    return Step(
        viewers=there,
        rate=round(there / drain_seconds, 1),
        left_seconds=round(left, 2),
        duration_seconds=round(ended - began, 2),
        reconnects=sum(crowd.reconnects[second] for second in seconds),
        peak_reconnects=max(crowd.reconnects[second] for second in seconds),
    )


def table(outcome: Outcome, balancer: str) -> str:
    """As the documentation has it."""
    lines = [
        "| restarted | viewers it had | set rate | peak | left after | all back after |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for number, step in enumerate(outcome.steps, 1):
        lines.append(
            f"| edge {number} | {step.viewers:,} | {step.rate:g} /s | {step.peak_reconnects} /s "
            f"| {step.left_seconds:.1f} s | {step.duration_seconds:.1f} s |"
        )
    total: dict[str, Any] = {
        "viewers": f"{outcome.viewers:,}",
        "events": f"{outcome.events:,}",
        "delivered": f"{outcome.deliveries:,}",
        "lost": outcome.lost,
        "doubled": outcome.doubled,
        "gaps": outcome.gaps,
        "refused": sum(outcome.refused.values()),
        "balancer": balancer,
    }
    lines += ["", "| " + " | ".join(total) + " |", "|" + "---|" * len(total)]
    lines.append("| " + " | ".join(map(str, total.values())) + " |")
    return "\n".join(lines)
