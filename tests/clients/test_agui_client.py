"""AG-UI's own client (npm's `@ag-ui/client`), which ends with an error on the first event that is
out of place: it accepts whatever we make of a run, wherever one joins and whatever is missing.

Here it is given the bytes; that a server sends them is in tests/integration/test_agui.py.
"""

import random
from collections.abc import Iterator, Sequence
from typing import Any, Final

import pytest

from broker.wire.agui import Agui, AguiRepair, AguiState
from broker.wire.event import Event
from broker.wire.folding import Folded
from broker.wire.frame import encode
from broker.wire.gap import Gap, GapReason
from tests.support.agui_client import Client, gaps_of, needs_agui_client, texts_of
from tests.support.agui_runs import (
    CHUNKED,
    ERRED,
    FOLDING,
    REALISTIC,
    RUN,
    SUBAGENTS,
    as_events,
    as_frames,
)

_FORM: Final = Agui(RUN)

pytestmark = needs_agui_client

every_run = pytest.mark.parametrize(
    "run",
    [REALISTIC, CHUNKED, SUBAGENTS, ERRED],
    ids=["realistic", "chunked", "subagents", "erred"],
)


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    """One process for all: starting it takes longer than most runs."""
    client = Client()
    yield client
    client.close()


def sent(events: Sequence[Event]) -> bytes:
    """The bytes that a viewer gets who was told all before."""
    return b"".join(_FORM.encode([encode(event) for event in events]))


def repaired(dialect: AguiRepair, events: Sequence[Event]) -> bytes:
    """The bytes that a viewer gets for whom things are put right."""
    return b"".join(dialect.encode([encode(event) for event in events]))


def _hole(events: Sequence[Event], start: int, end: int, reason: GapReason) -> Gap:
    return Gap(events[start - 1].id, events[end].id, reason)


@every_run
def test_a_full_run(client: Client, run: list[dict[str, Any]]) -> None:
    answer = client.accepts(_FORM.greeting(100, None) + sent(as_events(run)))
    assert answer["types"][0] == "RUN_STARTED"
    assert answer["types"][-1] == run[-1]["type"]
    assert answer["messages"]
    assert answer["errors"] == [said["message"] for said in run if said["type"] == "RUN_ERROR"]


@every_run
def test_repair_leaves_a_run_that_needs_none_as_it_is(
    client: Client, run: list[dict[str, Any]]
) -> None:
    plain = client.accepts(sent(as_events(run)))
    assert client.accepts(repaired(AguiRepair(_FORM), as_events(run))) == plain


@every_run
def test_resuming_at_every_cursor_gives_what_the_full_run_gives(
    client: Client, run: list[dict[str, Any]]
) -> None:
    events = as_events(run)
    full = client.accepts(sent(events))
    state = AguiState(RUN)
    for cut in range(len(events)):
        before = client.accepts(sent(events[:cut]))
        dialect = AguiRepair.joining(_FORM, state, newcomer=False)
        body = dialect.greeting(100, None) + repaired(dialect, events[cut:])
        answer = client.accepts(body, messages=before["messages"], state=before["state"])
        assert answer["messages"] == full["messages"], run[cut]
        assert answer["state"] == full["state"], run[cut]
        state = state.advance(events[cut : cut + 1])


@every_run
def test_joining_anew_at_every_place_is_valid_and_has_the_state(
    client: Client, run: list[dict[str, Any]]
) -> None:
    events = as_events(run)
    full = client.accepts(sent(events))
    texts = texts_of(full)
    for cut in range(len(events)):
        state = AguiState(RUN).advance(events[:cut])
        dialect = AguiRepair.joining(_FORM, state, newcomer=True)
        preamble = dialect.greeting(100, None)
        answer = client.accepts(preamble + repaired(dialect, events[cut:]))
        assert answer["state"] == full["state"], run[cut]
        for message, text in texts_of(answer).items():
            assert texts[message].endswith(text), run[cut]
        # From here on, they may be sent what all others are.
        assert client.accepts(preamble + sent(events[cut:])) == answer


@every_run
def test_a_history_whose_beginning_is_gone(client: Client, run: list[dict[str, Any]]) -> None:
    events = as_events(run)
    for cut in range(len(events)):
        answer = client.accepts(repaired(AguiRepair(_FORM), events[cut:]))
        assert answer["types"][0] == "RUN_STARTED", run[cut]
        deltas = [said["delta"] for said in run[cut:] if isinstance(said.get("delta"), str)]
        texts = texts_of(answer).values()
        assert sum(map(len, texts)) >= sum(map(len, deltas)), run[cut]


@every_run
def test_a_state_made_of_a_trimmed_history(client: Client, run: list[dict[str, Any]]) -> None:
    events = as_events(run)
    for trimmed in range(1, len(events), 4):
        for cut in range(trimmed, len(events), 3):
            state = AguiState(RUN).advance(events[trimmed:cut])
            dialect = AguiRepair.joining(_FORM, state, newcomer=True)
            client.accepts(dialect.greeting(100, None) + repaired(dialect, events[cut:]))


@every_run
def test_any_hole_while_one_watches(client: Client, run: list[dict[str, Any]]) -> None:
    events = as_events(run)
    for start in range(1, len(events) - 1):
        for end in {start + 1, min(start + 5, len(events) - 1)}:
            dialect = AguiRepair(_FORM)
            body = repaired(dialect, events[:start])
            body += dialect.gap(_hole(events, start, end, GapReason.TRIMMED))
            assert dialect.after_gap() is dialect
            answer = client.accepts(body + repaired(dialect, events[end:]))
            assert gaps_of(answer) == 1
            assert answer["errors"] == ([] if run is not ERRED else [run[-1]["message"]])
            assert answer["types"][-1] == run[-1]["type"]


@every_run
def test_a_failover_that_lost_nothing_changes_nothing(
    client: Client, run: list[dict[str, Any]]
) -> None:
    events = as_events(run)
    full = client.accepts(sent(events))
    for start in range(1, len(events)):
        dialect = AguiRepair(_FORM)
        body = repaired(dialect, events[:start])
        body += dialect.gap(_hole(events, start, start, GapReason.FAILOVER))
        answer = client.accepts(body + repaired(dialect, events[start:]))
        assert gaps_of(answer) == 1
        assert answer["messages"] == full["messages"], run[start]
        assert answer["state"] == full["state"], run[start]


@every_run
def test_a_hole_for_those_who_share_their_bytes(client: Client, run: list[dict[str, Any]]) -> None:
    events = as_events(run)
    for start in range(1, len(events) - 1):
        end = min(start + 2, len(events) - 1)
        body = sent(events[:start]) + _FORM.gap(_hole(events, start, end, GapReason.TRIMMED))
        after = _FORM.after_gap()
        body += b"".join(after.encode([encode(event) for event in events[end:]]))
        answer = client.ask({"body": body.decode()})
        # Names of tools are the one thing that is made up for something that the client knows.
        assert all("to 'unknown'" in warning for warning in answer["warnings"])
        assert answer["thrown"] is None
        assert gaps_of(answer) == 1
        assert answer["types"][-1] == run[-1]["type"]


@every_run
def test_a_gap_before_the_first_event(client: Client, run: list[dict[str, Any]]) -> None:
    events = as_events(run)
    for cut in range(1, len(events)):
        dialect = AguiRepair(_FORM)
        body = dialect.greeting(100, None) + dialect.gap(_hole(events, 1, cut, GapReason.TRIMMED))
        assert gaps_of(client.accepts(body + repaired(dialect, events[cut:]))) == 1


@every_run
def test_a_run_that_begins_anew_while_one_watches(
    client: Client, run: list[dict[str, Any]]
) -> None:
    events = as_events(run)
    for start in range(1, len(events) - 1, 2):
        gap = _hole(events, start, 0, GapReason.RESET)
        dialect = AguiRepair(_FORM)
        body = repaired(dialect, events[:start]) + dialect.gap(gap) + repaired(dialect, events)
        answer = client.accepts(body)
        assert answer["types"][-1] == run[-1]["type"]
        assert "Events of this run are missing" in answer["errors"][0]


def test_a_run_that_begins_anew_before_anything_was_said_is_no_error(client: Client) -> None:
    events = as_events(REALISTIC)
    dialect = AguiRepair(_FORM)
    body = dialect.gap(_hole(events, 3, 0, GapReason.RESET)) + repaired(dialect, events)
    answer = client.accepts(body)
    assert answer["errors"] == []
    assert answer["types"][:2] == ["RUN_STARTED", "CUSTOM"]


@every_run
def test_a_folded_replay_gives_the_same(client: Client, run: list[dict[str, Any]]) -> None:
    frames = as_frames(run)
    folded = Folded(_FORM, FOLDING).encode(frames)
    assert len(folded) < len(frames)
    plain, other = client.accepts(sent(as_events(run))), client.accepts(b"".join(folded))
    assert (other["messages"], other["state"]) == (plain["messages"], plain["state"])


@pytest.mark.parametrize("kept", [0.3, 0.7, 1])
def test_many_holes_and_doubled_events(client: Client, kept: float) -> None:
    whole = [*REALISTIC[:-1], *SUBAGENTS[1:-1], *CHUNKED[1:]]
    for seed in range(25):
        chance = random.Random(seed)
        events = [event for event in as_events(whole) if chance.random() < kept]
        if kept == 1:
            events = [event for event in events for _ in range(chance.choice([1, 1, 1, 2]))]
        assert client.ask({"body": repaired(AguiRepair(_FORM), events).decode()})["thrown"] is None


def test_heartbeats_and_moves_are_passed_over(client: Client) -> None:
    body = b""
    for frame in as_frames(REALISTIC):
        body += b"".join(_FORM.encode([frame])) + _FORM.heartbeat(None)
        body += _FORM.moved(frame.id) + _FORM.heartbeat(frame.id) + _FORM.caught_up(frame.id)
    plain = client.accepts(sent(as_events(REALISTIC)))
    assert client.accepts(_FORM.greeting(100, None) + body) == plain


def test_runs_in_other_words_are_accepted_as_well(client: Client) -> None:
    first = as_events(REALISTIC)[0]
    events = [
        first._replace(type=event_type, data=data)
        for event_type, data in [
            ("started", b"{}"),
            ("chunk", b'{"text":"hi"}'),
            ("", b"no JSON"),
            ("TEXT_MESSAGE_CONTENT", b"[1]"),
        ]
    ]
    message = b'{"message":"The worker is gone."}'
    lost = first._replace(type="worker_lost", data=message, final=True)
    done = first._replace(type="done", data=b"{}", final=True)
    answer = client.accepts(repaired(AguiRepair(_FORM), [*events, lost]))
    assert answer["errors"] == ["The worker is gone."]
    assert answer["types"] == ["RUN_STARTED", *["CUSTOM"] * 4, "RUN_ERROR"]
    answer = client.accepts(repaired(AguiRepair(_FORM), [*events, done]))
    assert answer["types"] == ["RUN_STARTED", *["CUSTOM"] * 4, "RUN_FINISHED"]
    assert [each["value"] for each in answer["custom"]] == [{}, {"text": "hi"}, "no JSON", [1]]


def test_the_beginning_and_the_end_need_no_members(client: Client) -> None:
    first = as_events(REALISTIC)[0]._replace(data=b"{}")
    finished = client.accepts(sent([first, first._replace(type="RUN_FINISHED")]))
    assert finished["types"] == ["RUN_STARTED", "RUN_FINISHED"]
    erred = client.accepts(sent([first, first._replace(type="RUN_ERROR")]))
    assert erred["errors"] == ["The run has failed."]


def test_a_member_with_the_run_id_does_no_harm(client: Client) -> None:
    form = Agui(RUN, run_id_member="run_id")
    plain = client.accepts(sent(as_events(REALISTIC)))
    answer = client.ask({"body": b"".join(form.encode(as_frames(REALISTIC))).decode()})
    # The protocol does not know it; the client leaves it out, and warns.
    assert all("run_id" in warning for warning in answer["warnings"])
    assert (answer["thrown"], answer["types"]) == (None, plain["types"])
    assert (answer["messages"], answer["state"]) == (plain["messages"], plain["state"])
