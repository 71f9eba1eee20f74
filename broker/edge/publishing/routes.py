"""Puts the routes together, over the Redis of an edge."""

import time
from collections.abc import Callable
from typing import Final

from broker.edge.auth.gate import Asks, EdgeRoute, Endpoint, guarded, no_run, run_of_path
from broker.edge.auth.guard import Guard
from broker.edge.auth.rights import Action
from broker.edge.publishing.commands import CommandsEndpoint
from broker.edge.publishing.create import CreateEndpoint, RunCreator
from broker.edge.publishing.intake import Intake
from broker.edge.publishing.limits import PublishingLimits
from broker.edge.publishing.publish import PublishEndpoint, Tracing
from broker.edge.publishing.rates import Rates
from broker.edge.publishing.stats import PublishingStats
from broker.redis.appending import Appender, NewEvent
from broker.redis.catalogue import Reading
from broker.redis.commands import Commands
from broker.redis.deployment import Deployment
from broker.redis.requests import QUEUED, Requests

__all__ = ["NATIVE", "Publishing"]

_POST: Final = ("POST",)

NATIVE: Final = "native"
"""The profile that runs are asked for in at `POST /v1/runs`."""


class Publishing:
    """What an edge needs to take events, commands and new runs."""

    def __init__(
        self,
        deployment: Deployment,
        usual: Reading,
        limits: PublishingLimits,
        stats: PublishingStats,
        *,
        requests_key: str,
        queued_timeout_seconds: float | None,
        guard: Guard,
        leaving: Callable[[], bool],
        tracing: Tracing | None = None,
    ) -> None:
        """
        Args:
            deployment: where runs are.
            usual: which keys they have, and how they are read.
            limits: the bounds.
            stats: where to count.
            requests_key: the stream of requests for new runs.
            queued_timeout_seconds: how long a run waits for a worker; `None`: for ever.
            guard: who may do what.
            leaving: whether this process is about to end.
            tracing: traces appends; `None`: nobody does.
        """
        rates = Rates(
            per_second=limits.events_per_second,
            run_per_second=limits.run_events_per_second,
            clock=time.monotonic,
        )
        self.intake = Intake(limits, rates, stats, leaving)
        self._guard = guard
        self._tracing = tracing
        self._deployment = deployment
        self._usual = usual
        self._requests_key = requests_key
        self._queued_timeout = queued_timeout_seconds

    def creator(
        self,
        profile: str,
        reading: Reading,
        *,
        queued: NewEvent | None = QUEUED,
        dense: bool = False,
    ) -> RunCreator:
        """What the routes of a profile ask for runs with; see `RunCreator`.

        Args:
            profile: its name.
            reading: which keys its runs have, and how they are read.
            queued: the event that a run begins with; `None` for none.
            dense: whether its runs have dense ids.
        """
        requests = Requests(
            self._deployment,
            self._appender(reading),
            requests_key=self._requests_key,
            queued_timeout_seconds=self._queued_timeout,
            retry_seconds=self.intake.limits.retry_seconds,
        )
        return RunCreator(requests, self.intake, profile, queued=queued, dense=dense)

    def commands(self, reading: Reading) -> Commands:
        """What the workers of a profile's runs are told with."""
        return Commands(
            self._deployment,
            reading.keys,
            self._appender(reading),
            retry_seconds=self.intake.limits.retry_seconds,
        )

    def routes(self) -> list[EdgeRoute]:
        """The routes."""
        appender = self._appender(self._usual)
        create = CreateEndpoint(self.creator(NATIVE, self._usual), self.intake)
        command = CommandsEndpoint(self.commands(self._usual), self.intake)
        publish = PublishEndpoint(appender, self._ends_run, self.intake, self._tracing)
        return [
            guarded(self._guard, "/v1/runs", _POST, create, Asks(Action.COMMAND), no_run),
            self._of_run("commands", command, Action.COMMAND),
            self._of_run("events", publish, Action.PUBLISH),
        ]

    def _of_run(self, name: str, endpoint: Endpoint, action: Action) -> EdgeRoute:
        path = f"/v1/runs/{{run_id}}/{name}"
        return guarded(self._guard, path, _POST, endpoint, Asks(action), run_of_path)

    def _appender(self, reading: Reading) -> Appender:
        return Appender(
            self._deployment,
            reading.keys,
            reading.events,
            retry_seconds=self.intake.limits.retry_seconds,
        )

    def _ends_run(self, event: NewEvent) -> bool:
        return event.final or self._usual.events.ends_run(event.type, event.data.encode())
