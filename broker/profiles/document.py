"""The form of a profile's file (docs/profiles.md)."""

import re
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from broker.redis.streams import KeyTemplate
from broker.wire.event import TerminalRule, is_event_type
from broker.wire.shape import Shape
from broker.wire.shaped import BLOCK_PLACES, EVENT_PLACES

__all__ = [
    "NAME_PATTERN",
    "BlockSection",
    "ControlSection",
    "CursorSection",
    "FoldSection",
    "PageSection",
    "ProfileDocument",
    "RouteSection",
    "StatusSection",
    "StreamSection",
]

NAME_PATTERN: Final = r"[a-z][a-z0-9-]{0,31}"
PAGE_PLACES: Final = frozenset(
    {"run_id", "events", "next", "has_more", "final", "gap", "status", "phase"}
)

_PLACE: Final = re.compile(r"\{([a-z_]+)\}")
# The first part is fixed: a place there would take the paths of health and metrics, too.
_PATH: Final = re.compile(r"/[A-Za-z0-9._~-]+(?:/(?:[A-Za-z0-9._~-]+|\{[a-z_]+\}))*")
_PARAMETER: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}")
_OTHER_PARAMETERS: Final = frozenset(
    {"control", "fold", "from", "heartbeat", "limit", "types", "wait"}
)


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class BlockSection(_Section):
    """One kind of block."""

    event: str = Field(default="", description="The `event:` line; `$type`: the entry's type.")
    data: str = Field(default="$data", description="The data: a shape; `$data`: the entry's own.")

    @field_validator("event")
    @classmethod
    def _event_is_one(cls, event: str) -> str:
        # Control events are named `runcast.…`, which is not for producers.
        if not is_event_type(event.removeprefix("runcast.")):
            raise ValueError(f"{event!r} can't be an event type: no CR, LF or NUL")
        if event.startswith("$") and event != "$type":
            raise ValueError(f"{event!r}: write $type, or the event's name")
        return event


class ControlSection(BlockSection):
    """One kind of block that is no event of the run."""

    data: str = Field(default="{}", description="The data: a shape.")


_SAYS_GAPS: Final = ControlSection(
    event="runcast.gap",
    data='{"requested": $requested, "resumed_at": $resumed_at, "reason": $reason}',
)


class StatusSection(ControlSection):
    """The block that says now and then how the run stands."""

    seconds: Annotated[float, Field(ge=1, le=3600)] = 15


class StreamSection(_Section):
    """Where runs are, and what ends them; what is not said is as in the settings."""

    key_template: str | None = None
    terminal_types: frozenset[str] | None = None
    terminal_rule: str | None = None

    @field_validator("key_template")
    @classmethod
    def _template_has_form(cls, template: str | None) -> str | None:
        if template is not None:
            KeyTemplate(template)
        return template

    @field_validator("terminal_rule")
    @classmethod
    def _rule_has_form(cls, rule: str | None) -> str | None:
        if rule is not None:
            TerminalRule.parse(rule)
        return rule


class CursorSection(_Section):
    """How clients say where they are."""

    ids: Literal["stream", "integer", "none"] = "stream"
    parameters: tuple[str, ...] = ("last_event_id", "lastEventId", "since")
    zero_is_none: bool = Field(
        default=False, description="Whether the cursor 0 stands for having seen nothing."
    )

    @field_validator("parameters")
    @classmethod
    def _parameters_are_free(cls, parameters: tuple[str, ...]) -> tuple[str, ...]:
        for name in parameters:
            if _PARAMETER.fullmatch(name) is None:
                raise ValueError(f"{name!r} can't be the name of a query parameter")
            if name in _OTHER_PARAMETERS:
                raise ValueError(f"the query parameter {name} means something else")
        return parameters


class FoldSection(_Section):
    """Which events `?fold=text` merges."""

    types: frozenset[str]
    member: str
    newest: frozenset[str] = frozenset({"index", "sequence", "timestamp"})


class PageSection(_Section):
    """The JSON page."""

    event: str = Field(description="The shape of an event.")
    body: str = Field(description="The shape of the whole.")

    @model_validator(mode="after")
    def _shapes_have_form(self) -> "PageSection":
        _check_shape("event", self.event, EVENT_PLACES)
        _check_shape("body", self.body, PAGE_PLACES)
        return self


class RouteSection(_Section):
    """One path."""

    path: str
    serves: Literal["events", "stream", "page", "create", "ask"] = Field(
        default="stream",
        description="events: a stream, or a page to who accepts JSON. create: POST makes a run. "
        "ask: POST makes a run, or takes up the session's, and answers with its stream.",
    )
    methods: tuple[Literal["GET", "POST"], ...] = Field(
        default=("GET",),
        description="Of streams and pages. The body of a POST is not looked at: some clients ask "
        "for every stream with one.",
    )
    pointer: str | None = Field(
        default=None, description="The key that holds the id of the run, with {name} from the path."
    )
    credentials: tuple[Literal["api_key", "bearer", "session", "ticket"], ...] = Field(
        default=(), description="What may prove who asks; empty for any."
    )
    owner_only: bool = Field(
        default=False,
        description="Whether nobody but the run's owner may, whatever rights others have.",
    )

    @property
    def served_methods(self) -> tuple[str, ...]:
        """Those that the route answers to."""
        return ("POST",) if self.serves in ("create", "ask") else self.methods

    @model_validator(mode="after")
    def _places_fit(self) -> "RouteSection":
        places = _PLACE.findall(self.path)
        if _PATH.fullmatch(self.path) is None:
            raise ValueError(
                f"path {self.path!r}: write /fixed/{{place}}/fixed, with a fixed part first and no "
                "/ at the end"
            )
        if len(set(places)) < len(places):
            raise ValueError(f"path {self.path!r} has a place twice")
        if self.serves in ("create", "ask"):
            return self
        if not self.methods:
            raise ValueError("methods: name at least one")
        wanted = ["run_id"] if self.pointer is None else ["name"]
        if places != wanted:
            raise ValueError(f"path {self.path!r} must have {{{wanted[0]}}} once, and no other")
        if self.pointer is not None and _PLACE.findall(self.pointer) != ["name"]:
            raise ValueError(f"pointer {self.pointer!r} must have {{name}} once")
        return self


class ProfileDocument(_Section):
    """A profile as it is written."""

    title: str
    encoder: str = Field(
        default="shaped",
        description="shaped: by the sections here. Others: native, ag-ui, run-agent, or "
        "`module:name` of one's own.",
    )
    compress: bool = Field(default=False, description="Compress where the client accepts it.")
    stream: StreamSection = StreamSection()
    cursor: CursorSection = CursorSection()
    event: BlockSection = BlockSection(event="$type")
    events: dict[str, BlockSection | Literal[False]] = Field(
        default_factory=dict, description="Of single types; false leaves them out."
    )
    final: BlockSection | None = Field(
        default=None,
        description="Of the event that ends the run, where its type is not among the single ones.",
    )
    statuses: dict[str, str] = Field(
        default_factory=dict,
        description="What statuses and outcomes are called here; else they are queued, running, "
        "completed, failed, cancelled and timed_out.",
    )
    opening: ControlSection | None = None
    gap: ControlSection | Literal[False] = Field(
        default=_SAYS_GAPS,
        description="What could not be served; false says it in the answer's header alone, and "
        "only where that is known before the first byte.",
    )
    caught_up: ControlSection | None = None
    status: StatusSection | None = None
    heartbeat: ControlSection | None = None
    fold: FoldSection | None = None
    page: PageSection | None = None
    routes: tuple[RouteSection, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _blocks_have_form(self) -> "ProfileDocument":
        of_events: dict[str, BlockSection | Literal[False] | None] = {
            "event": self.event,
            "final": self.final,
            **{f"events.{name}": section for name, section in self.events.items()},
        }
        for name, section in of_events.items():
            if isinstance(section, BlockSection):
                _check_shape(f"{name}.data", section.data, EVENT_PLACES)
        for name, places in BLOCK_PLACES.items():
            control: ControlSection | Literal[False] | None = getattr(self, name)
            if not control:
                continue
            if control.event == "$type":
                raise ValueError(f"{name}.event: there is no $type here; write the event's name")
            _check_shape(f"{name}.data", control.data, places)
        if any(route.serves == "page" for route in self.routes) and self.page is None:
            raise ValueError("a route serves a page: describe it in [page]")
        return self


def _check_shape(place: str, text: str, names: frozenset[str]) -> None:
    try:
        Shape(text, names)
    except ValueError as error:
        raise ValueError(f"{place}: {error}") from None
