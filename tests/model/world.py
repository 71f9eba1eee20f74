"""A run's stream as a list that remembers everything: what is there, and what ever was.

A *life* is what lies between two creations of the key. A failover that loses the newest entries
begins a new life too, which has the older entries in common with the last.

Ids are unique over all lives of a run, and no id of one life is next to an id of another: an edge
knows a stream by its ids alone, so two streams with the same ids are one to it.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum, auto

from broker.wire.ids import START, StreamId

__all__ = ["Life", "Moment", "Removal", "World"]


class Removal(Enum):
    """How an entry went while the stream stayed."""

    TRIMMED = auto()
    """From the head, with all before it."""
    DELETED = auto()
    """By itself (XDEL)."""


@dataclass(eq=False)
class Life:
    """One stream from its creation to its end."""

    added: list[StreamId] = field(default_factory=list)
    removed: dict[StreamId, Removal] = field(default_factory=dict)

    @property
    def present(self) -> list[StreamId]:
        """What can be read now, in order."""
        return [one for one in self.added if one not in self.removed]

    @property
    def last(self) -> StreamId:
        """The highest id ever given."""
        return self.added[-1]

    def between(self, after: StreamId, before: StreamId | None) -> list[StreamId]:
        """What was ever added after the one and before the other; `None` for no bound."""
        return [one for one in self.added if one > after and (before is None or one < before)]

    def copy(self) -> "Life":
        """Another life that begins with all that this one was."""
        return Life(list(self.added), dict(self.removed))


@dataclass(frozen=True)
class Moment:
    """The stream between two changes."""

    life: Life | None
    last: StreamId
    """The highest id given by then; `0-0` where there was no stream."""
    present: frozenset[StreamId]
    removals: frozenset[Removal]
    """The kinds of removals that the life has had."""


class World:
    """One run: its lives, the one that it has now, and each moment so far."""

    def __init__(self) -> None:
        self.lives: list[Life] = []
        self.life: Life | None = None
        self.data: dict[StreamId, str] = {}
        self.finals: set[StreamId] = set()
        self.moments: list[Moment] = []
        self._remember()

    @property
    def version(self) -> int:
        """The number of the present moment."""
        return len(self.moments) - 1

    @property
    def present(self) -> list[StreamId]:
        """What can be read now, in order."""
        return [] if self.life is None else self.life.present

    @property
    def over(self) -> bool:
        """Whether the terminal event was appended in this life."""
        return self.life is not None and any(one in self.finals for one in self.life.added)

    def ends_at(self, position: StreamId) -> bool:
        """Whether nothing can be read, or said to be missing, after that position."""
        life = self.life
        if life is None or position == START:
            return life is None and position == START
        rest = life.between(position, None)
        return position in life.added and all(
            life.removed.get(one) is Removal.DELETED for one in rest
        )

    def append(self, added: Iterable[tuple[StreamId, str]], *, final: bool = False) -> None:
        """Entries with their data; the last may be the terminal event."""
        if self.life is None:
            self.begin(Life())
        assert self.life is not None
        for entry_id, data in added:
            assert entry_id not in self.data
            self.data[entry_id] = data
            self.life.added.append(entry_id)
        if final:
            self.finals.add(self.life.last)
        self._remember()

    def remove(self, removed: Iterable[StreamId], how: Removal) -> None:
        """Entries that go while the stream stays."""
        if self.life is not None:
            self.life.removed.update(dict.fromkeys(removed, how))
            self._remember()

    def end(self) -> None:
        """The key is gone."""
        self.life = None
        self._remember()

    def begin(self, life: Life) -> None:
        """The key is there, and is another stream than before."""
        self.life = life
        self.lives.append(life)
        self._remember()

    def since(self, version: int) -> list[Moment]:
        """The moments from that version up to now."""
        return self.moments[version:]

    def _remember(self) -> None:
        life = self.life
        self.moments.append(
            Moment(
                life,
                life.last if life is not None and life.added else START,
                frozenset(self.present),
                frozenset(() if life is None else life.removed.values()),
            )
        )
