"""Several faults at the same time."""

import asyncio

from tests.faults.kinds.edges import EdgeKill, EdgePause, EdgeRestart
from tests.faults.kinds.fault import Fault
from tests.faults.kinds.network import RedisLineReset, ViewerLineDead, ViewerLineReset
from tests.faults.kinds.redis import RedisKill
from tests.faults.kinds.streams import DeleteEntries, DeleteRun, TrimLength
from tests.faults.stage import Needs, Stage

__all__ = ["MixedEdges", "MixedRedis", "MixedStreams"]


class _Mixed(Fault):
    """All of them at once, each begun at a time of its own."""

    @property
    def needs(self) -> Needs:
        return Needs(redis_line=True, viewer_lines=True)

    def parts(self) -> list[Fault]:
        """What it is made of."""
        raise NotImplementedError

    async def strike(self, stage: Stage) -> None:
        async def later(fault: Fault) -> None:
            await asyncio.sleep(stage.source.uniform(0, stage.size.seconds))
            await fault.strike(stage)

        async with asyncio.TaskGroup() as group:
            for part in self.parts():
                group.create_task(later(part))


class MixedEdges(_Mixed):
    """Edges, and the lines before them."""

    name = "mixed-edges"
    title = "edge-kill, viewer-reset, viewer-half-open and trim-length at once"

    def parts(self) -> list[Fault]:
        return [EdgeKill(), ViewerLineReset(), ViewerLineDead(), TrimLength()]


class MixedRedis(_Mixed):
    """Redis, the line to it, and edges."""

    name = "mixed-redis"
    title = "redis-kill, redis-reset, edge-pause and viewer-reset at once"

    def parts(self) -> list[Fault]:
        return [RedisKill(), RedisLineReset(), EdgePause(), ViewerLineReset()]


class MixedStreams(_Mixed):
    """Streams, and connections to Redis."""

    name = "mixed-streams"
    title = "delete-run, delete-entries, redis-reset, edge-restart and viewer-reset at once"

    def parts(self) -> list[Fault]:
        return [DeleteRun(), DeleteEntries(), RedisLineReset(), EdgeRestart(), ViewerLineReset()]
