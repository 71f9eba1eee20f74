"""What happens to a single Redis."""

import asyncio
import time
from typing import Final

from redis.exceptions import RedisError

from broker.redis.connections import command
from tests.faults.history import Wipe
from tests.faults.kinds.fault import GAPS, INTERRUPTED, Fault
from tests.faults.stage import Needs, Stage
from tests.faults.stores import ClockedStore, SingleStore, faketime_library

__all__ = [
    "RedisClientKill",
    "RedisClockBack",
    "RedisKill",
    "RedisKillEmpty",
    "RedisOutputBuffer",
    "RedisPause",
    "RedisReload",
    "RedisSubscriberKill",
]

_HOUR: Final = 3600
_LONGER_THAN_EDGES_WAIT: Final = (3.5, 4.5)
"""Seconds; they wait for 2, and for 3 where they let Redis block."""


class RedisKill(Fault):
    """SIGKILL of a server with an append-only file."""

    name = "redis-kill"
    title = "Redis is killed and started again, with everything it acknowledged (AOF, fsync always)"
    shows = INTERRUPTED

    async def strike(self, stage: Stage) -> None:
        stage.single.process.kill()
        await asyncio.sleep(stage.source.uniform(0, stage.size.seconds))
        await asyncio.to_thread(stage.single.process.start)


class RedisKillEmpty(Fault):
    """SIGKILL of a server that keeps nothing."""

    name = "redis-kill-empty"
    title = "Redis is killed and started again with nothing (no persistence)"
    shows = INTERRUPTED

    @property
    def needs(self) -> Needs:
        return Needs(store=lambda: SingleStore(append_only=False))

    async def strike(self, stage: Stage) -> None:
        began = time.monotonic()
        stage.single.process.kill()
        await asyncio.sleep(stage.source.uniform(0, stage.size.seconds))
        ended = time.monotonic()
        stage.history.causes += [
            Wipe(run, began, ended, "a restart without persistence") for run in stage.runs
        ]
        await asyncio.to_thread(stage.single.process.start)


class RedisPause(Fault):
    """SIGSTOP, SIGCONT."""

    name = "redis-pause"
    title = "Redis is stopped in its tracks (SIGSTOP) for longer than edges wait, and goes on"
    shows = INTERRUPTED

    async def strike(self, stage: Stage) -> None:
        stage.single.process.pause()
        try:
            await asyncio.sleep(stage.source.uniform(*_LONGER_THAN_EDGES_WAIT))
        finally:
            stage.single.process.resume()


class RedisClientKill(Fault):
    """CLIENT KILL TYPE normal."""

    name = "client-kill"
    title = "CLIENT KILL TYPE normal, again and again: edges' and workers' connections"
    shows = INTERRUPTED

    async def strike(self, stage: Stage) -> None:
        await _kill_clients(stage, "normal")


class RedisSubscriberKill(Fault):
    """CLIENT KILL TYPE pubsub."""

    name = "client-kill-pubsub"
    title = "CLIENT KILL TYPE pubsub, again and again: edges' subscriptions"
    shows = INTERRUPTED

    @property
    def needs(self) -> Needs:
        return Needs(settings={"tail": "notify"})

    async def strike(self, stage: Stage) -> None:
        await _kill_clients(stage, "pubsub")


class RedisReload(Fault):
    """DEBUG RELOAD."""

    name = "debug-reload"
    title = "DEBUG RELOAD: Redis writes all it has and reads it back"

    async def strike(self, stage: Stage) -> None:
        await command(stage.client, "DEBUG", "RELOAD")
        await asyncio.sleep(stage.size.seconds / 4)


class RedisOutputBuffer(Fault):
    """CONFIG SET client-output-buffer-limit."""

    name = "redis-output-buffer"
    title = "Redis' output buffers are too small for pages, and for a subscriber that hangs"
    shows = INTERRUPTED

    @property
    def needs(self) -> Needs:
        return Needs(settings={"tail": "notify"})

    async def strike(self, stage: Stage) -> None:
        name = "client-output-buffer-limit"
        before = str((await stage.client.config_get(name))[name])
        post = stage.source.choice(stage.posts)
        await stage.client.config_set(name, "normal 16kb 0 0 pubsub 1kb 0 0")
        post.pause()
        try:
            await asyncio.sleep(stage.size.seconds / 2)
            post.resume()
            await asyncio.sleep(stage.size.seconds / 2)
        finally:
            post.resume()
            await stage.client.config_set(name, before)


class RedisClockBack(Fault):
    """libfaketime."""

    name = "redis-clock-back"
    title = "Redis' clock is set back by an hour; then a run is deleted and begins with lower ids"
    shows = GAPS

    @property
    def needs(self) -> Needs:
        return Needs(store=ClockedStore)

    @property
    def missing(self) -> str | None:
        if faketime_library() is None:
            return "libfaketime is not installed (Debian: apt-get install faketime)"
        return None

    async def strike(self, stage: Stage) -> None:
        assert isinstance(stage.store, ClockedStore)
        stage.store.set_clock(-_HOUR)
        await asyncio.sleep(stage.size.seconds / 2)
        await stage.surgery.delete_run(stage.source.choice(stage.runs))
        await asyncio.sleep(stage.size.seconds / 2)


async def _kill_clients(stage: Stage, kind: str) -> None:
    for _ in range(5):
        try:
            await command(stage.client, "CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes")
        except RedisError as error:
            raise AssertionError(f"the fault itself failed: {error}") from error
        await asyncio.sleep(stage.size.seconds / 5)
