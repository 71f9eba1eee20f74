"""Publishing runs: where they are, and how one is opened."""

from types import TracebackType
from typing import Self
from uuid import uuid4

from broker.publishing.run import Run
from broker.publishing.settings import PublishingSettings
from broker.redis.appending import Appender
from broker.redis.opening import make_deployment
from broker.wire.ids import RunId, is_run_id

__all__ = ["LEASE_SECONDS", "RunPublisher"]

LEASE_SECONDS = 60.0
"""Longer than most failovers of Redis take, in which no lease can be renewed."""
_CONNECTIONS = 2


class RunPublisher:
    """Publishes runs, any number at a time. An async context manager.

    .. code:: python

        async with RunPublisher("redis://127.0.0.1:6379/0") as publisher:
            async with publisher.run("42") as run:
                await run.emit("chunk", {"text": "hi"})
    """

    def __init__(self, url: str, settings: PublishingSettings | None = None) -> None:
        """
        Args:
            url: as for an edge: one server, Sentinel, Cluster, or several primaries.
            settings: names and times, where they are not the defaults.

        Raises:
            RedisUrlError: the URL is none of ours.
        """
        self.settings = settings or PublishingSettings()
        """As given."""
        self.deployment = make_deployment(
            url, connections=_CONNECTIONS, timeout_seconds=self.settings.timeout_seconds
        )
        """Where the runs are."""
        self.appender = Appender(
            self.deployment,
            self.settings.keys,
            self.settings.events,
            retention_seconds=self.settings.retention_seconds,
            retention_after_end_seconds=self.settings.retention_after_end_seconds,
            retry_seconds=self.settings.retry_seconds,
        )
        """What appends to them."""

    async def __aenter__(self) -> Self:
        await self.deployment.__aenter__()
        return self

    async def __aexit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.deployment.__aexit__(exception_type, exception, traceback)

    def run(
        self,
        run_id: str | None = None,
        *,
        agent: str | None = None,
        dense: bool = False,
        lease_seconds: float | None = LEASE_SECONDS,
        owner: str | None = None,
    ) -> Run:
        """A run, to be entered.

        Args:
            run_id: its id; `None` has one made, which is then its `run_id`.
            agent: whose current run it becomes; characters as in a run id.
            dense: whether its ids are 0-1, 0-2, …, going on from the agent's last run. Then every
                producer of the run must want that.
            lease_seconds: after so long without a sign of life an edge ends the run with
                ``worker_lost``. `None`: nobody does.
            owner: the subject whose run it is, for rights on one's own runs (``watch:@own``);
                of a run that was asked for over HTTP it is there already. `None`: nobody's.

        Raises:
            ValueError: the id or the agent's name can't be one.
        """
        chosen = uuid4().hex if run_id is None else run_id
        if not is_run_id(chosen):
            raise ValueError("a run's id has 1 to 128 of A-Z a-z 0-9 _ -")
        if agent is not None and not is_run_id(agent):
            raise ValueError("an agent's name has 1 to 128 of A-Z a-z 0-9 _ -")
        if lease_seconds is not None and lease_seconds <= 0:
            raise ValueError("a lease is longer than nothing")
        if owner == "":
            raise ValueError("an owner has a name")
        return Run(
            RunId(chosen),
            self.deployment,
            self.appender,
            self.settings,
            agent=agent,
            dense=dense,
            lease_seconds=lease_seconds,
            owner=owner,
        )
