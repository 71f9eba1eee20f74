"""What happens to Redis where it is several servers: under Sentinel, and as a Cluster."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from tests.faults.history import Failover
from tests.faults.kinds.fault import GAPS, Fault
from tests.faults.stage import Needs, Stage
from tests.faults.stores import ClusterStore, SentinelStore
from tests.support.deployments import ClusterDeployment, SentinelDeployment
from tests.support.producer import key_of

__all__ = [
    "ClusterKill",
    "ClusterSlots",
    "SentinelFailover",
    "SentinelKill",
    "SentinelLossyKill",
    "SentinelPause",
]

_UNREPLICATED_SECONDS: Final = 0.5


@asynccontextmanager
async def _logged(stage: Stage) -> AsyncIterator[None]:
    """What happens within is a failover, until the old primary takes no more writes."""
    began = time.monotonic()
    try:
        yield
    finally:
        stage.history.causes.append(Failover(began, time.monotonic()))


class _OnSentinel(Fault):
    """A primary and a replica under Sentinel."""

    @property
    def needs(self) -> Needs:
        return Needs(store=SentinelStore)

    async def strike(self, stage: Stage) -> None:
        assert isinstance(stage.store, SentinelStore)
        async with _logged(stage):
            await asyncio.to_thread(self.fail, stage.store.deployment)

    def fail(self, deployment: SentinelDeployment) -> None:
        """The failover itself; in a thread."""
        raise NotImplementedError


class SentinelFailover(_OnSentinel):
    """SENTINEL FAILOVER."""

    name = "sentinel-failover"
    title = "an operator has Sentinel fail over; the old primary takes writes until it is demoted"
    shows = GAPS

    def fail(self, deployment: SentinelDeployment) -> None:
        deployment.fail_over()
        deployment.until_settled()


class SentinelKill(_OnSentinel):
    """SIGKILL of the primary."""

    name = "sentinel-kill"
    title = "the primary under Sentinel is killed; a replica takes over, with what it has"
    shows = GAPS

    def fail(self, deployment: SentinelDeployment) -> None:
        deployment.kill_primary()
        deployment.restart_dead()


class SentinelLossyKill(_OnSentinel):
    """SIGKILL of a primary whose replica is behind."""

    name = "sentinel-lossy-kill"
    title = "the same, half a second after its replica was cut off: what it acknowledged is lost"
    shows = GAPS

    def fail(self, deployment: SentinelDeployment) -> None:
        deployment.pause_replication()
        time.sleep(_UNREPLICATED_SECONDS)
        deployment.kill_primary()
        deployment.restart_dead()


class SentinelPause(_OnSentinel):
    """SIGSTOP of the primary."""

    name = "sentinel-pause"
    title = "the primary under Sentinel hangs, a replica takes over, and the old one wakes up"
    shows = GAPS

    def fail(self, deployment: SentinelDeployment) -> None:
        before = deployment.pause_primary()
        deployment.resume(before)


class ClusterKill(Fault):
    """SIGKILL of a shard's primary."""

    name = "cluster-kill"
    title = "a primary of a Cluster is killed; its replica takes over, with what it has"

    @property
    def needs(self) -> Needs:
        return Needs(store=ClusterStore)

    async def strike(self, stage: Stage) -> None:
        deployment = _cluster(stage)
        index = deployment.shard_of(key_of(stage.source.choice(stage.runs)))
        async with _logged(stage):
            await asyncio.to_thread(deployment.kill_primary, index)
            await asyncio.to_thread(deployment.restart, index)


class ClusterSlots(Fault):
    """Slots that move."""

    name = "cluster-slots"
    title = "each run's slot moves to another primary of a Cluster, while it is written and watched"

    @property
    def needs(self) -> Needs:
        return Needs(store=ClusterStore)

    async def strike(self, stage: Stage) -> None:
        deployment = _cluster(stage)
        for run in stage.runs:
            key = key_of(run)
            target = (deployment.shard_of(key) + 1) % len(deployment.shards)
            await asyncio.to_thread(deployment.move_slot, deployment.slot_of(key), target)


def _cluster(stage: Stage) -> ClusterDeployment:
    assert isinstance(stage.store, ClusterStore)
    return stage.store.deployment
