"""Redis as it is deployed, made of real processes: Sentinel, Cluster, TLS.

``node`` one server process · ``sentinel`` a primary with replicas under three Sentinels ·
``cluster`` primaries that share the slots, with replicas or without.

All of it is synchronous and may be called from any thread: a test in an event loop that must go on
meanwhile uses `asyncio.to_thread`. Everything listens on ports of its own, so tests may run side
by side. What is started must be closed; each deployment is also a context manager that does both.
"""

from tests.support.deployments.cluster import ClusterDeployment, SlotMove
from tests.support.deployments.node import Certificates, Node, TlsRedis
from tests.support.deployments.sentinel import SentinelDeployment

__all__ = [
    "Certificates",
    "ClusterDeployment",
    "Node",
    "SentinelDeployment",
    "SlotMove",
    "TlsRedis",
]
