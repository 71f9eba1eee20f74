"""Every bound of the engine, with its unit in its name."""

from dataclasses import dataclass

__all__ = ["Limits"]


@dataclass(frozen=True, slots=True)
class Limits:
    """How much, how many, how long. The settings give the values and say why."""

    window_bytes: int = 1 << 20
    windows_bytes: int = 256 << 20
    """Of all windows together."""
    recent_bytes: int = 32 << 20
    """Of all pages that were read lately together."""
    recent_seconds: float = 10
    page_events: int = 100
    """Few, since other runs wait while a page is being decoded: some 10 µs for each event."""
    page_bytes: int = 256 << 10
    first_page_events: int = 32
    """Of a run whose events' size is not known yet."""
    paced_bytes: int = 4 << 10
    """Of the events that are taken at a time for a viewer who wants them one by one."""
    paced_events: int = 8
    """The same, where they are read from Redis."""
    unsent_bytes: int = 256 << 10
    replay_concurrency: int = 8
    heartbeat_seconds: float = 15
    stall_timeout_seconds: float = 30
    linger_seconds: float = 10
    missing_run_timeout_seconds: float = 300
    retry_seconds: float = 3
    retry_backoff_seconds: float = 0.1
    retry_backoff_max_seconds: float = 5

    @property
    def look_seconds(self) -> float:
        """How often each viewer is looked at: in time for its heartbeat, and a stall timeout is
        exceeded by a quarter at most."""
        return min(self.heartbeat_seconds, self.stall_timeout_seconds / 4)
