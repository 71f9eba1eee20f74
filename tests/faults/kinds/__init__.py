"""Every fault, by the name it is asked for."""

from typing import Final

from tests.faults.kinds.deployments import (
    ClusterKill,
    ClusterSlots,
    SentinelFailover,
    SentinelKill,
    SentinelLossyKill,
    SentinelPause,
)
from tests.faults.kinds.edges import EdgeDescriptors, EdgeKill, EdgePause, EdgeRestart
from tests.faults.kinds.fault import Fault
from tests.faults.kinds.mixed import MixedEdges, MixedRedis, MixedStreams
from tests.faults.kinds.network import (
    RedisLineDead,
    RedisLineLatency,
    RedisLineReset,
    RedisLineSlices,
    RedisLineThrottled,
    ViewerLineDead,
    ViewerLineLatency,
    ViewerLineReset,
    ViewerLineSlices,
    ViewerLineThrottled,
)
from tests.faults.kinds.redis import (
    RedisClientKill,
    RedisClockBack,
    RedisKill,
    RedisKillEmpty,
    RedisOutputBuffer,
    RedisPause,
    RedisReload,
    RedisSubscriberKill,
)
from tests.faults.kinds.streams import (
    DeleteEntries,
    DeleteRun,
    ExpireRun,
    TrimLength,
    TrimMinimum,
)
from tests.faults.kinds.viewers import Calm, Stalled, Trickling

__all__ = ["FAULTS", "Fault"]

FAULTS: Final[dict[str, Fault]] = {
    fault.name: fault
    for fault in (
        Calm(),
        EdgeKill(),
        EdgePause(),
        EdgeRestart(),
        EdgeDescriptors(),
        RedisKill(),
        RedisKillEmpty(),
        RedisPause(),
        RedisReload(),
        RedisClientKill(),
        RedisSubscriberKill(),
        RedisOutputBuffer(),
        RedisClockBack(),
        TrimLength(),
        TrimMinimum(),
        DeleteEntries(),
        DeleteRun(),
        ExpireRun(),
        ViewerLineLatency(),
        ViewerLineThrottled(),
        ViewerLineSlices(),
        ViewerLineReset(),
        ViewerLineDead(),
        RedisLineLatency(),
        RedisLineThrottled(),
        RedisLineSlices(),
        RedisLineReset(),
        RedisLineDead(),
        SentinelFailover(),
        SentinelKill(),
        SentinelPause(),
        SentinelLossyKill(),
        ClusterKill(),
        ClusterSlots(),
        Stalled(),
        Trickling(),
        MixedEdges(),
        MixedRedis(),
        MixedStreams(),
    )
}
