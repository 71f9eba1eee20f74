"""What run-agent's clients are sent: ends they know, pieces of the asked size, exact resumes."""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.wire.event import Event
from broker.wire.frame import Frame, encode
from broker.wire.gap import Gap, GapReason
from broker.wire.graphemes import count
from broker.wire.ids import StreamId
from broker.wire.run_agent import RunAgent
from tests.support.sse import Decoder, Message

TIME = 1718900000000
FAMILY = "\U0001f469‍\U0001f469‍\U0001f467"


def frame(at: int, event_type: str, data: Any, *, final: bool = False, ms: int = 0) -> Frame:
    text = data if isinstance(data, str) else json.dumps(data)
    return encode(Event(StreamId(ms, at), event_type, text.encode(), final))


def chunk(index: int, text: str) -> Frame:
    return frame(index + 1, "chunk", {"content": text, "index": index})


def messages(dialect: RunAgent, *frames: Frame) -> list[Message]:
    decoder = Decoder()
    found = decoder.feed(b"".join(dialect.encode(frames)))
    assert not decoder.mid_frame
    return found


def sent(dialect: RunAgent, *frames: Frame) -> list[tuple[str, Any]]:
    return [(message.type, json.loads(message.data)) for message in messages(dialect, *frames)]


def only(dialect: RunAgent, of: Frame) -> tuple[str, Any]:
    [found] = sent(dialect, of)
    return found


# ---- the beginning


def test_each_connection_begins_with_a_start_that_tells_the_session() -> None:
    greeting = RunAgent("abc123").greeting(2500, None)
    assert greeting == (
        b'retry: 2500\nevent: start\ndata: {"message":"Stream started","session_id":"abc123"}\n\n'
    )


def test_the_greeting_carries_the_place_that_a_reconnect_would_begin_at() -> None:
    assert b"\nid: 5-1\nevent: start\n" in RunAgent().greeting(1, StreamId(5, 1))


@pytest.mark.parametrize("data", ["{}", '{"message": "Stream started", "session_id": "abc123"}'])
def test_a_start_that_says_nothing_new_is_not_said_twice(data: str) -> None:
    assert sent(RunAgent("abc123"), frame(1, "start", data)) == []


def test_a_start_with_more_is_said() -> None:
    assert only(RunAgent("abc123"), frame(1, "start", {"model": "m-1"})) == (
        "start",
        {"message": "Stream started", "session_id": "abc123", "model": "m-1"},
    )


def test_that_it_waits_for_a_worker_is_not_said() -> None:
    assert sent(RunAgent(), frame(1, "queued", "{}")) == []


# ---- chunks as they are


def test_a_complete_chunk_is_sent_byte_for_byte() -> None:
    complete = frame(7, "chunk", '{"index": 3,  "content": "Hello, "}')
    assert RunAgent().encode([complete]) == [complete.wire]


@pytest.mark.parametrize(
    ("data", "content"),
    [
        ('{"content": "hi"}', "hi"),
        ('{"text": "hi"}', "hi"),
        ('"hi"', "hi"),
        ("hi\nthere", "hi\nthere"),
        ("42", "42"),
        ("", ""),
    ],
)
def test_a_chunk_is_completed(data: str, content: str) -> None:
    assert only(RunAgent(), frame(3, "chunk", data)) == ("chunk", {"content": content, "index": 2})


def test_an_id_with_a_time_makes_an_index_too_which_every_json_reader_takes_exactly() -> None:
    _, first = only(RunAgent(), frame(5, "chunk", "a", ms=TIME))
    _, second = only(RunAgent(), frame(0, "chunk", "b", ms=TIME + 1))
    assert first["index"] < second["index"] < 2**53


@pytest.mark.parametrize("index", [True, -1, "7", 1.5, None])
def test_what_is_no_index_is_replaced(index: Any) -> None:
    data = {"content": "a", "index": index}
    assert only(RunAgent(), frame(9, "chunk", data)) == ("chunk", {"content": "a", "index": 8})


def test_what_a_chunk_has_besides_is_kept() -> None:
    assert only(RunAgent(), frame(1, "chunk", {"text": "a", "role": "user"})) == (
        "chunk",
        {"content": "a", "index": 0, "role": "user"},
    )


def test_content_that_is_no_text_is_kept() -> None:
    assert only(RunAgent(chunk_size=1), frame(1, "chunk", {"content": ["a"]})) == (
        "chunk",
        {"content": ["a"], "index": 1_000_000},
    )


def test_events_of_other_types_are_sent_as_they_are() -> None:
    other = frame(2, "tool_call", '{"name": "search"}')
    assert RunAgent(chunk_size=3).encode([other]) == [other.wire]


# ---- the end


def test_done_has_what_clients_read() -> None:
    assert only(RunAgent(), frame(4, "done", {"execution_time": 2.5}, final=True)) == (
        "done",
        {"message": "Stream complete", "usage": {}, "execution_time": 2.5},
    )


@pytest.mark.parametrize("event_type", ["succeeded", "complete", "", "start", "queued"])
def test_every_end_that_is_no_failure_is_done(event_type: str) -> None:
    last = frame(4, event_type, {"usage": {"total_tokens": 9}}, final=True)
    assert only(RunAgent(), last) == (
        "done",
        {"message": "Stream complete", "usage": {"total_tokens": 9}},
    )


def test_a_chunk_that_ends_the_run_is_followed_by_done_which_alone_has_the_id() -> None:
    last = frame(2, "chunk", {"content": "bye", "index": 1}, final=True)
    text, done = messages(RunAgent(chunk_size=5), last)
    assert (text.type, text.own_id) == ("chunk", False)
    assert (done.type, done.id) == ("done", "0-2")


@pytest.mark.parametrize(
    ("event_type", "code"),
    [
        ("error", "STREAM_ERROR"),
        ("failed", "STREAM_ERROR"),
        ("cancelled", "CANCELLED"),
        ("timed_out", "TIMED_OUT"),
        ("worker_lost", "WORKER_LOST"),
        ("no_worker", "NO_WORKER"),
    ],
)
def test_failures_are_errors_with_a_code(event_type: str, code: str) -> None:
    kind, document = only(RunAgent(), frame(4, event_type, "{}", final=True))
    assert kind == "error"
    assert document["code"] == code
    assert document["error"]


def test_an_error_says_what_the_worker_said() -> None:
    data = {"error": "Model overloaded", "code": "CAPACITY_ERROR", "retry_after": 30}
    assert only(RunAgent(), frame(4, "error", data, final=True)) == ("error", data)


@pytest.mark.parametrize(
    "data", ['{"message": "no tokens left"}', '{"error": {}, "reason": "no tokens left"}']
)
def test_the_reason_of_a_failure_is_found_by_its_usual_names(data: str) -> None:
    assert only(RunAgent(), frame(4, "failed", data))[1]["error"] == "no tokens left"


def test_text_as_the_data_of_a_failure_is_its_reason() -> None:
    assert only(RunAgent(), frame(4, "failed", "no tokens left"))[1]["error"] == "no tokens left"


@pytest.mark.parametrize("event_type", ["chunk", "done", "failed", "start"])
def test_data_that_is_nested_too_deeply_to_be_written_is_text(event_type: str) -> None:
    deep = '{"a":' * 300 + "1" + "}" * 300
    [(_, document)] = sent(RunAgent(), frame(4, event_type, deep))
    assert deep in document.values()


# ---- gaps, and what keeps a stream alive


def test_a_gap_is_said_by_a_name_that_clients_ignore() -> None:
    gap = Gap(StreamId(0, 3), StreamId(0, 9), GapReason.TRIMMED)
    assert RunAgent().gap(gap).startswith(b"event: runcast.gap\n")


def test_after_a_gap_nothing_is_left_out_for_what_a_viewer_claims_to_have() -> None:
    dialect = RunAgent("s", 10, resume_from=5)
    assert dialect.after_gap() == RunAgent("s", 10)
    plain = RunAgent("s", 10)
    assert plain.after_gap() is plain


def test_a_heartbeat_is_a_comment() -> None:
    assert RunAgent().heartbeat(None) == b": heartbeat\n"


# ---- pieces


def test_long_chunks_are_cut_between_graphemes() -> None:
    dialect = RunAgent(chunk_size=2)
    pieces = sent(dialect, chunk(4, f"a{FAMILY}bcd"))
    assert [document["content"] for _, document in pieces] == [f"a{FAMILY}", "bc", "d"]
    assert [document["index"] for _, document in pieces] == [5000005, 5000007, 5000008]


def test_only_the_last_piece_of_an_entry_has_its_id() -> None:
    first, last = messages(RunAgent(chunk_size=2), chunk(4, "abc"))
    assert not first.own_id
    assert last.own_id
    assert last.id == "0-5"


def test_short_chunks_go_together_up_to_the_size() -> None:
    found = messages(RunAgent(chunk_size=5), *(chunk(at, "ab") for at in range(5)))
    assert [json.loads(message.data)["content"] for message in found] == ["abab", "abab", "ab"]
    assert [message.id for message in found] == ["0-2", "0-4", "0-5"]
    assert all(message.own_id for message in found)


def test_chunks_do_not_go_together_across_another_event() -> None:
    between = frame(2, "tool_call", "{}")
    found = sent(RunAgent(chunk_size=9), chunk(0, "a"), between, chunk(2, "b"))
    assert [kind for kind, _ in found] == ["chunk", "tool_call", "chunk"]


def test_a_chunk_with_more_than_text_stays_alone_and_says_it_with_its_last_piece() -> None:
    rich = frame(2, "chunk", {"content": "abc", "index": 1, "role": "user"})
    found = [document for _, document in sent(RunAgent(chunk_size=2), chunk(0, "x"), rich)]
    assert [document["content"] for document in found] == ["x", "ab", "c"]
    assert ["role" in document for document in found] == [False, False, True]


def test_pieces_of_a_chunk_with_a_large_index_have_none_but_for_the_last() -> None:
    large = frame(0, "chunk", "abc", ms=TIME)
    first, last = (document for _, document in sent(RunAgent(chunk_size=2), large))
    assert "index" not in first
    assert last["index"] == only(RunAgent(), large)[1]["index"]


def test_positions_beyond_what_an_index_has_room_for_are_not_said() -> None:
    size = 600_000
    found = [doc for _, doc in sent(RunAgent(chunk_size=size), chunk(0, "a" * (3 * size)))]
    assert [document.get("index") for document in found] == [1_599_999, None, 1_999_999]


# ---- resuming

TEXTS = ["Hello, ", "wor", "ld! ", f"{FAMILY}{FAMILY}", "", "éa", "The end of it."]


def text_of(dialect: RunAgent, *frames: Frame) -> str:
    return "".join(document.get("content", "") for _, document in sent(dialect, *frames))


def resumed(dialect: RunAgent, index: int) -> RunAgent:
    return replace(dialect, resume_from=index)


SIZES = st.none() | st.integers(1, 9)
FRAMES = {
    "counted up": lambda at, text: frame(at + 1, "chunk", {"content": text}),
    "with an index": lambda at, text: frame(at, "chunk", {"content": text, "index": at}, ms=TIME),
    "with a time": lambda at, text: frame(at, "chunk", {"content": text}, ms=TIME),
}


@given(
    texts=st.lists(st.text(max_size=12) | st.sampled_from(TEXTS), max_size=8),
    kind=st.sampled_from(sorted(FRAMES)),
    size=SIZES,
    again=SIZES,
    cut_after=st.integers(0, 40),
    batch=st.integers(1, 4),
)
def test_from_the_last_index_plus_one_comes_exactly_the_rest(
    texts: list[str],
    kind: str,
    size: int | None,
    again: int | None,
    cut_after: int,
    batch: int,
) -> None:
    """However it was batched and cut before, and is cut now.

    A piece without an index (of an entry that is numbered by its time) comes again.
    """
    frames = [FRAMES[kind](at, text) for at, text in enumerate(texts)]
    dialect = RunAgent(chunk_size=size)
    documents = [
        document
        for start in range(0, len(frames), batch)
        for _, document in sent(dialect, *frames[start : start + batch])
    ][:cut_after]
    while documents and "index" not in documents[-1]:
        documents.pop()
    had = "".join(document["content"] for document in documents)
    start = documents[-1]["index"] + 1 if documents else 0
    rest = text_of(resumed(RunAgent(chunk_size=again), start), *frames)
    assert had + rest == "".join(texts)


@given(texts=st.lists(st.text(max_size=12), max_size=8), size=st.integers(1, 9))
def test_pieces_are_no_larger_than_asked_and_their_index_grows(texts: list[str], size: int) -> None:
    frames = [chunk(at, text) for at, text in enumerate(texts)]
    documents = [document for _, document in sent(RunAgent(chunk_size=size), *frames)]
    assert all(count(document["content"]) <= size for document in documents)
    indexes = [document["index"] for document in documents]
    assert indexes == sorted(set(indexes))


def test_the_index_itself_is_inclusive() -> None:
    frames = [chunk(at, text) for at, text in enumerate("abcd")]
    assert text_of(resumed(RunAgent(), 2), *frames) == "cd"


def test_ends_and_other_events_are_not_left_out_by_a_resume() -> None:
    tool, done = frame(2, "tool_call", "{}"), frame(3, "done", "{}", final=True)
    found = sent(resumed(RunAgent(), 99), chunk(0, "a"), tool, done)
    assert [kind for kind, _ in found] == ["tool_call", "done"]


@pytest.mark.parametrize("start", [5, 3_000_001, 1 << 41])
def test_chunks_that_are_numbered_in_another_way_come_rather_twice_than_not_at_all(
    start: int,
) -> None:
    odd = [frame(at + 1, "chunk", {"content": "a", "index": 2_000_000 + at}) for at in range(3)]
    assert text_of(resumed(RunAgent(), start), *odd) == "aaa"


def test_a_chunk_whose_id_has_no_number_has_no_index_and_always_comes() -> None:
    odd = frame(5000, "chunk", "a", ms=TIME)
    assert only(resumed(RunAgent(chunk_size=4), 7), odd) == ("chunk", {"content": "a"})


def test_who_is_past_the_index_shares_bytes_with_all_others() -> None:
    assert RunAgent("s", 10) == RunAgent("s", 10)
    assert hash(RunAgent("s", 10)) == hash(RunAgent("s", 10))
    assert resumed(RunAgent("s", 10), 3) != RunAgent("s", 10)
