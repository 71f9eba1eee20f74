"""What run-agent's clients may send, and how they are told what is wrong with it."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.wire.problem import Problem, RunNotFound, Unavailable
from broker.wire.run_agent import RunAgent
from broker.wire.run_agent_request import StreamRequest, with_error

DEEP = b'{"query": "hi", "parameters": ' + b'{"a":' * 300 + b"1" + b"}" * 301
"""It can be read, but not be written for the worker."""


def parsed(document: Any) -> StreamRequest:
    return StreamRequest.parse(json.dumps(document).encode())


def refused(body: bytes) -> dict[str, Any]:
    with pytest.raises(Problem) as caught:
        StreamRequest.parse(body)
    assert caught.value.status == 400
    document: dict[str, Any] = json.loads(caught.value.body())
    assert document["type"] == "urn:runcast:problem:bad-body"
    error: dict[str, Any] = document["error"]
    assert error["status"] == 400
    assert error["message"]
    return error


def test_a_query_is_enough() -> None:
    assert parsed({"query": "hi"}) == StreamRequest("hi", {})


def test_everything_that_is_documented_is_understood() -> None:
    parameters = {
        "temperature": 0.8,
        "resume_from_index": 150,
        "stream_delay_ms": 100,
        "chunk_size": 10,
    }
    request = parsed({"query": "hi", "parameters": parameters, "session_id": "abc123"})
    assert request == StreamRequest("hi", parameters, "abc123", 150, 0.1, 10)


def test_the_worker_is_given_all_of_it_and_the_session() -> None:
    request = parsed({"query": "hi", "parameters": {"style": "science fiction"}})
    assert json.loads(request.input("made-up")) == {
        "query": "hi",
        "parameters": {"style": "science fiction"},
        "session_id": "made-up",
    }


def test_only_what_is_replayed_leaves_out_what_the_viewer_has() -> None:
    parameters = {"resume_from_index": 3, "chunk_size": 10}
    request = parsed({"query": "hi", "parameters": parameters, "session_id": "s"})
    assert request.history("s") == RunAgent("s", 10, 3)
    assert request.dialect("s") == RunAgent("s", 10)
    assert parsed({"query": "hi"}).history("s") is None


def test_nulls_are_absent() -> None:
    document = {"query": "hi", "parameters": None, "session_id": None}
    assert parsed(document) == StreamRequest("hi", {})
    assert parsed({"query": "hi", "parameters": {"chunk_size": None}}).chunk_size is None


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'"hi"', b"null", b"\xff", DEEP])
def test_what_is_no_object_is_refused(body: bytes) -> None:
    assert refused(body)["code"] == "INVALID_REQUEST"


@pytest.mark.parametrize("document", [{}, {"query": ""}, {"query": None}])
def test_a_missing_query_is_refused_in_the_words_that_clients_know(document: Any) -> None:
    error = refused(json.dumps(document).encode())
    assert error["code"] == "MISSING_REQUIRED_FIELD"
    assert error["details"] == {"field": "query"}


@pytest.mark.parametrize(
    ("field", "document"),
    [
        ("query", {"query": 7}),
        ("parameters", {"query": "hi", "parameters": [1]}),
        ("session_id", {"query": "hi", "session_id": "a b"}),
        ("session_id", {"query": "hi", "session_id": 7}),
        ("session_id", {"query": "hi", "parameters": {"resume_from_index": 0}}),
        ("chunk_size", {"query": "hi", "parameters": {"chunk_size": 0}}),
        ("chunk_size", {"query": "hi", "parameters": {"chunk_size": "10"}}),
        ("chunk_size", {"query": "hi", "parameters": {"chunk_size": True}}),
        ("stream_delay_ms", {"query": "hi", "parameters": {"stream_delay_ms": -1}}),
        ("stream_delay_ms", {"query": "hi", "parameters": {"stream_delay_ms": 60001}}),
        (
            "resume_from_index",
            {"query": "hi", "session_id": "s", "parameters": {"resume_from_index": -1}},
        ),
        (
            "resume_from_index",
            {"query": "hi", "session_id": "s", "parameters": {"resume_from_index": 1.5}},
        ),
    ],
)
def test_a_field_with_a_value_that_it_cannot_have_is_named(field: str, document: Any) -> None:
    assert refused(json.dumps(document).encode())["details"] == {"field": field}


def test_every_problem_can_be_told_in_that_form() -> None:
    document = json.loads(with_error(RunNotFound()).body())
    assert document["error"]["code"] == "NOT_FOUND"
    assert document["error"]["message"] == document["detail"]
    away = json.loads(with_error(Unavailable("Redis can't be reached.", 3)).body())
    assert away["error"]["retry_after"] == 3


@given(body=st.binary(max_size=80) | st.text(max_size=80).map(str.encode))
def test_a_strangers_bytes_make_a_request_or_a_problem(body: bytes) -> None:
    try:
        StreamRequest.parse(body)
    except Problem as problem:
        assert problem.status == 400  # noqa: PT017


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)
NAMES = ["resume_from_index", "stream_delay_ms", "chunk_size"]


@given(
    query=JSON | st.just("hi"),
    parameters=JSON | st.dictionaries(st.sampled_from(NAMES), JSON | st.integers(0, 99)),
    session_id=JSON | st.just("s"),
)
def test_a_strangers_json_makes_a_request_or_a_problem(
    query: Any, parameters: Any, session_id: Any
) -> None:
    document = {"query": query, "parameters": parameters, "session_id": session_id}
    try:
        request = parsed(document)
    except Problem as problem:
        assert problem.status == 400  # noqa: PT017
    else:
        json.loads(request.input("s"))
        request.dialect("s")
