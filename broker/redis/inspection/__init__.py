"""Is this Redis fit for the job? Looks, and returns findings; prints nothing, changes nothing.

``findings`` what is returned · ``judgements`` what to think of what a server says: pure ·
``rights`` what an edge must be permitted · ``unreachable`` why a server can't be used at all ·
``server``, ``sentinel``, ``cluster`` ask each kind of deployment.
"""

from dataclasses import replace

from broker.redis.addresses import Addresses, ClusterAddress, SentinelAddress
from broker.redis.inspection.cluster import inspect_cluster
from broker.redis.inspection.findings import Finding, Level
from broker.redis.inspection.sentinel import inspect_sentinel
from broker.redis.inspection.server import Needs, inspect_server

__all__ = ["Finding", "Level", "Needs", "inspect"]


async def inspect(addresses: Addresses, needs: Needs) -> list[Finding]:
    """Findings about all servers of a deployment.

    Args:
        addresses: where it is.
        needs: what an edge wants of each server.
    """
    if isinstance(addresses, ClusterAddress):
        return await inspect_cluster(addresses, needs)
    findings: list[Finding] = []
    for address in addresses:
        if isinstance(address, SentinelAddress):
            found = await inspect_sentinel(address, needs)
        else:
            found = await inspect_server(address, needs)
        if len(addresses) > 1:
            found = [
                finding if finding.server else replace(finding, server=address.shown)
                for finding in found
            ]
        findings += found
    return findings
