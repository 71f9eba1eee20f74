"""The library for workers: publish runs, take requests for new ones, hear commands.

``publisher`` opens runs · ``run`` is one of them · ``blocking`` is both without asyncio ·
``worker`` takes requests · ``requests`` and ``commands`` read their streams · ``agents`` keeps what
an agent does now · ``settings`` are the names that must be the edge's.

Knows Redis, and nothing of edges: what it writes is what plain ``XADD`` would, and the meta key.
"""

from broker.publishing.blocking import BlockingRun, BlockingRunPublisher
from broker.publishing.commands import Command
from broker.publishing.publisher import RunPublisher
from broker.publishing.requests import Request
from broker.publishing.run import Run
from broker.publishing.settings import PublishingSettings
from broker.publishing.worker import worker
from broker.redis.appending import OtherOwner, RunEnded
from broker.redis.persistence import AppendError, NotAppended

__all__ = [
    "AppendError",
    "BlockingRun",
    "BlockingRunPublisher",
    "Command",
    "NotAppended",
    "OtherOwner",
    "PublishingSettings",
    "Request",
    "Run",
    "RunEnded",
    "RunPublisher",
    "worker",
]
