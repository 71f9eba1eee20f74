"""What is taken from those who write over HTTP, with each bound's unit in its name."""

from dataclasses import dataclass

__all__ = ["PublishingLimits"]


@dataclass(frozen=True, slots=True)
class PublishingLimits:
    """How much, how many, how fast. The settings give the values and say why."""

    event_bytes: int = 1 << 20
    """Of one event, one command or one new run, as JSON."""
    body_bytes: int = 64 << 20
    body_events: int = 10_000
    """Each has its id in the answer."""
    idle_seconds: float = 30
    """The longest that a body may bring nothing complete."""
    events_per_second: int = 10_000
    """In this process."""
    run_events_per_second: int = 1_000
    requests: int = 256
    """Taken at a time, in this process."""
    retry_seconds: float = 10
    """How long an append is tried again: a failover in between is waited for, if it is quick."""
    batch_events: int = 100
    """Appended in one step, which holds up Redis for as long."""
    batch_bytes: int = 256 << 10
    """The same; of a larger event, one."""
    patience_seconds: float = 5
    """How long a body that is too fast is slowed down before it is refused."""
