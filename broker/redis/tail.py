"""The tail: says which watched runs may have new events. What its strategies have in common.

``block_tail`` XREAD BLOCK, everywhere · ``notify_tail`` keyspace notifications, for many runs ·
``auto_tail`` whichever the server allows now. All of them only wake the hub, which reads what is
new with the proof that nothing was skipped.
"""

from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Final, Literal, Protocol

from broker.engine.hub import Tail

__all__ = ["ANSWER_MARGIN_SECONDS", "RedisTail", "Strategy", "TailSettings", "TailStats"]

Strategy = Literal["auto", "notify", "block"]

ANSWER_MARGIN_SECONDS: Final = 3.0
"""How much longer than it was asked to wait a server may take, before its connection counts as
dead."""


@dataclass(frozen=True, slots=True)
class TailSettings:
    """Bounds and intervals of the tail."""

    strategy: Strategy = "auto"
    enable_notifications: bool = False
    """Whether to turn keyspace notifications on where they are off (CONFIG SET)."""
    block_seconds: float = 5
    """How long an XREAD blocks, and how often a notification connection is probed; also the
    longest time until a dead connection is noticed, plus a margin."""
    keys_per_connection: int = 32
    sweep_seconds: float = 10
    backoff_seconds: float = 0.1
    backoff_max_seconds: float = 5


@dataclass(slots=True)
class TailStats:
    """What the tail counts."""

    wakeups: int = 0
    interruptions: int = 0
    reconnects: int = 0


class RedisTail(Tail, AbstractAsyncContextManager["RedisTail"], Protocol):
    """A strategy, as the app and the metrics see it: entered while the hub is in use."""

    stats: TailStats

    @property
    def strategy(self) -> str:
        """The strategy that is in use now."""

    @property
    def connection_count(self) -> int:
        """Connections of its own."""
