"""AG-UI's own Python models (pip's `ag-ui-protocol`): every event that we make up validates, and
what its encoder writes is passed on byte for byte.
"""

from typing import Any

import orjson
import pytest

from broker.wire.agui import Agui, AguiRepair, AguiState
from broker.wire.event import Event
from broker.wire.frame import encode
from broker.wire.gap import Gap, GapReason
from broker.wire.ids import StreamId
from tests.support.agui_runs import CHUNKED, ERRED, REALISTIC, RUN, SUBAGENTS, as_events
from tests.support.sse import Decoder

core = pytest.importorskip("ag_ui.core", reason="ag-ui-protocol is not installed")
encoder = pytest.importorskip("ag_ui.encoder", reason="ag-ui-protocol is not installed")
pydantic = pytest.importorskip("pydantic")

_FORM = Agui(RUN)
_ANY_EVENT = pydantic.TypeAdapter(core.Event)

every_run = pytest.mark.parametrize(
    "run",
    [REALISTIC, CHUNKED, SUBAGENTS, ERRED],
    ids=["realistic", "chunked", "subagents", "erred"],
)


def validated(wires: bytes) -> list[Any]:
    """The events; each must be one, without members that the protocol does not know."""
    events = []
    for message in Decoder().feed(wires):
        event = _ANY_EVENT.validate_json(message.data)
        assert not event.model_extra, message.data
        assert orjson.loads(event.model_dump_json(by_alias=True)) == orjson.loads(message.data)
        events.append(event)
    return events


def repaired(dialect: Any, events: list[Event]) -> bytes:
    return b"".join(dialect.encode([encode(event) for event in events]))


@every_run
def test_every_event_that_anyone_is_told_is_one(run: list[dict[str, Any]]) -> None:
    events = as_events(run)
    assert len(validated(repaired(_FORM, events))) == len(events)
    for cut in range(len(events)):
        state = AguiState(RUN).advance(events[:cut])
        joined = AguiRepair.joining(_FORM, state, newcomer=True)
        validated(joined.greeting(100, state.position) + repaired(joined, events[cut:]))
        validated(repaired(AguiRepair(_FORM), events[cut:]))
        gap = Gap(StreamId(1, 1), events[cut].id, GapReason.TRIMMED)
        validated(_FORM.gap(gap) + repaired(_FORM.after_gap(), events[cut:]))


def test_what_its_encoder_writes_is_passed_on() -> None:
    written = [
        core.TextMessageStartEvent(message_id="m", role="assistant"),
        core.TextMessageContentEvent(message_id="m", delta='hi\n☀ \\ "'),
        core.StateSnapshotEvent(snapshot={"a": [1, None]}),
        core.CustomEvent(name="n", value=None),
    ]
    for each in written:
        line = encoder.EventEncoder().encode(each)
        data = each.model_dump_json(by_alias=True).encode()
        frame = encode(Event(StreamId(1, 1), each.type.value, data))
        assert b"".join(_FORM.encode([frame])) == b"id: 1-1\n" + line.encode()
