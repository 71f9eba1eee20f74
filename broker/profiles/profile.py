"""A profile in use: requests read, runs addressed, dialects made."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from broker.profiles.document import (
    PAGE_PLACES,
    BlockSection,
    ProfileDocument,
    RouteSection,
)
from broker.redis.catalogue import Reading
from broker.redis.streams import KeyTemplate
from broker.wire.dialect import Dialect
from broker.wire.event import Event, EventFormat, TerminalRule
from broker.wire.folding import Folded, FoldRule
from broker.wire.gap import Gap
from broker.wire.id_schemes import ID_SCHEMES
from broker.wire.ids import RunId, StreamId, id_time
from broker.wire.request import CursorForm, EventsRequest
from broker.wire.shape import Shape
from broker.wire.shaped import BLOCK_PLACES, EVENT_PLACES, Block, EventValues, Rules, Words
from broker.wire.status import RUNNING, RunStatus, is_outcome, outcome, outcome_said

__all__ = ["MakeDialect", "PageContents", "Profile"]

MakeDialect = Callable[["Profile", RunId, EventsRequest], Dialect]
"""Makes the dialect of one viewer; equal ones for viewers who are to share their bytes."""


@dataclass(frozen=True, slots=True)
class PageContents:
    """What a JSON page has to say."""

    run_id: RunId
    events: Sequence[Event]
    next: StreamId
    has_more: bool
    final: bool
    gap: Gap | None
    status: RunStatus | None


class Profile:
    """One profile, ready to be served."""

    def __init__(
        self,
        name: str,
        document: ProfileDocument,
        make_dialect: MakeDialect,
        usual: Reading,
        fold: FoldRule,
    ) -> None:
        """
        Args:
            name: what it goes by.
            document: what it says.
            make_dialect: its encoder.
            usual: how runs are read where the document does not say.
            fold: what `?fold=text` merges where the document does not say.
        """
        self.name = name
        self.title = document.title
        self.routes: tuple[RouteSection, ...] = document.routes
        self.compress = document.compress
        self.reading = _reading(document, usual)
        self.words = _words(document)
        self.cursors = CursorForm(
            ID_SCHEMES[document.cursor.ids],
            document.cursor.parameters,
            document.cursor.zero_is_none,
        )
        self.status_seconds = None if document.status is None else document.status.seconds
        self.says_gaps = document.encoder != "shaped" or document.gap is not False
        """Whether its streams have a word for a gap; else the response's header has it."""
        self.says_where = document.encoder == "native"
        """Whether a client is told its cursor even where it has sent it itself."""
        self.wants_status = document.opening is not None or document.status is not None
        self._make_dialect = make_dialect
        self._fold = fold
        if document.fold is not None:
            section = document.fold
            self._fold = FoldRule(section.types, section.member, section.newest)
        self._page = None
        if document.page is not None:
            self._page = (
                Shape(document.page.event, EVENT_PLACES),
                Shape(document.page.body, PAGE_PLACES),
            )
            self.wants_status |= "$status" in document.page.body or "$phase" in document.page.body

    def dialect(self, run_id: RunId, request: EventsRequest) -> Dialect:
        """How the run looks to whoever asks for it like this."""
        return self._make_dialect(self, run_id, request)

    def history(self, dialect: Dialect, request: EventsRequest) -> Dialect | None:
        """The dialect of what is replayed, where that is another."""
        return Folded(dialect, self._fold) if request.fold else None

    @property
    def fold(self) -> FoldRule:
        """What `?fold=text` merges."""
        return self._fold

    def page(self, contents: PageContents) -> bytes:
        """The JSON page."""
        if self._page is None:
            return orjson.dumps(_native_page(contents, self))
        event_shape, body = self._page
        ids = self.cursors.ids
        events = [
            orjson.Fragment(event_shape.fill(self._values(contents.run_id, event)))
            for event in contents.events
            if self.words.events.block(event.type, final=event.final) is not None
        ]
        status = contents.status
        return body.fill(
            {
                "run_id": lambda: contents.run_id,
                "events": lambda: events,
                "next": lambda: ids.write(contents.next),
                "has_more": lambda: contents.has_more,
                "final": lambda: contents.final,
                "gap": lambda: None if contents.gap is None else _gap(contents.gap, self),
                "status": lambda: self._status(contents),
                "phase": lambda: None if status is None else status.phase,
            }
        )

    def _values(self, run_id: RunId, event: Event) -> EventValues:
        return EventValues(
            run_id,
            *(event.id, event.type, event.data),
            self.words.ids,
            final=event.final,
            statuses=self.words.statuses,
        )

    def _status(self, contents: PageContents) -> str | None:
        """How the run stands where the page ends: who polls stops once it has ended, and may not
        stop before the last event."""
        if contents.status is None:
            return None
        status = contents.status.status
        last = contents.events[-1] if contents.events else None
        if last is not None and last.final:
            status = outcome(last.type, outcome_said(last.data))
        elif is_outcome(status) != contents.final:
            # Nobody has said how it ended, if it has.
            status = outcome("", None) if contents.final else RUNNING.status
        return self.words.statuses.get(status, status)


def _gap(gap: Gap, profile: Profile) -> dict[str, Any]:
    write = profile.cursors.ids.write
    return {
        "requested": write(gap.requested),
        "resumed_at": None if gap.resumed_at is None else write(gap.resumed_at),
        "reason": gap.reason.value,
    }


def _native_page(contents: PageContents, profile: Profile) -> dict[str, Any]:
    write = profile.cursors.ids.write
    return {
        "run_id": contents.run_id,
        "events": [
            {
                "id": write(event.id),
                "type": event.type or None,
                "data": event.data.decode(),
                "time": id_time(event.id),
            }
            for event in contents.events
        ],
        "next": write(contents.next),
        "has_more": contents.has_more,
        "final": contents.final,
        "gap": None if contents.gap is None else _gap(contents.gap, profile),
    }


def _reading(document: ProfileDocument, usual: Reading) -> Reading:
    stream, events = document.stream, usual.events
    keys = usual.keys if stream.key_template is None else KeyTemplate(stream.key_template)
    if stream.terminal_types is None and stream.terminal_rule is None:
        return Reading(keys, events)
    rule = stream.terminal_rule
    return Reading(
        keys,
        EventFormat(
            type_field=events.type_field,
            data_field=events.data_field,
            final_field=events.final_field,
            terminal_types=stream.terminal_types or frozenset(),
            terminal_rule=None if rule is None else TerminalRule.parse(rule),
        ),
    )


def _words(document: ProfileDocument) -> Words:
    by_type = {
        name: _block(section, EVENT_PLACES) if isinstance(section, BlockSection) else None
        for name, section in document.events.items()
    }
    others: Mapping[str, Block | None] = {
        name: _block(section, places) if section else None
        for name, places in BLOCK_PLACES.items()
        for section in (getattr(document, name),)
    }
    usual = _block(document.event, EVENT_PLACES)
    final = None if document.final is None else _block(document.final, EVENT_PLACES)
    rules = Rules(usual, by_type, final)
    return Words(ID_SCHEMES[document.cursor.ids], rules, document.statuses, **others)


_OWN_DATA: Final = "$data"


def _block(section: BlockSection, places: frozenset[str]) -> Block:
    return Block(
        None if section.event == "$type" else section.event,
        None if section.data == _OWN_DATA else Shape(section.data, places),
    )
