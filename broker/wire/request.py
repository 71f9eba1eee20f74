"""What a viewer asks for: the cursor and the options of `GET /v1/runs/{run_id}/events`.

Everything here comes from a stranger. Each value is checked for its form before anything is
read from Redis; a bad one raises the `Problem` that is sent back.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from broker.wire.id_schemes import ID_SCHEMES, IdScheme
from broker.wire.ids import START, StreamId
from broker.wire.problem import BadCursor, BadParameter

__all__ = [
    "CURSOR_PARAMETERS",
    "MAX_TYPES",
    "Beginning",
    "CursorForm",
    "EventsRequest",
    "Latest",
    "Newest",
    "RequestLimits",
    "Resume",
    "Since",
    "Start",
]

CURSOR_PARAMETERS: Final = ("last_event_id", "lastEventId", "since")
_COUNT: Final = re.compile(r"-[1-9][0-9]{0,9}")
_SECONDS: Final = re.compile(r"[0-9]{1,10}(\.[0-9]{1,40})?(e-[0-9]{1,3})?")
"""As languages write a float: `0.1 + 0.2`, and small ones such as `1e-05`."""
_QUALITY: Final = re.compile(r"[0-9]{1,10}(\.[0-9]{1,6})?")
_TYPES_SHOWN: Final = "give the types as a comma-separated list"
MAX_TYPES: Final = 64
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Beginning:
    """From the first event that is still there."""


@dataclass(frozen=True, slots=True)
class Resume:
    """After this id; what can't be served of it is said as a gap."""

    cursor: StreamId


@dataclass(frozen=True, slots=True)
class Latest:
    """Only what comes from now on."""


@dataclass(frozen=True, slots=True)
class Newest:
    """The newest events, then live."""

    count: int


@dataclass(frozen=True, slots=True)
class Since:
    """From a point in time (Redis' clock), in milliseconds since 1970."""

    ms: int


Start = Beginning | Resume | Latest | Newest | Since


@dataclass(frozen=True, slots=True)
class RequestLimits:
    """Bounds on what may be asked for."""

    page_events: int = 1000
    """The most events of one JSON page, and of `from=-N`."""
    wait_seconds: float = 25
    """The longest that a JSON request may wait for events."""


@dataclass(frozen=True, slots=True)
class CursorForm:
    """How clients write cursors."""

    ids: IdScheme = ID_SCHEMES["stream"]
    parameters: tuple[str, ...] = CURSOR_PARAMETERS
    """Query parameters that have one, besides the header."""
    zero_is_none: bool = False
    """Whether the cursor before every event stands for having none."""

    @property
    def dense(self) -> bool:
        """Whether they fit runs best whose entries are counted (`0-1`, `0-2`, …)."""
        return self.ids is ID_SCHEMES["integer"]


NATIVE_CURSORS: Final = CursorForm()


@dataclass(frozen=True, slots=True)
class EventsRequest:
    """A checked request for a run's events."""

    start: Start
    types: frozenset[str] | None = None
    """Only these event types; `None` for all."""
    control: bool = True
    """Whether control events are sent."""
    heartbeat_as_event: bool = False
    as_json: bool = False
    """One JSON page instead of a stream."""
    limit: int = 100
    """The most events in a JSON page."""
    wait_seconds: float = 0
    """How long a JSON request waits for an event where there is none."""
    fold: bool = False
    """Whether consecutive text deltas of the history are merged into one event."""

    @classmethod
    def parse(
        cls,
        *,
        last_event_id: Sequence[str],
        accept: str,
        query: Mapping[str, str],
        limits: RequestLimits,
        cursors: "CursorForm" = NATIVE_CURSORS,
    ) -> "EventsRequest":
        """The request that these headers and query parameters make.

        Args:
            last_event_id: the values of the `Last-Event-ID` header fields.
            accept: the `Accept` header, empty if absent.
            query: the query parameters, percent-decoded; parameters we don't know are ignored.
            limits: bounds on the values.
            cursors: how cursors look, and where they stand.

        Raises:
            Problem: a value can't be used.
        """
        return cls(
            start=_start(last_event_id, query, limits, cursors),
            types=_types(query.get("types", "")),
            control=_choice(query, "control", {"1": True, "0": False}, default=True),
            heartbeat_as_event=_choice(
                query, "heartbeat", {"event": True, "comment": False}, default=False
            ),
            as_json=_prefers_json(accept),
            limit=_limit(query.get("limit"), limits),
            wait_seconds=_wait(query.get("wait"), limits),
            fold=_choice(query, "fold", {"text": True, "none": False}, default=False),
        )


def _start(
    last_event_id: Sequence[str],
    query: Mapping[str, str],
    limits: RequestLimits,
    form: CursorForm,
) -> Start:
    # The header wins: an EventSource reconnects to its first URL, query and all. Every value is
    # checked all the same, so that a mistake in the URL shows on the first connection. An empty
    # value is an absent one: "no event seen yet".
    given = [("Last-Event-ID", text) for text in last_event_id]
    given += [(name, query[name]) for name in form.parameters if name in query]
    cursors = [_cursor(source, text, form) for source, text in given if text]
    if len({text for text in last_event_id if text}) > 1:
        raise BadCursor("Last-Event-ID", ", ".join(last_event_id), "given more than once")
    from_start = _from(query["from"], limits) if query.get("from") else Beginning()
    if not cursors:
        return from_start
    # Whoever has seen nothing yet may say so with the number before the first.
    return Beginning() if cursors[0] == START and form.zero_is_none else Resume(cursors[0])


def _cursor(source: str, text: str, form: CursorForm) -> StreamId:
    try:
        return form.ids.read(text)
    except ValueError as error:
        raise BadCursor(source, text, str(error), form.ids.example) from None


def _from(text: str, limits: RequestLimits) -> Start:
    if text == "latest":
        return Latest()
    if _COUNT.fullmatch(text):
        count = -int(text)
        if count > limits.page_events:
            raise BadParameter("from", text, f"at most -{limits.page_events}")
        return Newest(count)
    try:
        # An unescaped "+" of a time zone arrives as a space.
        moment = datetime.fromisoformat(text.replace(" ", "+"))
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None or moment < _EPOCH:
        raise BadParameter(
            "from", text, "write latest, -N, or a time with its zone such as 2026-01-01T00:00:00Z"
        )
    return Since((moment - _EPOCH) // timedelta(milliseconds=1))


def _types(text: str) -> frozenset[str] | None:
    if not text:
        return None
    names = [name for name in text.split(",") if name]
    if not names:
        raise BadParameter("types", text, _TYPES_SHOWN)
    if len(names) > MAX_TYPES:
        raise BadParameter("types", text, f"at most {MAX_TYPES} types")
    return frozenset(names)


def _choice(
    query: Mapping[str, str], name: str, choices: Mapping[str, bool], *, default: bool
) -> bool:
    text = query.get(name)
    if text is None:
        return default
    if text not in choices:
        raise BadParameter(name, text, "write " + " or ".join(sorted(choices)))
    return choices[text]


def _limit(text: str | None, limits: RequestLimits) -> int:
    if text is None:
        return min(100, limits.page_events)
    expected = f"write a whole number from 1 to {limits.page_events}"
    if not (text.isascii() and text.isdigit() and len(text) <= 10):
        raise BadParameter("limit", text, expected)
    number = int(text)
    if not 1 <= number <= limits.page_events:
        raise BadParameter("limit", text, expected)
    return number


def _wait(text: str | None, limits: RequestLimits) -> float:
    if text is None:
        return 0
    if _SECONDS.fullmatch(text) is None or float(text) > limits.wait_seconds:
        raise BadParameter("wait", text, f"write seconds from 0 to {limits.wait_seconds:g}")
    return float(text)


def _prefers_json(accept: str) -> bool:
    """Whether the `Accept` header names JSON and ranks it above event-stream (RFC 9110, 12.5.1).

    Wildcards alone mean the stream: that is what `curl` and most SSE clients send.
    """
    quality = {"application/json": 0.0, "text/event-stream": 0.0}
    for part in accept.lower().split(","):
        media_type, *parameters = (piece.strip() for piece in part.split(";"))
        if media_type in quality:
            quality[media_type] = _quality(parameters)
    return quality["application/json"] > quality["text/event-stream"]


def _quality(parameters: Sequence[str]) -> float:
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q" and _QUALITY.fullmatch(value.strip()):
            return float(value)
    return 1.0
