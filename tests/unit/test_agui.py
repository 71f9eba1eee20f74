"""AG-UI without a client: what is written, what is told to whom, and that checkpoints hold.

That AG-UI's own clients accept it is in tests/clients.
"""

import time
from collections.abc import Sequence
from typing import Any

import orjson
import pytest

from broker.wire.agui import Agui, AguiRepair, AguiState
from broker.wire.event import Event
from broker.wire.frame import encode
from broker.wire.gap import Gap, GapReason
from broker.wire.ids import RunId, StreamId
from tests.support.agui_runs import CHUNKED, ERRED, REALISTIC, RUN, SUBAGENTS, as_events, as_frames
from tests.support.sse import Decoder, Message

FORM = Agui(RUN)


def event(seq: int, event_type: str, data: Any = None, *, final: bool = False) -> Event:
    raw = data if isinstance(data, bytes) else orjson.dumps(data or {})
    return Event(StreamId(1, seq), event_type, raw, final)


def messages(wires: bytes | Sequence[bytes]) -> list[Message]:
    return Decoder().feed(wires if isinstance(wires, bytes) else b"".join(wires))


def documents(wires: bytes | Sequence[bytes]) -> list[dict[str, Any]]:
    return [orjson.loads(message.data) for message in messages(wires)]


def types(wires: bytes | Sequence[bytes]) -> list[str]:
    return [document["type"] for document in documents(wires)]


def sent(dialect: Agui | AguiRepair, *events: Event) -> bytes:
    return b"".join(dialect.encode([encode(each) for each in events]))


# ---- what is written


def test_events_are_unnamed_and_have_ids() -> None:
    [message] = messages(sent(FORM, event(1, "CUSTOM", {"name": "n", "value": 1})))
    assert (message.type, message.id) == ("message", "1-1")
    assert orjson.loads(message.data) == {"type": "CUSTOM", "name": "n", "value": 1}


def test_data_that_begins_with_its_type_is_passed_on_byte_for_byte() -> None:
    data = b'{"type":"TEXT_MESSAGE_CONTENT", "messageId":"m" ,"delta":"\\u0061"}'
    assert sent(FORM, event(1, "TEXT_MESSAGE_CONTENT", data)) == b"id: 1-1\ndata: %b\n\n" % data


@pytest.mark.parametrize(
    ("event_type", "data", "written"),
    [
        ("STEP_STARTED", {"stepName": "s"}, {"type": "STEP_STARTED", "stepName": "s"}),
        ("STEP_STARTED", {"type": "x", "stepName": "s"}, {"type": "STEP_STARTED", "stepName": "s"}),
        ("", {"type": "STEP_STARTED", "stepName": "s"}, {"type": "STEP_STARTED", "stepName": "s"}),
        ("chunk", {"text": "a"}, {"type": "CUSTOM", "name": "chunk", "value": {"text": "a"}}),
        ("", b"hi", {"type": "CUSTOM", "name": "message", "value": "hi"}),
        ("log", b"\xff", {"type": "CUSTOM", "name": "log", "value": "�"}),
        ("RUN_STARTED", {}, {"type": "RUN_STARTED", "threadId": RUN, "runId": RUN}),
        (
            "RUN_STARTED",
            {"threadId": "t", "runId": "r"},
            {"type": "RUN_STARTED", "threadId": "t", "runId": "r"},
        ),
    ],
)
def test_what_a_producer_writes_becomes_agui(event_type: str, data: Any, written: Any) -> None:
    assert documents(sent(FORM, event(1, event_type, data))) == [written]


def test_line_breaks_in_the_data_are_none_on_the_wire() -> None:
    wire = sent(FORM, event(1, "STEP_STARTED", b'{"type":"STEP_STARTED",\n "stepName":\r\n "s"}'))
    assert wire.count(b"\n") == 3
    assert documents(wire) == [{"type": "STEP_STARTED", "stepName": "s"}]


@pytest.mark.parametrize(
    ("event_type", "data", "expected"),
    [
        ("done", {"n": 1}, {"type": "RUN_FINISHED", "result": {"n": 1}}),
        ("succeeded", {}, {"type": "RUN_FINISHED"}),
        ("worker_lost", {}, {"type": "RUN_ERROR", "code": "worker_lost"}),
        ("failed", {"message": "no"}, {"type": "RUN_ERROR", "code": "failed", "message": "no"}),
        ("", b"x", {"type": "RUN_ERROR", "code": "ended"}),
    ],
)
def test_every_end_is_an_end(event_type: str, data: Any, expected: dict[str, Any]) -> None:
    [document] = documents(sent(FORM, event(1, event_type, data, final=True)))
    assert expected.items() <= document.items()


def test_a_member_with_the_run_id_is_in_every_event() -> None:
    form = Agui(RUN, run_id_member="run_id")
    state = AguiState(RUN).advance(as_events(REALISTIC)[:20])
    dialect = AguiRepair.joining(form, state, newcomer=True)
    wires = dialect.greeting(100, None) + sent(dialect, *as_events(REALISTIC)[20:])
    wires += form.gap(Gap(StreamId(1, 1), None, GapReason.TRIMMED))
    wires += sent(form, *as_events(REALISTIC))
    assert {document["run_id"] for document in documents(wires)} == {RUN}


def test_equal_ones_share_their_bytes_and_each_repair_is_one_viewer() -> None:
    assert Agui(RUN) == Agui(RUN)
    assert hash(Agui(RUN)) == hash(Agui(RUN))
    assert Agui(RUN) != Agui(RunId("other"))
    assert Agui(RUN) != Agui(RUN, run_id_member="run_id")
    assert AguiRepair(FORM) != AguiRepair(FORM)


# ---- joining


def test_nothing_is_told_of_a_run_that_has_not_begun() -> None:
    assert AguiState(RUN).preamble(newcomer=True) == []
    dialect = AguiRepair.joining(FORM, AguiState(RUN), newcomer=True)
    assert dialect.greeting(100, None) == b"retry: 100\n"


def test_what_is_open_is_told_in_the_order_in_which_it_was_opened() -> None:
    state = AguiState(RUN).advance(as_events(REALISTIC)[:18])
    assert [said["type"] for said in state.preamble(newcomer=False)] == [
        "RUN_STARTED",
        "STATE_SNAPSHOT",
        "STEP_STARTED",
        "STEP_STARTED",
        "TEXT_MESSAGE_START",
        "TOOL_CALL_START",
    ]
    told = {said["type"]: said for said in state.preamble(newcomer=False)}
    assert told["RUN_STARTED"]["threadId"] == "t-1"
    assert told["STATE_SNAPSHOT"]["snapshot"] == {"plan": ["look it up", "say it"], "progress": 0}
    assert told["TOOL_CALL_START"]["toolCallName"] == "get_weather"


def test_no_state_is_made_up() -> None:
    state = AguiState(RUN).advance(
        [event(1, "RUN_STARTED"), event(2, "STATE_DELTA", {"delta": [{"op": "add", "path": "/a"}]})]
    )
    assert not state.knows_state
    assert [said["type"] for said in state.preamble(newcomer=True)] == ["RUN_STARTED"]


def test_a_patch_that_does_not_fit_leaves_the_state_as_clients_do() -> None:
    patch = [{"op": "replace", "path": "/a", "value": 2}, {"op": "remove", "path": "/b"}]
    state = AguiState(RUN).advance(
        [
            event(1, "STATE_SNAPSHOT", {"snapshot": {"a": 1}}),
            event(2, "STATE_DELTA", {"delta": patch}),
        ]
    )
    assert state.preamble(newcomer=False)[1]["snapshot"] == {"a": 1}


def test_only_newcomers_are_told_the_messages() -> None:
    snapshot = {"messages": [{"id": "m", "role": "user", "content": "hi"}]}
    state = AguiState(RUN).advance(
        [event(1, "RUN_STARTED"), event(2, "MESSAGES_SNAPSHOT", snapshot)]
    )
    assert "MESSAGES_SNAPSHOT" in [said["type"] for said in state.preamble(newcomer=True)]
    assert "MESSAGES_SNAPSHOT" not in [said["type"] for said in state.preamble(newcomer=False)]


def test_a_subagent_whose_parent_has_ended_is_told_without_it() -> None:
    state = AguiState(RUN).advance(as_events(SUBAGENTS)[:14])
    [subagent] = [
        said for said in state.preamble(newcomer=True) if said["type"] == "SUBAGENT_STARTED"
    ]
    assert subagent == {"type": "SUBAGENT_STARTED", "subagentRunId": "s-2", "name": "reader"}


@pytest.mark.parametrize("run", [REALISTIC, CHUNKED, SUBAGENTS, ERRED])
def test_a_checkpoint_and_what_follows_give_the_same_as_the_whole(run: list[Any]) -> None:
    events = as_events(run)
    for cut in range(len(events)):
        checkpoint = AguiState(RUN).advance(events[:cut])
        before = checkpoint.preamble(newcomer=True)
        for end in range(cut, len(events)):
            whole = AguiState(RUN).advance(events[:end])
            further = checkpoint.advance(events[cut:end])
            assert further.preamble(newcomer=True) == whole.preamble(newcomer=True)
            assert further.position == whole.position
        assert checkpoint.preamble(newcomer=True) == before


def test_the_position_is_told_and_the_preamble_moves_it_no_further() -> None:
    state = AguiState(RUN).advance(as_events(REALISTIC)[:18])
    dialect = AguiRepair.joining(FORM, state, newcomer=False)
    told = messages(dialect.greeting(100, state.position))
    assert {message.id for message in told} == {str(state.position)}


def test_folding_a_long_run_into_a_state_is_quick() -> None:
    delta = {"type": "TEXT_MESSAGE_CONTENT", "messageId": "m", "delta": "word "}
    events = [
        event(1, "RUN_STARTED"),
        event(2, "TEXT_MESSAGE_START", {"messageId": "m", "role": "assistant"}),
        *(event(seq, "TEXT_MESSAGE_CONTENT", delta) for seq in range(3, 20_000)),
    ]
    started = time.process_time()
    AguiState(RUN).advance(events)
    assert time.process_time() - started < 2, "about 0.1 s on a machine that is not busy"


# ---- putting right


def test_what_needs_nothing_is_left_as_it_is() -> None:
    frames = as_frames(REALISTIC)
    assert documents(AguiRepair(FORM).encode(frames)) == documents(FORM.encode(frames))


def test_what_is_inserted_has_no_id_so_that_a_reconnect_begins_before_it() -> None:
    dialect = AguiRepair(FORM)
    told = messages(sent(dialect, event(7, "TEXT_MESSAGE_END", {"messageId": "m"})))
    assert [(each.id, each.own_id) for each in told] == [("", False), ("", False), ("1-7", True)]
    assert types(sent(AguiRepair(FORM), event(7, "TEXT_MESSAGE_END", {"messageId": "m"}))) == [
        "RUN_STARTED",
        "TEXT_MESSAGE_START",
        "TEXT_MESSAGE_END",
    ]


def test_what_a_client_never_accepts_is_left_out_and_moves_the_cursor() -> None:
    dialect = AguiRepair(FORM)
    sent(dialect, event(1, "RUN_STARTED"), event(2, "RUN_FINISHED"))
    assert sent(dialect, event(3, "CUSTOM", {"name": "n", "value": 1})) == b"id: 1-3\n\n"


def test_changes_of_a_state_that_is_not_known_are_left_out() -> None:
    delta = {"delta": [{"op": "add", "path": "/a", "value": 1}]}
    dialect = AguiRepair(FORM)
    assert types(sent(dialect, event(1, "RUN_STARTED"), event(2, "STATE_DELTA", delta))) == [
        "RUN_STARTED",
        "STATE_DELTA",
    ]
    dialect.gap(Gap(StreamId(1, 2), StreamId(1, 4), GapReason.TRIMMED))
    assert types(sent(dialect, event(4, "STATE_DELTA", delta))) == []
    snapshot = event(5, "STATE_SNAPSHOT", {"snapshot": {}})
    assert types(sent(dialect, snapshot, event(6, "STATE_DELTA", delta))) == [
        "STATE_SNAPSHOT",
        "STATE_DELTA",
    ]


@pytest.mark.parametrize(
    ("newcomer", "snapshot", "kept"),
    [(False, False, True), (True, False, False), (False, True, True), (True, True, True)],
)
def test_whose_state_is_known_when_they_join(newcomer: bool, snapshot: bool, kept: bool) -> None:
    state = AguiState(RUN).advance([event(1, "RUN_STARTED")])
    if snapshot:
        state = state.advance([event(2, "STATE_SNAPSHOT", {"snapshot": {}})])
    dialect = AguiRepair.joining(FORM, state, newcomer=newcomer)
    delta = event(3, "STATE_DELTA", {"delta": [{"op": "add", "path": "/a", "value": 1}]})
    assert (types(sent(dialect, delta)) == ["STATE_DELTA"]) is kept


def test_a_gap_is_said_at_once_to_who_knows_of_the_run() -> None:
    gap = Gap(StreamId(1, 1), StreamId(1, 5), GapReason.TRIMMED)
    dialect = AguiRepair(FORM)
    sent(dialect, event(1, "RUN_STARTED"))
    assert documents(dialect.gap(gap)) == [
        {"type": "CUSTOM", "name": "runcast.gap", "value": gap.document()}
    ]


def test_a_gap_before_everything_waits_for_the_run_to_begin() -> None:
    dialect = AguiRepair(FORM)
    assert dialect.gap(Gap(StreamId(1, 1), StreamId(1, 5), GapReason.TRIMMED)) == b""
    assert dialect.gap(Gap(StreamId(1, 3), StreamId(1, 6), GapReason.UNKNOWN)) == b""
    told = documents(sent(dialect, event(6, "STEP_FINISHED", {"stepName": "s"})))
    assert [said["type"] for said in told] == [
        "RUN_STARTED",
        "CUSTOM",
        "STEP_STARTED",
        "STEP_FINISHED",
    ]
    assert told[1]["value"] == {"requested": "1-1", "resumed_at": "1-6", "reason": "unknown"}


def test_a_tool_call_keeps_its_name_over_a_hole() -> None:
    dialect = AguiRepair(FORM)
    start = {"toolCallId": "c", "toolCallName": "search"}
    sent(
        dialect, event(1, "TOOL_CALL_START", start), event(2, "TOOL_CALL_END", {"toolCallId": "c"})
    )
    told = documents(sent(dialect, event(9, "TOOL_CALL_ARGS", {"toolCallId": "c", "delta": "}"})))
    assert told[0] == {"type": "TOOL_CALL_START", **start}


@pytest.mark.parametrize(
    "data",
    [{}, {"messageId": None}, {"messageId": 7}, {"messageId": ["m"]}, {"toolCallId": {}}],
)
@pytest.mark.parametrize(
    "event_type",
    [
        *("TEXT_MESSAGE_START", "TEXT_MESSAGE_CONTENT", "TEXT_MESSAGE_END", "TEXT_MESSAGE_CHUNK"),
        *("TOOL_CALL_ARGS", "TOOL_CALL_CHUNK", "STEP_FINISHED", "SUBAGENT_STARTED"),
        *("THINKING_TEXT_MESSAGE_CONTENT", "STATE_DELTA", "MESSAGES_SNAPSHOT"),
    ],
)
def test_what_is_malformed_is_the_producers_and_harms_nobody_else(
    event_type: str, data: dict[str, Any]
) -> None:
    malformed = event(2, event_type, {**data, "subagentRunId": ["x"], "parentSubagentRunId": {}})
    sent(AguiRepair(FORM), event(1, "RUN_STARTED"), malformed, event(3, event_type, data))
    state = AguiState(RUN).advance([event(1, "STATE_SNAPSHOT"), malformed])
    assert state.advance([event(3, event_type, data)]).preamble(newcomer=True)


def test_what_is_nested_too_deeply_is_said_to_be_left_out() -> None:
    deep = b'{"snapshot":' + b"[" * 300 + b"]" * 300 + b"}"
    (sent,) = Agui(RunId("r")).encode(
        [encode(Event(StreamId(1, 0), "STATE_SNAPSHOT", deep, final=False))]
    )
    assert sent == (
        b'id: 1-0\ndata: {"type":"CUSTOM","name":"runcast.unsendable",'
        b'"value":{"type":"STATE_SNAPSHOT"}}\n\n'
    )
