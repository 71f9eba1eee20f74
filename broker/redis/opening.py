"""From a URL to the deployment that it describes."""

from broker.redis.addresses import ClusterAddress, parse_addresses
from broker.redis.cluster import Cluster
from broker.redis.deployment import Deployment, Primaries

__all__ = ["make_deployment"]


def make_deployment(url: str, *, connections: int, timeout_seconds: float) -> Deployment:
    """The deployment; nothing is opened before it is entered.

    Args:
        url: one URL, or several of independent primaries, separated by spaces.
        connections: to each server, shared by all commands.
        timeout_seconds: how long one command may take.

    Raises:
        RedisUrlError: the URL is none of ours.
    """
    addresses = parse_addresses(url)
    if isinstance(addresses, ClusterAddress):
        return Cluster(addresses, connections=connections, timeout_seconds=timeout_seconds)
    return Primaries(addresses, connections=connections, timeout_seconds=timeout_seconds)
