"""What viewers do to edges."""

import asyncio
from typing import Final

from tests.faults.kinds.fault import Fault
from tests.faults.stage import Needs, Stage
from tests.faults.watcher import Temper

__all__ = ["Calm", "Stalled", "Trickling"]

_LONGER_THAN_STALL_SECONDS: Final = 3.0
_PADDING: Final = 20_000
"""Bytes: what the kernel takes on behalf of a viewer must be filled first."""


class Calm(Fault):
    """Nothing."""

    name = "none"
    title = "no fault: viewers who drop, are slow and stall, as in every round"

    async def strike(self, stage: Stage) -> None:
        await asyncio.sleep(stage.size.seconds)


class Stalled(Fault):
    """Viewers who take nothing, until they are dropped."""

    name = "viewers-stalled"
    title = "half of the viewers take nothing for longer than the stall timeout"
    shows = ("runcast_stalled_subscribers_total",)

    @property
    def needs(self) -> Needs:
        return Needs(
            tempers=(Temper.STALLING, Temper.STEADY),
            padding=_PADDING,
            settings={"stall_timeout_seconds": 1},
        )

    async def strike(self, stage: Stage) -> None:
        await asyncio.sleep(max(_LONGER_THAN_STALL_SECONDS, stage.size.seconds))


class Trickling(Fault):
    """Viewers who take a few bytes at a time."""

    name = "viewers-trickling"
    title = "half of the viewers take 64 bytes at a time"
    shows = ("runcast_slow_subscribers_total",)

    @property
    def needs(self) -> Needs:
        return Needs(tempers=(Temper.TRICKLING, Temper.STEADY), padding=_PADDING)

    async def strike(self, stage: Stage) -> None:
        await asyncio.sleep(max(_LONGER_THAN_STALL_SECONDS, stage.size.seconds))
