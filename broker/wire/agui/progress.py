"""How far a client of AG-UI has been told: what is open, and what it would reject next.

A mirror of the client's own checks (`verifyEvents` and `transformChunks` of `@ag-ui/client` 1.0).
"""

from typing import Any

from broker.wire.agui.documents import run_broken, run_started
from broker.wire.agui.vocabulary import (
    CHUNKS,
    CLOSERS,
    CONTINUERS,
    KEEPS_LANES,
    OPENERS,
    OWNER,
    Chunk,
    Document,
    Kind,
)
from broker.wire.ids import RunId

__all__ = ["Progress"]

_Key = tuple[str, str | None, str]

_ALL_LANES_END = frozenset({"RUN_STARTED", "RUN_FINISHED", "RUN_ERROR", "MESSAGES_SNAPSHOT"})


class Progress:
    """What a client has been told. Take in each event that it is sent, in order."""

    def __init__(self, run_id: RunId) -> None:
        self._run_id = run_id
        self.started = False
        """Whether anything was said of a run."""
        self.ended: str | None = None
        """The type of the event that ended it, if it has ended."""
        self._open: dict[_Key, Document] = {}
        self._closed_subagents: set[str] = set()
        self._lanes: dict[str | None, Document] = {}
        self._tool_names: dict[str, str] = {}
        self._owners: dict[tuple[str, str], str | None] = {}

    @property
    def active(self) -> bool:
        """Whether a run has begun and not ended: only then is every kind of event accepted."""
        return self.started and self.ended is None

    def copy(self) -> "Progress":
        """Another, that goes its own way from here."""
        other = Progress(self._run_id)
        other.started, other.ended = self.started, self.ended
        other._open = dict(self._open)
        other._closed_subagents = set(self._closed_subagents)
        other._lanes = dict(self._lanes)
        other._tool_names = dict(self._tool_names)
        other._owners = dict(self._owners)
        return other

    def _begin(self) -> None:
        self.ended = None
        self._open.clear()
        self._closed_subagents.clear()
        self._tool_names.clear()
        self._owners.clear()

    # ---- what a client is sent

    def take(self, said: Document) -> None:
        """The client is sent this event.

        One that continues what was never opened counts as its opening, too: that is how the end
        of a run looks whose beginning is gone.
        """
        event_type = said["type"]
        self._close_lanes(said)
        if event_type == "RUN_STARTED":
            self._begin()
        self.started = True
        self._learn_tool_name(said)
        if event_type in ("RUN_FINISHED", "RUN_ERROR"):
            self.ended = event_type
        elif kind := OPENERS.get(event_type):
            if key := _key(kind, said):
                self._open[key] = said
                self._own(kind, key[2], said)
        elif kind := CONTINUERS.get(event_type):
            if key := _key(kind, said):
                self._open.setdefault(key, self._opener(kind, said))
                self._own(kind, key[2], said)
        elif kind := CLOSERS.get(event_type):
            if key := _key(kind, said):
                self._open.pop(key, None)
                if kind.id == OWNER:
                    self._closed_subagents.add(key[2])
        elif chunk := CHUNKS.get(event_type):
            owner, continued = self._lane(chunk, said)
            if not continued:
                opening = self._lanes[owner] = self._opening_chunk(chunk, said)
                self._own(chunk.kind, opening[chunk.id], said)

    def restart(self) -> list[Document]:
        """What opens, for a client that begins anew, all that is open."""
        return [*map(self._restarted, self._open.values()), *self.lanes]

    @property
    def lanes(self) -> list[Document]:
        """Chunks that open again what chunks have open."""
        return list(self._lanes.values())

    # ---- what it would reject

    def continues(self, said: Document) -> bool:
        """Whether this only continues what is open, as nine of ten events do: the client accepts
        it as it is, and is where it was."""
        kind = CONTINUERS.get(said["type"])
        if kind is None or self._lanes or OWNER in said:
            return False
        return self.active and _key(kind, said) in self._open

    def missing(self, said: Document) -> list[Document] | None:
        """What the client must be sent for it to accept this event; `None` if it never will."""
        event_type = said["type"]
        if self.ended is not None and event_type != "RUN_STARTED":
            after_its_end = event_type == "RUN_ERROR" and self.ended == "RUN_FINISHED"
            return [] if after_its_end else None
        if event_type == "RUN_STARTED":
            return [run_broken()] if self.active else []
        needed: list[Document] = [] if self.started else [run_started(self._run_id)]
        if event_type == "RUN_FINISHED":
            return [*needed, *self._closers()]
        if kind := OPENERS.get(event_type):
            return self._before_opener(kind, said, needed)
        if kind := CONTINUERS.get(event_type) or CLOSERS.get(event_type):
            return self._before_continuation(kind, said, needed)
        if chunk := CHUNKS.get(event_type):
            return needed + self._before_chunk(chunk, said)
        return needed

    def mended(self, said: Document) -> Document:
        """The event, after what was missing, without what contradicts what the client was told:
        another owner, or another name of what a chunk continues."""
        wrong: set[str] = set()
        chunk = CHUNKS.get(said["type"])
        if chunk is not None:
            lane, continued = self._lane(chunk, said)
            told = self._lanes[lane] if continued else said
            wrong = {
                name for name in chunk.opens_with if said.get(name) not in (None, told.get(name))
            }
        kind = _kind_of(said) if chunk is None else chunk.kind
        key = None if kind is None else _key(kind, said)
        if kind is not None and kind.bucket is not None and key is not None:
            owner = _owner(said)
            if self._owners.get((kind.bucket, key[2]), owner) != owner:
                wrong.add(OWNER)
        return {name: said[name] for name in said if name not in wrong} if wrong else said

    def _own(self, kind: Kind, own_id: str, said: Document) -> None:
        if kind.bucket is not None:
            self._owners.setdefault((kind.bucket, own_id), _owner(said))

    def _before_opener(
        self, kind: Kind, said: Document, needed: list[Document]
    ) -> list[Document] | None:
        key = _key(kind, said)
        if key is None:
            return needed
        if kind.id == OWNER:
            # One invocation, one id: a second beginning is never accepted.
            if self._knows_subagent(key[2]):
                return None
            parent = said.get("parentSubagentRunId")
            if isinstance(parent, str) and not self._knows_subagent(parent):
                needed.append(self._opener(kind, {OWNER: parent}))
        elif key in self._open:
            needed.append(_closer(kind, self._open[key]))
        return needed

    def _before_continuation(
        self, kind: Kind, said: Document, needed: list[Document]
    ) -> list[Document] | None:
        key = _key(kind, said)
        if key is None or key in self._open:
            return needed
        if kind.id == OWNER and key[2] in self._closed_subagents:
            return None
        return [*needed, self._opener(kind, said)]

    def _before_chunk(self, chunk: Chunk, said: Document) -> list[Document]:
        _, continued = self._lane(chunk, said)
        if continued:
            return []
        opening = self._opening_chunk(chunk, said)
        key = (chunk.kind.name, None, opening[chunk.id])
        closed = [_closer(chunk.kind, self._open[key])] if key in self._open else []
        opens = isinstance(said.get(chunk.id), str) and all(
            isinstance(said.get(name), str) for name in chunk.required
        )
        return closed if opens else [*closed, opening]

    def _closers(self) -> list[Document]:
        kinds = {kind.name: kind for kind in OPENERS.values()}
        return [_closer(kinds[key[0]], self._open[key]) for key in reversed(self._open)]

    def _restarted(self, opener: Document) -> Document:
        """The opener, without a parent that the client is not told of."""
        parent = opener.get("parentSubagentRunId")
        if not isinstance(parent, str) or ("subagent", None, parent) in self._open:
            return opener
        return {name: value for name, value in opener.items() if name != "parentSubagentRunId"}

    def _knows_subagent(self, subagent: str) -> bool:
        return subagent in self._closed_subagents or ("subagent", None, subagent) in self._open

    # ---- what is made up

    def _opener(self, kind: Kind, said: Document) -> Document:
        """One for what this event continues or closes."""
        opener: dict[str, Any] = {"type": kind.opener}
        own_id = ""
        if kind.id is not None:
            own_id = opener[kind.id] = said[kind.id]
        opener.update({name: value or own_id for name, value in kind.required.items()})
        return self.mended(_with_owner(self._with_tool_name(opener), said))

    def _opening_chunk(self, chunk: Chunk, said: Document) -> Document:
        """One for the lane that this event continues or opens."""
        given = {name: said[name] for name in chunk.opens_with if isinstance(said.get(name), str)}
        # An id has one owner.
        unknown = "-".join(filter(None, ("unknown", _owner(said))))
        opening = {chunk.id: unknown, **chunk.required, **given}
        if "toolCallName" not in given:
            opening = self._with_tool_name(opening)
        return self.mended(_with_owner({"type": chunk.type, **opening}, said))

    def _learn_tool_name(self, said: Document) -> None:
        call, name = said.get("toolCallId"), said.get("toolCallName")
        if isinstance(call, str) and isinstance(name, str):
            self._tool_names[call] = name

    def _with_tool_name(self, opener: dict[str, Any]) -> dict[str, Any]:
        """With the name that the client knows: another would rename the call."""
        name = self._tool_names.get(opener.get("toolCallId", ""))
        return opener if name is None else {**opener, "toolCallName": name}

    # ---- lanes

    def _lane(self, chunk: Chunk, said: Document) -> tuple[str | None, bool]:
        """Whose lane a chunk belongs to, and whether it continues what is open there."""
        own_id, tag = said.get(chunk.id), _owner(said)
        alike = {
            owner: opening
            for owner, opening in self._lanes.items()
            if opening["type"] == chunk.type
        }
        if own_id is not None:
            for owner, opening in alike.items():
                if opening[chunk.id] == own_id:
                    return owner, True
            return tag, False
        if tag is not None or None in alike:
            return tag, tag in alike
        if len(alike) == 1:
            return next(iter(alike)), True
        return None, False

    def _close_lanes(self, said: Document) -> None:
        event_type = said["type"]
        if event_type in _ALL_LANES_END:
            self._lanes.clear()
        elif event_type not in KEEPS_LANES:
            self._lanes.pop(_owner(said), None)


def _owner(said: Document) -> str | None:
    owner = said.get(OWNER)
    return owner if isinstance(owner, str) else None


def _kind_of(said: Document) -> Kind | None:
    event_type = said["type"]
    return OPENERS.get(event_type) or CONTINUERS.get(event_type) or CLOSERS.get(event_type)


def _key(kind: Kind, said: Document) -> _Key | None:
    """What tells it from others; `None` where its id is missing or no text."""
    own_id = "" if kind.id is None else said.get(kind.id)
    if not isinstance(own_id, str):
        return None
    return kind.name, _owner(said) if kind.per_owner else None, own_id


def _closer(kind: Kind, opener: Document) -> Document:
    closer: dict[str, Any] = {"type": kind.closer}
    if kind.id is not None:
        closer[kind.id] = opener[kind.id]
    return _with_owner(closer, opener)


def _with_owner(made: dict[str, Any], said: Document) -> Document:
    owner = _owner(said)
    return made if owner is None else {**made, OWNER: owner}
