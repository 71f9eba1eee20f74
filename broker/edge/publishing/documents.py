"""The JSON that is taken: an event, a command, a new run, a ticket. Pure: bytes in, checked values
out.

Members that are not known are refused: a misspelt one would be ignored in silence, and the event
lack what it was meant to have.
"""

from collections.abc import Collection, Sequence
from typing import Any, Final, NamedTuple

import orjson

from broker.edge.auth.rights import Action
from broker.edge.auth.tickets import TICKET_ACTIONS
from broker.edge.publishing.origin import GREATEST_SEQUENCE, Origin, is_producer, named_producer
from broker.redis.appending import NewEvent
from broker.wire.event import is_event_type
from broker.wire.ids import RunId, is_run_id
from broker.wire.problem import BadBody

__all__ = [
    "MOST_OWNER_CHARACTERS",
    "MOST_TYPE_CHARACTERS",
    "MOST_VIEWED_CHARACTERS",
    "NewCommand",
    "NewRun",
    "NewTicket",
    "PublishedEvent",
    "parse_command",
    "parse_event",
    "parse_new_run",
    "parse_new_ticket",
]

MOST_TYPE_CHARACTERS: Final = 256
MOST_VIEWED_CHARACTERS: Final = 256
"""Of a status or a phase."""
MOST_OWNER_CHARACTERS: Final = 256
"""As of the subjects that credentials have."""

_NO_DATA: Final = "{}"
_SHOWN: Final = 64
_EVENT_MEMBERS: Final = ("type", "data", "final", "status", "phase", "producer", "sequence")
_COMMAND_MEMBERS: Final = ("type", "data")
_RUN_MEMBERS: Final = ("run_id", "agent", "input", "owner")
_TICKET_MEMBERS: Final = ("rights", "seconds")


class PublishedEvent(NamedTuple):
    """An event as it was sent."""

    event: NewEvent
    origin: Origin | None
    """Where the event itself says who it comes from."""
    status: str | None
    """How the run goes from here on, for viewers; `None` leaves it as it is."""
    phase: str | None
    """The same."""


class NewCommand(NamedTuple):
    """Something that is said to a run's worker."""

    type: str
    data: str
    """JSON."""


class NewRun(NamedTuple):
    """A run that is asked for."""

    run_id: RunId | None
    """`None`: whoever creates it makes one."""
    agent: str
    """Empty for any."""
    input: str
    """JSON."""
    owner: str | None = None
    """The subject whose run it is to be; `None` for that of who asks."""


class NewTicket(NamedTuple):
    """A ticket that is asked for."""

    actions: Sequence[Action]
    """What it is to allow; at least one."""
    seconds: int | None
    """How long it is to last; `None`: as long as can be."""


def parse_event(text: bytes, line: int | None = None) -> PublishedEvent:
    """The event that a JSON object stands for.

    `data` that is a string is sent as that text, anything else as compact JSON, whose integers
    beyond 64 bits become floats.

    Raises:
        BadBody: it is not one.
    """
    document = _object(text, _EVENT_MEMBERS, line)
    data = document.get("data")
    final = document.get("final", False)
    if not isinstance(final, bool):
        raise BadBody("final is not true or false", line)
    return PublishedEvent(
        NewEvent(
            _event_type(document.get("type"), line),
            data if isinstance(data, str) else _json_of(document, "data", _NO_DATA, line),
            final,
        ),
        _origin(document, line),
        _viewed_text(document, "status", line),
        _viewed_text(document, "phase", line),
    )


def parse_command(text: bytes) -> NewCommand:
    """The command that a JSON object stands for.

    Raises:
        BadBody: it is not one.
    """
    document = _object(text, _COMMAND_MEMBERS)
    command_type = _event_type(document.get("type"))
    if not command_type:
        raise BadBody("a command needs a type, such as cancel")
    return NewCommand(command_type, _json_of(document, "data", _NO_DATA))


def parse_new_run(text: bytes) -> NewRun:
    """The run that a JSON object asks for.

    Raises:
        BadBody: it is not one.
    """
    document = _object(text, _RUN_MEMBERS)
    run_id = document.get("run_id")
    if run_id is not None and not (isinstance(run_id, str) and is_run_id(run_id)):
        raise BadBody("run_id is not 1 to 128 of A-Z a-z 0-9 _ -")
    agent = document.get("agent")
    if agent is not None and not (isinstance(agent, str) and is_run_id(agent)):
        # What workers may call themselves; there are keys named after agents.
        raise BadBody("agent is not 1 to 128 of A-Z a-z 0-9 _ -")
    owner = document.get("owner")
    if owner is not None and not (
        isinstance(owner, str) and 1 <= len(owner) <= MOST_OWNER_CHARACTERS
    ):
        raise BadBody(f"owner is not a text of 1 to {MOST_OWNER_CHARACTERS} characters")
    return NewRun(
        None if run_id is None else RunId(run_id),
        agent or "",
        _json_of(document, "input", "null"),
        owner,
    )


def parse_new_ticket(text: bytes) -> NewTicket:
    """The ticket that a JSON object asks for; an empty one for a ticket to watch.

    Raises:
        BadBody: it is not one.
    """
    document = _object(text, _TICKET_MEMBERS)
    rights = document.get("rights", [Action.WATCH])
    if not isinstance(rights, list) or not rights or any(r not in TICKET_ACTIONS for r in rights):
        raise BadBody(f"rights is not a list of {', '.join(TICKET_ACTIONS)}")
    seconds = document.get("seconds")
    if seconds is not None and (type(seconds) not in (int, float) or seconds < 1 or seconds % 1):
        raise BadBody("seconds is not a whole number from 1 on")
    return NewTicket(
        [action for action in TICKET_ACTIONS if action in rights],
        None if seconds is None else int(seconds),
    )


def _object(text: bytes, members: Collection[str], line: int | None = None) -> dict[str, Any]:
    try:
        document = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise BadBody(f"not JSON ({error.msg}, column {error.colno})", line) from None
    if not isinstance(document, dict):
        raise BadBody("not a JSON object", line)
    for name in document:
        if name not in members:
            shown = ascii(name if len(name) <= _SHOWN else name[:_SHOWN] + "…")
            raise BadBody(f"{shown} is none of the members {', '.join(members)}", line)
    return document


def _event_type(value: Any, line: int | None = None) -> str:
    """The type; empty for none."""
    if value is None:
        return ""
    if not isinstance(value, str) or len(value) > MOST_TYPE_CHARACTERS or not is_event_type(value):
        raise BadBody(
            f"type is not a text of up to {MOST_TYPE_CHARACTERS} characters without line breaks "
            "and NUL that begins otherwise than runcast.",
            line,
        )
    return value


def _json_of(document: dict[str, Any], name: str, missing: str, line: int | None = None) -> str:
    if name not in document:
        return missing
    try:
        return orjson.dumps(document[name]).decode()
    except TypeError:
        raise BadBody(f"{name} is nested too deeply", line) from None


def _viewed_text(document: dict[str, Any], name: str, line: int | None) -> str | None:
    value = document.get(name)
    if value is None or (isinstance(value, str) and len(value) <= MOST_VIEWED_CHARACTERS):
        return value
    raise BadBody(f"{name} is not a text of up to {MOST_VIEWED_CHARACTERS} characters", line)


def _origin(document: dict[str, Any], line: int | None) -> Origin | None:
    if "producer" not in document and "sequence" not in document:
        return None
    name, number = document.get("producer"), document.get("sequence", 0)
    if not isinstance(name, str) or not is_producer(name):
        raise BadBody("producer is not 1 to 64 of A-Z a-z 0-9 . _ : -", line)
    # A bool is an int to Python, and 7.0 an integer to JSON.
    if type(number) not in (int, float) or not 1 <= number <= GREATEST_SEQUENCE or number % 1:
        raise BadBody(f"sequence is not a whole number from 1 to {GREATEST_SEQUENCE}", line)
    return Origin(named_producer(name), int(number))
