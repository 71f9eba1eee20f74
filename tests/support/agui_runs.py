"""Runs of agents in AG-UI, as their integrations write them: all that can be open at once."""

import tomllib
from collections.abc import Iterator
from importlib.resources import files
from typing import Any, Final

import orjson

from broker.wire.event import Event
from broker.wire.folding import FoldRule
from broker.wire.frame import Frame, encode
from broker.wire.ids import RunId, StreamId

__all__ = ["CHUNKED", "ERRED", "FOLDING", "REALISTIC", "RUN", "SUBAGENTS", "as_events", "as_frames"]

RUN: Final = RunId("r-1")

Document = dict[str, Any]

_FOLD: Final = tomllib.loads(files("broker.profiles").joinpath("ag-ui.toml").read_text())["fold"]
FOLDING: Final = FoldRule(frozenset(_FOLD["types"]), _FOLD["member"], frozenset(_FOLD["newest"]))
"""What `fold=text` merges in the profile."""


def _event(event_type: str, **members: Any) -> Document:
    return {"type": event_type, **members}


def _text(message: str, *deltas: str, **members: Any) -> Iterator[Document]:
    for delta in deltas:
        yield _event("TEXT_MESSAGE_CONTENT", messageId=message, delta=delta, **members)


_STARTED: Final = _event("RUN_STARTED", threadId="t-1", runId="r-1")
_FINISHED: Final = _event("RUN_FINISHED", threadId="t-1", runId="r-1", result={"ok": True})

REALISTIC: Final[list[Document]] = [
    _STARTED,
    _event("STATE_SNAPSHOT", snapshot={"plan": [], "progress": 0}),
    _event("STEP_STARTED", stepName="plan"),
    _event("REASONING_START", messageId="think"),
    _event("REASONING_MESSAGE_START", messageId="think-1", role="reasoning"),
    _event("REASONING_MESSAGE_CONTENT", messageId="think-1", delta="They want the weather, "),
    _event("REASONING_MESSAGE_CONTENT", messageId="think-1", delta="so I look it up."),
    _event("REASONING_MESSAGE_END", messageId="think-1"),
    _event("REASONING_END", messageId="think"),
    _event("STATE_DELTA", delta=[{"op": "add", "path": "/plan/-", "value": "look it up"}]),
    _event("STATE_DELTA", delta=[{"op": "add", "path": "/plan/-", "value": "say it"}]),
    _event("STEP_FINISHED", stepName="plan"),
    _event("STEP_STARTED", stepName="act"),
    _event("STEP_STARTED", stepName="tools"),
    _event("TEXT_MESSAGE_START", messageId="m-1", role="assistant"),
    *_text("m-1", "Let me ", "see …"),
    _event("TOOL_CALL_START", toolCallId="c-1", toolCallName="get_weather", parentMessageId="m-1"),
    _event("TOOL_CALL_ARGS", toolCallId="c-1", delta='{"city": '),
    *_text("m-1", " one ", "moment."),
    _event("TOOL_CALL_ARGS", toolCallId="c-1", delta='"Bern"}'),
    _event("TOOL_CALL_END", toolCallId="c-1"),
    _event("TEXT_MESSAGE_END", messageId="m-1"),
    _event("TOOL_CALL_RESULT", messageId="m-2", toolCallId="c-1", content='{"celsius": 21}'),
    _event("STATE_DELTA", delta=[{"op": "replace", "path": "/progress", "value": 50}]),
    _event("STEP_FINISHED", stepName="tools"),
    _event("CUSTOM", name="cost", value={"cents": 2}),
    _event("TEXT_MESSAGE_START", messageId="m-3", role="assistant"),
    *_text("m-3", "It is ", "21 °C ", "in Bern ☀."),
    _event("STATE_DELTA", delta=[{"op": "replace", "path": "/progress", "value": 100}]),
    _event("STATE_DELTA", delta=[{"op": "remove", "path": "/plan/0"}]),
    *_text("m-3", " Anything ", "else?"),
    _event("TEXT_MESSAGE_END", messageId="m-3"),
    _event("STEP_FINISHED", stepName="act"),
    _FINISHED,
]
"""Steps in steps, a tool called in the middle of a message, reasoning, state."""

CHUNKED: Final[list[Document]] = [
    _STARTED,
    _event("STATE_SNAPSHOT", snapshot={"n": 0}),
    _event("REASONING_MESSAGE_CHUNK", messageId="think", delta="Hm"),
    _event("REASONING_MESSAGE_CHUNK", delta=" …"),
    _event("REASONING_MESSAGE_CHUNK", delta=" well."),
    _event("TEXT_MESSAGE_CHUNK", messageId="m-1", role="assistant", delta="One"),
    _event("TEXT_MESSAGE_CHUNK", messageId="m-1", delta=" two"),
    _event("RAW", event={"provider": "x"}),
    _event("TEXT_MESSAGE_CHUNK", delta=" three"),
    _event("TOOL_CALL_CHUNK", toolCallId="c-1", toolCallName="search", delta='{"q":'),
    _event("TOOL_CALL_CHUNK", delta='"cats"'),
    _event("TOOL_CALL_CHUNK", toolCallId="c-1", delta="}"),
    _event("STATE_DELTA", delta=[{"op": "replace", "path": "/n", "value": 1}]),
    _event("TOOL_CALL_RESULT", messageId="m-2", toolCallId="c-1", content="3 cats"),
    _event(
        "ACTIVITY_SNAPSHOT", messageId="a-1", activityType="PLAN", content={"tasks": ["search"]}
    ),
    _event("TEXT_MESSAGE_CHUNK", messageId="m-3", delta="Three"),
    _event("TEXT_MESSAGE_CHUNK", delta=" cats."),
    _event("TEXT_MESSAGE_CHUNK", messageId="m-4", delta="Bye."),
    _FINISHED,
]
"""The shorthand without openers and closers, for which a client keeps in mind what is open."""

SUBAGENTS: Final[list[Document]] = [
    _STARTED,
    _event("STEP_STARTED", stepName="tools"),
    _event("SUBAGENT_STARTED", subagentRunId="s-1", name="researcher"),
    _event("STEP_STARTED", stepName="tools", subagentRunId="s-1"),
    _event("SUBAGENT_STARTED", subagentRunId="s-2", name="reader", parentSubagentRunId="s-1"),
    _event("TEXT_MESSAGE_START", messageId="m-1", role="assistant", subagentRunId="s-2"),
    *_text("m-1", "Page ", "one.", subagentRunId="s-2"),
    _event("TEXT_MESSAGE_CHUNK", messageId="m-2", delta="Meanwhile"),
    _event("TEXT_MESSAGE_CHUNK", messageId="m-3", delta="I", subagentRunId="s-1"),
    _event("TEXT_MESSAGE_CHUNK", delta=" wait.", subagentRunId="s-1"),
    _event("TEXT_MESSAGE_CHUNK", delta=" here."),
    _event("STEP_FINISHED", stepName="tools", subagentRunId="s-1"),
    _event("SUBAGENT_FINISHED", subagentRunId="s-1"),
    _event("TEXT_MESSAGE_CONTENT", messageId="m-1", delta=" Two."),
    _event("TEXT_MESSAGE_END", messageId="m-1"),
    _event("SUBAGENT_ERROR", subagentRunId="s-2", message="The page is gone."),
    _event("STEP_FINISHED", stepName="tools"),
    _FINISHED,
]
"""Several agents at once, of which a parent ends before its child."""

ERRED: Final[list[Document]] = [
    *REALISTIC[:20],
    _event("RUN_ERROR", message="The model is overloaded.", code="overloaded"),
]
"""A run that ends with much still open."""


def as_events(run: list[Document]) -> list[Event]:
    """The run as it lies in its stream: types in their field, some in the data as well."""
    return [
        Event(StreamId(1_718_900_000_000 + number, 0), said["type"], _data(said), _is_end(said))
        for number, said in enumerate(run)
    ]


def _data(said: Document) -> bytes:
    written_twice = len(said["type"]) % 2
    return orjson.dumps(
        said if written_twice else {name: said[name] for name in said if name != "type"}
    )


def _is_end(said: Document) -> bool:
    return said["type"] in ("RUN_FINISHED", "RUN_ERROR")


def as_frames(run: list[Document]) -> list[Frame]:
    """The same, framed."""
    return [encode(event) for event in as_events(run)]
