"""What happens to edges."""

import asyncio
from typing import Final

from broker.redis.connections import command
from tests.faults.kinds.fault import Fault
from tests.faults.stage import Stage

__all__ = ["EdgeDescriptors", "EdgeKill", "EdgePause", "EdgeRestart"]

_SPARE_DESCRIPTORS: Final = 2


class EdgeKill(Fault):
    """SIGKILL, one after the other."""

    name = "edge-kill"
    title = "an edge is killed (SIGKILL) and started again"

    async def strike(self, stage: Stage) -> None:
        post = stage.source.choice(stage.posts)
        post.kill()
        await asyncio.sleep(stage.source.uniform(0, stage.size.seconds))
        await post.restart()


class EdgeRestart(Fault):
    """SIGTERM, one after the other."""

    name = "edge-restart"
    title = "rolling restart: each edge in turn drains (SIGTERM) and is started again"

    async def strike(self, stage: Stage) -> None:
        for post in stage.posts:
            await post.leave()
            await post.restart()


class EdgePause(Fault):
    """SIGSTOP, SIGCONT."""

    name = "edge-pause"
    title = "an edge is stopped in its tracks (SIGSTOP) and goes on (SIGCONT)"

    async def strike(self, stage: Stage) -> None:
        post = stage.source.choice(stage.posts)
        post.pause()
        try:
            await asyncio.sleep(stage.source.uniform(0.5, 1.5) * stage.size.seconds)
        finally:
            post.resume()


class EdgeDescriptors(Fault):
    """RLIMIT_NOFILE."""

    name = "edge-descriptors"
    title = (
        "an edge has no file descriptors left (RLIMIT_NOFILE), and its connections to Redis break"
    )

    async def strike(self, stage: Stage) -> None:
        post = stage.source.choice(stage.posts)
        limit = post.limit_descriptors(_SPARE_DESCRIPTORS)
        try:
            await asyncio.sleep(stage.size.seconds / 2)
            # What it had with Redis it now has to open anew, in competition with viewers.
            await command(stage.client, "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            await asyncio.sleep(stage.size.seconds / 2)
        finally:
            post.lift_limit(limit)
