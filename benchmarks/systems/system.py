"""What a scenario may ask of a system under test, whichever it is."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import ClassVar

__all__ = ["Ability", "CantInstall", "Place", "Requests", "Running", "Store", "System"]


class Store(Enum):
    """Where a system keeps events, and so what an event passes on its way to a viewer."""

    NONE = "none"
    MEMORY = "memory"
    DISK = "disk"
    REDIS = "redis"


class Ability(Enum):
    """What not every system can do. A scenario names what it needs."""

    REPLAY = "a viewer without a cursor gets the events from before it came"
    RESUME = "a viewer with a cursor gets what it missed"


class CantInstall(Exception):
    """The system can't be had on this machine; the text says why, in one line."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a system runs."""

    directory: Path
    """Its own, for configuration and data; removed afterwards."""
    cores: frozenset[int]
    """The cores that its processes are to be pinned to."""
    redis_url: str
    """A Redis of its own, empty, on other cores. Not every system uses it."""


@dataclass(frozen=True, slots=True)
class Requests:
    """HTTP/1.1 requests of viewers, whole, as bytes: ``{run}`` and ``{cursor}`` are replaced."""

    port: int
    first: bytes
    """A viewer's first request: from the beginning where the system can, else from now on."""
    again: bytes | None
    """Its request to go on after ``{cursor}`` (the last SSE id it saw); `None` without RESUME."""


class Running(ABC):
    """A system that is up and answers."""

    requests: Requests

    def requests_of(self, viewer: int, run: str) -> Requests:
        """Those of one viewer; with a credential of their own, where the system wants one.

        Args:
            viewer: their number, from 0.
            run: the only one that they watch.
        """
        return self.requests

    @property
    @abstractmethod
    def pids(self) -> Sequence[int]:
        """The processes that are the system; without Redis and the benchmark's own."""

    @abstractmethod
    async def publish(self, events: Sequence[tuple[str, bytes]]) -> None:
        """Publishes pairs of run and data, in this order, in the quickest way that the system
        documents; returns when it has accepted them all.

        Raises:
            OSError: it did not.
        """


class System(ABC):
    """A system under test."""

    name: ClassVar[str]
    """Short, for the command line and for result files: ``nchan-redis``."""
    title: ClassVar[str]
    """For tables and plots: ``nchan (Redis)``."""
    store: ClassVar[Store]
    abilities: ClassVar[frozenset[Ability]]
    variant: ClassVar[bool] = False
    """Whether it is another one, set up in a way that only some scenarios ask about: those that
    name it."""

    @abstractmethod
    def install(self, say: Callable[[str], None]) -> None:
        """Makes it runnable, if it is not; says what takes long.

        Raises:
            CantInstall: it can't be had here.
        """

    @abstractmethod
    def version(self) -> str:
        """The version that `install` has made runnable."""

    @abstractmethod
    def run(self, place: Place) -> AbstractAsyncContextManager[Running]:
        """Runs it while the context lasts, set up for many viewers and few surprises: the
        settings that its own documentation advises for performance, logging off, one process or
        one worker where it lets one choose."""
