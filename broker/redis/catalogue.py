"""Which stream a run has, and how its entries are read: by the profile that it is looked at in.

Inside an edge a run goes by its *address*. That is the run's id alone where it is read as the
settings say, and `profile:id` where a profile keeps its runs under other keys, or has them end at
other events: the same stream, looked at in two profiles, may end in one and go on in the other.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from broker.redis.streams import KeyTemplate
from broker.wire.event import EventFormat
from broker.wire.ids import RunId

__all__ = ["Catalogue", "Reading"]

_SEPARATOR: Final = ":"
"""Never in a run's id, nor in a profile's name."""


@dataclass(frozen=True, slots=True)
class Reading:
    """How the runs of a profile are read."""

    keys: KeyTemplate
    events: EventFormat


class Catalogue:
    """The readings of all profiles that are served."""

    def __init__(self, usual: Reading, others: Mapping[str, Reading] | None = None) -> None:
        """
        Args:
            usual: what the settings say.
            others: those of profiles that have their own, by the profile's name.
        """
        self._usual = usual
        self._others: dict[str, Reading] = {}
        self._prefixes: dict[str, str] = {}
        known = {usual: ""}
        for name, reading in (others or {}).items():
            # Profiles that read alike share their feeds.
            prefix = known.setdefault(reading, f"{name}{_SEPARATOR}")
            self._prefixes[name] = prefix
            self._others[name] = reading

    def address(self, profile: str, run_id: RunId) -> RunId:
        """By what the profile's run goes."""
        return RunId(f"{self.prefix(profile)}{run_id}")

    def prefix(self, profile: str) -> str:
        """What the addresses of the profile's runs begin with; empty where they are read as the
        settings say."""
        return self._prefixes.get(profile, "")

    def run_of(self, address: RunId) -> RunId:
        """The run's own id."""
        return RunId(address.rpartition(_SEPARATOR)[2])

    def key(self, address: RunId) -> str:
        """The run's stream."""
        profile, _, run_id = address.rpartition(_SEPARATOR)
        return self._reading(profile).keys.key(RunId(run_id))

    def events(self, address: RunId) -> EventFormat:
        """How its entries are read."""
        return self._reading(address.rpartition(_SEPARATOR)[0]).events

    def _reading(self, profile: str) -> Reading:
        return self._others[profile] if profile else self._usual
