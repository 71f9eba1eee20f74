"""Folding: what is merged, what never is, and that no text and no id is lost by it."""

import time
from collections.abc import Sequence
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.wire.dialect import NATIVE, Dialect
from broker.wire.event import Event
from broker.wire.folding import Folded, FoldRule, fold
from broker.wire.frame import Frame, encode
from broker.wire.ids import StreamId
from tests.support.agui_runs import FOLDING
from tests.support.sse import Decoder

RULE = FoldRule(frozenset({"chunk", "token"}), "text")


def event(seq: int, data: Any, event_type: str = "chunk", *, final: bool = False) -> Event:
    raw = data if isinstance(data, bytes) else orjson.dumps(data)
    return Event(StreamId(1, seq), event_type, raw, final)


def seen(events: Sequence[Event]) -> list[tuple[int, str, Any]]:
    return [(each.id.seq, each.type, orjson.loads(each.data)) for each in events]


def test_neighbours_become_one_event_with_the_newest_id() -> None:
    folded = fold([event(1, {"text": "a"}), event(2, {"text": "b"}), event(3, {"text": "c"})], RULE)
    assert seen(folded) == [(3, "chunk", {"text": "abc"})]


def test_an_event_without_a_like_neighbour_is_left_byte_for_byte() -> None:
    alone = event(1, b'{ "text" : "\\u0061" }')
    assert fold([alone], RULE) == [alone]
    assert fold([alone], RULE)[0] is alone


@pytest.mark.parametrize(
    "between",
    [
        event(2, {"text": "other type"}, "token"),
        event(2, {"name": "search"}, "tool"),
        event(2, {"text": "of another", "message": 2}),
        event(2, {"text": 7}),
        event(2, {"other": "no text"}),
        event(2, b"not json"),
        event(2, b'["text"]'),
        event(2, b'{"text":"\\ud83d"}'),
        event(2, {"text": "the end"}, final=True),
        event(2, b"\xff"),
    ],
    ids=lambda each: f"{each.type} {each.data!r}",
)
def test_nothing_is_merged_across_what_is_no_like_delta(between: Event) -> None:
    around = [event(1, {"text": "a"}), between, event(3, {"text": "c"})]
    assert fold(around, RULE) == around


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"text": "a", "n": 1}, {"text": "b", "n": True}),
        ({"text": "a", "n": 0}, {"text": "b", "n": False}),
        ({"text": "a"}, {"text": "b", "n": None}),
        ({"text": "a", "of": {"id": 1}}, {"text": "b", "of": {"id": 2}}),
    ],
)
def test_other_members_must_be_equal(first: Any, second: Any) -> None:
    events = [event(1, first), event(2, second)]
    assert fold(events, RULE) == events


def test_the_newest_value_is_taken_of_members_that_count_up() -> None:
    folded = fold(
        [
            event(1, {"text": "a", "index": 0, "of": "m"}),
            event(2, {"text": "b", "index": 1, "of": "m"}),
        ],
        RULE,
    )
    assert seen(folded) == [(2, "chunk", {"text": "ab", "index": 1, "of": "m"})]


def test_a_merged_event_is_bounded() -> None:
    rule = FoldRule(RULE.types, "text", most_bytes=100)
    events = [event(seq, {"text": "x" * 20}) for seq in range(1, 11)]
    folded = fold(events, rule)
    assert [each.id.seq for each in folded] == [3, 6, 9, 10]
    assert all(len(each.data) <= 100 for each in folded)


def test_an_event_above_the_bound_is_served_as_it_is() -> None:
    rule = FoldRule(RULE.types, "text", most_bytes=10)
    events = [event(seq, {"text": "x" * 20}) for seq in range(1, 4)]
    assert fold(events, rule) == events


def test_agui_deltas_are_kept_apart_by_message_and_tool_call() -> None:
    def content(seq: int, message: str, delta: str) -> Event:
        data = {"type": "TEXT_MESSAGE_CONTENT", "messageId": message, "delta": delta}
        return event(seq, {**data, "timestamp": seq}, "TEXT_MESSAGE_CONTENT")

    def arguments(seq: int, delta: str) -> Event:
        data = {"type": "TOOL_CALL_ARGS", "toolCallId": "c", "delta": delta}
        return event(seq, data, "TOOL_CALL_ARGS")

    folded = fold(
        [
            *(content(1, "m1", "a"), content(2, "m1", "b"), content(3, "m2", "c")),
            *(content(4, "m1", "d"), arguments(5, "{"), arguments(6, "}")),
        ],
        FOLDING,
    )
    assert [(seq, document["delta"]) for seq, _, document in seen(folded)] == [
        (2, "ab"),
        (3, "c"),
        (4, "d"),
        (6, "{}"),
    ]
    assert seen(folded)[0][2]["timestamp"] == 2


EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["chunk", "token", "tool", ""]),
        st.one_of(
            st.fixed_dictionaries(
                {"text": st.text(max_size=5)},
                optional={"index": st.integers(0, 5), "of": st.sampled_from([1, 2, True])},
            ).map(orjson.dumps),
            st.binary(max_size=8),
        ),
    ),
    max_size=30,
)


@given(EVENTS, st.integers(10, 200))
def test_no_text_no_order_and_no_cursor_is_lost(
    drawn: list[tuple[str, bytes]], most_bytes: int
) -> None:
    events = [event(seq, data, kind) for seq, (kind, data) in enumerate(drawn, 1)]
    rule = FoldRule(RULE.types, "text", most_bytes=most_bytes)
    folded = fold(events, rule)
    ids = [each.id for each in folded]
    assert ids == sorted(set(ids))
    assert ids[-1:] == [each.id for each in events[-1:]]
    by_id = {each.id: each for each in events}
    before = 0
    for each in folded:
        group = events[before : each.id.seq]
        before = each.id.seq
        if len(group) == 1:
            assert each is by_id[each.id]
            continue
        texts = [orjson.loads(one.data)["text"] for one in group]
        newest = orjson.loads(group[-1].data)
        assert {one.type for one in group} == {each.type} <= rule.types
        assert orjson.loads(each.data) == {**newest, "text": "".join(texts)}
        assert len(each.data) <= most_bytes


def test_a_long_run_is_a_small_replay_and_takes_no_time() -> None:
    tokens = [
        Event(StreamId(1_718_900_000_000 + seq, 0), "chunk", b'{"text":"word ","index":%d}' % seq)
        for seq in range(20_000)
    ]
    frames = [encode(token) for token in tokens]
    folded = Folded(NATIVE, RULE)
    started = time.process_time()
    wires: list[bytes] = []
    for page in range(0, len(frames), 100):
        wires += folded.encode(frames[page : page + 100])
    assert time.process_time() - started < 1, "well under 0.2 s on a machine that is not busy"
    assert len(wires) <= 0.03 * len(frames)
    assert sum(map(len, wires)) <= 0.25 * sum(len(frame.wire) for frame in frames)
    messages = Decoder().feed(b"".join(wires))
    assert "".join(orjson.loads(each.data)["text"] for each in messages) == "word " * 20_000
    assert messages[-1].id == str(tokens[-1].id)


def test_every_cursor_that_a_folded_replay_gives_resumes_without_a_hole() -> None:
    events = [event(seq, {"text": f"{seq} "}, "tool" if seq % 7 == 0 else "chunk") for seq in
              range(1, 60)]  # fmt: skip
    whole = "".join(orjson.loads(each.data)["text"] for each in events)
    for each in fold(events, RULE):
        assert isinstance(each, Event)
        had = [one for one in fold(events, RULE) if one.id <= each.id]
        rest = fold([one for one in events if one.id > each.id], RULE)
        assert "".join(orjson.loads(one.data)["text"] for one in [*had, *rest]) == whole


class _Recording:
    """A dialect that becomes another after a gap."""

    def __init__(self) -> None:
        self.encoded: list[Frame] = []
        self.next = self

    def encode(self, frames: Sequence[Frame]) -> Sequence[bytes]:
        self.encoded += frames
        return NATIVE.encode(frames)

    def after_gap(self) -> Dialect:
        return self.next  # type: ignore[return-value]


def test_the_inner_dialect_gets_what_is_merged_and_the_very_frames_that_are_not() -> None:
    inner = _Recording()
    tool = encode(event(3, {"name": "x"}, "tool"))
    frames = [encode(event(1, {"text": "a"})), encode(event(2, {"text": "b"})), tool]
    Folded(inner, RULE).encode(frames)  # type: ignore[arg-type]
    assert [(frame.id.seq, frame.data) for frame in inner.encoded] == [
        (2, b'{"text":"ab"}'),
        (3, b'{"name":"x"}'),
    ]
    assert inner.encoded[1] is tool


def test_folding_goes_on_after_a_gap_around_what_the_inner_dialect_has_become() -> None:
    inner, other = _Recording(), _Recording()
    folded = Folded(inner, RULE)  # type: ignore[arg-type]
    assert folded.after_gap() is folded
    inner.next = other
    assert folded.after_gap() == Folded(other, RULE)  # type: ignore[arg-type]


def test_equal_ones_share_their_bytes() -> None:
    assert Folded(NATIVE, RULE) == Folded(NATIVE, RULE)
    assert hash(Folded(NATIVE, RULE)) == hash(Folded(NATIVE, RULE))
    assert Folded(NATIVE, RULE) != Folded(NATIVE, FOLDING)
