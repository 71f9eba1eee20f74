"""Commands to a run's worker: a stream beside the run, written by edges, read by the worker."""

from dataclasses import dataclass
from typing import Final, NamedTuple
from uuid import uuid4

from broker.redis.appending import Appender, NewEvent
from broker.redis.deployment import Deployment
from broker.redis.persistence import RETRY_SECONDS
from broker.redis.streams import KeyTemplate
from broker.wire.event import EventFormat
from broker.wire.ids import RunId, StreamId

__all__ = ["MOST_COMMANDS", "CommandAppended", "Commands", "commands_key"]

MOST_COMMANDS: Final = 1000
"""Kept for each run, about; the oldest go."""
_FORMAT: Final = EventFormat()
"""``type`` and ``data``, whatever the fields of events are called. No command ends anything."""


def commands_key(key: str) -> str:
    """The stream of commands to the run with the stream `key`."""
    return f"{key}:commands"


class CommandAppended(NamedTuple):
    """What became of a command."""

    id: StreamId | None
    """`None` for a repeated one whose id is not known any more."""
    open: bool
    """Whether the run had not ended when the command was appended; it may have just after."""


@dataclass(frozen=True, slots=True)
class _CommandKeys(KeyTemplate):
    """Makes the keys of commands from a template for those of runs."""

    def key(self, run_id: RunId) -> str:
        return commands_key(self.template.format(run_id=run_id))


class Commands:
    """Appends commands. They are kept as long as a run is."""

    def __init__(
        self,
        deployment: Deployment,
        keys: KeyTemplate,
        runs: Appender,
        *,
        retry_seconds: float = RETRY_SECONDS,
    ) -> None:
        """
        Args:
            deployment: where runs and commands are.
            keys: how runs' keys are made.
            runs: knows whether a run has ended.
            retry_seconds: for how long an append is tried again.
        """
        self._runs = runs
        self._appender = Appender(
            deployment,
            _CommandKeys(keys.template),
            _FORMAT,
            most_entries=MOST_COMMANDS,
            retry_seconds=retry_seconds,
        )

    async def append(
        self, run_id: RunId, type: str, data: str, *, idempotency_key: str | None = None
    ) -> CommandAppended:
        """Appends a command, once.

        Args:
            run_id: the run; it need not have begun.
            type: such as ``cancel``.
            data: JSON text.
            idempotency_key: names the command, so that another call with it appends nothing.

        Raises:
            ValueError: the type can't be one.
            RedisError, OSError: whether the run is open can't be found out; nothing was appended.
            AppendError: see there.
        """
        ended = await self._runs.ended(run_id)
        appended = await self._appender.append(
            run_id, [NewEvent(type, data)], producer=idempotency_key or uuid4().hex, sequence=1
        )
        return CommandAppended(appended[0].id, open=ended is None)
