"""What workers and edges must agree on, and how long things are kept."""

from dataclasses import dataclass, field

from broker.redis.appending import RETENTION_AFTER_END_SECONDS, RETENTION_SECONDS
from broker.redis.persistence import RETRY_SECONDS
from broker.redis.streams import KeyTemplate
from broker.wire.event import EventFormat

__all__ = ["TERMINAL_TYPES", "PublishingSettings"]

TERMINAL_TYPES = frozenset({"done", "succeeded", "failed", "cancelled", "timed_out"})
"""Those that end a run unless the settings say otherwise."""


@dataclass(frozen=True, slots=True)
class PublishingSettings:
    """The defaults are the edge's. Names must be the same on both sides."""

    key_template: str = "run:{run_id}"
    """A run's key; a literal hash tag is written ``{{tag}}``."""
    requests_key: str = "runs:requests"
    """The stream of requests for runs."""
    agent_template: str = "agent:{name}:current"
    """The key that has the id of an agent's current run."""
    events: EventFormat = field(default_factory=lambda: EventFormat(terminal_types=TERMINAL_TYPES))
    """Field names, and what ends a run. What ends one through us does so on any edge."""

    succeeded_type: str = "succeeded"
    """The event when the block of a run is left."""
    failed_type: str = "failed"
    """The event when it is left by an exception."""
    cancelled_type: str = "cancelled"
    """The event when it is left by being cancelled."""

    retention_seconds: int = RETENTION_SECONDS
    """How long a run is kept after its newest event, or its last sign of life."""
    retention_after_end_seconds: int = RETENTION_AFTER_END_SECONDS
    """The same after its end."""
    retry_seconds: float = RETRY_SECONDS
    """How long an append is tried again while Redis does not answer."""
    timeout_seconds: float = 5.0
    """The longest wait for one of Redis' answers."""

    def __post_init__(self) -> None:
        KeyTemplate(self.key_template)
        if self.agent_template.count("{name}") != 1:
            raise ValueError(f"{self.agent_template!r} must have {{name}} exactly once")

    @property
    def keys(self) -> KeyTemplate:
        """How runs' keys are made."""
        return KeyTemplate(self.key_template)
