"""How run-agent's clients see a run: `start`, `chunk`, `error`, `done`; text cut to any size.

Each connection begins with a `start` that tells the session. What ends the run becomes `done` or
`error`, whatever its type, since these are the only ends that clients know; `queued` is left out;
events of other types are sent as they are.

A chunk's ``index`` is a number that grows along the run. `resume_from_index` takes any that was
received, plus one, for exactly the rest, however the text is cut this time and was cut before:

- the chunk's own, where its data has one; else that of its entry (`0-1` is 0, and ids with a time
  have large ones);
- of a piece of a chunk that is numbered below a million: (chunk + 1) * 1,000,000 + where the piece
  ends in the chunk, as the position of its last character (a Unicode code point);
- pieces of other chunks have none, but for the last. Neither have they an ``id``: who has the id or
  the index of a chunk has all of it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import orjson

from broker.wire.frame import Frame, caught_up_block, gap_block, heartbeat_block, id_block
from broker.wire.gap import Gap
from broker.wire.graphemes import count, cut
from broker.wire.id_schemes import IntegerIds
from broker.wire.ids import StreamId

__all__ = ["RunAgent"]

_CHUNK: Final = "chunk"
_START: Final = "start"
_DONE: Final = "done"
_ERROR: Final = "error"
_LEFT_OUT: Final = "queued"
_STARTED: Final = {"message": "Stream started"}
_COMPLETE: Final = {"message": "Stream complete", "usage": {}}
_FAILURES: Final = {
    _ERROR: ("Something went wrong.", "STREAM_ERROR"),
    "failed": ("The run failed.", "STREAM_ERROR"),
    "cancelled": ("The run was cancelled.", "CANCELLED"),
    "timed_out": ("The run took too long.", "TIMED_OUT"),
    "worker_lost": ("The run's worker is gone.", "WORKER_LOST"),
    "no_worker": ("No worker took the run.", "NO_WORKER"),
}
"""What is said of these ends where their data does not."""
_UNIT: Final = 1_000_000
"""Room for the positions in a chunk, in the index of a piece."""
_LEAST_ENTRY_NUMBER: Final = 1 << 40
"""From here on an index is an entry's number; below, a chunk's or a piece's."""
_ENTRY_NUMBERS: Final = IntegerIds()
_SURELY_SHALLOW: Final = 200
"""With no more brackets than these, a document can be written as it was read."""
_TEXT_MEMBERS: Final = frozenset({"content", "text", "index"})


@dataclass(frozen=True, slots=True)
class RunAgent:
    """A run in run-agent's wire form."""

    session_id: str | None = None
    """Told in `start`, where it is known."""
    chunk_size: int | None = None
    """Chunks are sent in pieces of at most so many graphemes, and small ones together; `None` for
    as they are."""
    resume_from: int = 0
    """Text below this index is left out. Only for what is replayed: who is at the run's end goes
    on with a dialect without it, and so shares the bytes of all others."""

    def greeting(self, retry_milliseconds: int, position: StreamId | None) -> bytes:
        """`start`, before anything is known of the run."""
        identity = b"" if position is None else _id_line(position)
        start = _block(_START, _STARTED | self._session)
        return b"retry: %d\n%b%b" % (retry_milliseconds, identity, start)

    def encode(self, frames: Sequence[Frame]) -> Sequence[bytes]:
        """The frames' events; chunks as pieces, if they are to be cut."""
        wires: list[bytes] = []
        small = _Together(self.chunk_size, wires)
        for frame in frames:
            if frame.type == _CHUNK:
                self._chunk(frame, small, wires)
                continue
            small.flush()
            if frame.type == _LEFT_OUT and not frame.final:
                continue
            if frame.type in _FAILURES:
                wires.append(_block(_ERROR, _failure(frame), frame.id))
            elif frame.type == _DONE or frame.final:
                wires.append(_block(_DONE, _COMPLETE | _members(frame), frame.id))
            elif frame.type != _START:
                wires.append(frame.wire)
            elif members := self._news_of_start(frame):
                wires.append(_block(_START, members, frame.id))
        small.flush()
        return wires

    def gap(self, gap: Gap) -> bytes:
        """`runcast.gap`, which clients that don't know it ignore; `error` would be the end."""
        return gap_block(gap)

    def caught_up(self, position: StreamId) -> bytes:
        """`runcast.caught-up`, which clients that don't know it ignore."""
        return caught_up_block(position)

    def heartbeat(self, position: StreamId | None) -> bytes:
        """A comment."""
        return heartbeat_block(as_event=False, position=position)

    def moved(self, position: StreamId) -> bytes:
        """A block with nothing but an id."""
        return id_block(position)

    def after_gap(self) -> "RunAgent":
        """Leaves nothing more out: what follows may be another run's, with the same numbers."""
        return replace(self, resume_from=0) if self.resume_from else self

    @property
    def _session(self) -> dict[str, Any]:
        return {} if self.session_id is None else {"session_id": self.session_id}

    def _news_of_start(self, frame: Frame) -> Mapping[str, Any]:
        """What the worker's own `start` says besides what the greeting has said; nothing, if that
        is nothing."""
        said = _STARTED | self._session
        members = said | _members(frame)
        return {} if members == said else members

    def _chunk(self, frame: Frame, small: "_Together", wires: list[bytes]) -> None:
        chunk = _Chunk(frame)
        skipped = self._skipped(chunk)
        if skipped is None:
            return
        if self.chunk_size is not None and chunk.plain and not frame.final:
            small.add(chunk, skipped)
            return
        small.flush()
        if self.chunk_size is None and not skipped and chunk.complete and not frame.final:
            wires.append(frame.wire)
        else:
            wires += chunk.pieces(self.chunk_size, skipped)
        if frame.final:
            # The client waits for an end that it knows, and has all of it only with that.
            wires.append(_block(_DONE, _COMPLETE, frame.id))

    def _skipped(self, chunk: "_Chunk") -> int | None:
        """How many characters of it the viewer has; `None` if that is all of it."""
        wanted = self.resume_from
        if chunk.index is None:
            return 0
        if wanted >= _LEAST_ENTRY_NUMBER:
            return None if _LEAST_ENTRY_NUMBER <= chunk.index < wanted else 0
        if chunk.index >= _UNIT:
            # Not numbered as what the viewer has: rather twice than not at all.
            return 0
        first, position = (wanted, 0) if wanted < _UNIT else divmod(wanted - _UNIT, _UNIT)
        if chunk.index < first:
            return None
        if chunk.index > first or not position:
            return 0
        return position if position < len(chunk.text) else None


class _Chunk:
    """An event of type `chunk`, read."""

    __slots__ = ("frame", "index", "members", "text")

    def __init__(self, frame: Frame) -> None:
        document = _document(frame)
        if isinstance(document, str):
            document = {"content": document}
        self.frame = frame
        self.members: dict[str, Any] = document
        content = document.get("content", document.get("text", ""))
        self.text: str = content if isinstance(content, str) else ""
        own = document.get("index")
        is_index = isinstance(own, int) and not isinstance(own, bool) and own >= 0
        self.index: int | None = own if is_index else _entry_index(frame.id)

    @property
    def complete(self) -> bool:
        """Whether its data has all that it can have."""
        members = self.members
        return "content" in members and (self.index is None or members.get("index") == self.index)

    @property
    def plain(self) -> bool:
        """Whether it is text and nothing else."""
        return bool(self.text) and self.members.keys() <= _TEXT_MEMBERS

    def position(self, end: int) -> int | None:
        """The index of a piece that ends before the character at `end`."""
        whole = end >= len(self.text)
        if self.index is None or self.index >= _UNIT:
            return self.index if whole else None
        if end > _UNIT:
            return (self.index + 2) * _UNIT - 1 if whole else None
        return (self.index + 1) * _UNIT + max(end, 1) - 1

    def pieces(self, size: int | None, skipped: int) -> list[bytes]:
        """Its blocks, each of at most `size` graphemes; `None` for one.

        What it has besides text stands on the last.
        """
        others = {name: self.members[name] for name in self.members.keys() - _TEXT_MEMBERS}
        if not isinstance(self.members.get("content", ""), str):
            others["content"] = self.members["content"]
        text = self.text[skipped:]
        parts = [text] if size is None else cut(text, size) or [""]
        last = len(parts) - 1
        end, wires = skipped, []
        for at, part in enumerate(parts):
            end += len(part)
            index = self.index if size is None else self.position(end)
            wires.append(
                _block(
                    _CHUNK,
                    _text(part, index) | (others if at == last else {}),
                    self.frame.id if at == last and not self.frame.final else None,
                )
            )
        return wires


@dataclass(slots=True)
class _Together:
    """Chunks that fit into one piece; nothing if there is no size."""

    size: int | None
    wires: list[bytes]
    """Where the blocks go."""
    _texts: list[str] = field(default_factory=list)
    _graphemes: int = 0
    _last: _Chunk | None = None

    def add(self, chunk: _Chunk, skipped: int) -> None:
        """Takes a chunk without its first characters; blocks go out as they are full."""
        assert self.size is not None
        text = chunk.text[skipped:]
        graphemes = count(text)
        if self._graphemes + graphemes > self.size:
            self.flush()
        if graphemes > self.size:
            self.wires += chunk.pieces(self.size, skipped)
            return
        self._texts.append(text)
        self._graphemes += graphemes
        self._last = chunk

    def flush(self) -> None:
        """Ends the piece, if one has begun."""
        last = self._last
        if last is None:
            return
        document = _text("".join(self._texts), last.position(len(last.text)))
        self.wires.append(_block(_CHUNK, document, last.frame.id))
        self._texts.clear()
        self._graphemes = 0
        self._last = None


def _entry_index(entry_id: StreamId) -> int | None:
    number = _ENTRY_NUMBERS.number(entry_id)
    # Entries that are counted up begin at 0-1.
    return number - 1 if number is not None and number < _LEAST_ENTRY_NUMBER else number


def _text(text: str, index: int | None) -> dict[str, Any]:
    return {"content": text} if index is None else {"content": text, "index": index}


def _document(frame: Frame) -> dict[str, Any] | str:
    """The data as an object; as text, where it is anything else."""
    data = frame.data
    try:
        document = orjson.loads(data)
        if data.count(b"[") + data.count(b"{") > _SURELY_SHALLOW:
            # What is nested deeper than it writes, it still reads.
            orjson.dumps(document)
    except (orjson.JSONDecodeError, orjson.JSONEncodeError):
        document = None
    return document if isinstance(document, dict | str) else data.decode()


def _members(frame: Frame) -> dict[str, Any]:
    """The data's members; text is a message."""
    document = _document(frame)
    if isinstance(document, dict):
        return document
    return {"message": document} if document else {}


def _failure(frame: Frame) -> dict[str, Any]:
    text, code = _FAILURES[frame.type]
    members = _members(frame)
    said = (members.get(name) for name in ("error", "message", "reason"))
    error = next((value for value in said if isinstance(value, str) and value), text)
    return {"code": code, **members, "error": error}


def _block(event_type: str, members: Mapping[str, Any], event_id: StreamId | None = None) -> bytes:
    identity = b"" if event_id is None else _id_line(event_id)
    return b"%bevent: %b\ndata: %b\n\n" % (identity, event_type.encode(), orjson.dumps(members))


def _id_line(event_id: StreamId) -> bytes:
    return b"id: %d-%d\n" % event_id
