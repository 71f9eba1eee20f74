"""What is posted, whatever it is: it is written as it was sent, once, or refused with a reason."""

import json
from typing import Any, Final
from uuid import uuid4

import orjson
import pytest
import redis
from hypothesis import example, given
from hypothesis import strategies as st

from tests.fuzz.effort import effort
from tests.fuzz.exchange import Answer, check_form, conversation
from tests.fuzz.hostile import FINISHED, Request
from tests.fuzz.target import Target
from tests.support.producer import key_of

pytestmark = pytest.mark.filterwarnings("ignore:Generating overly large repr")

_REFUSALS: Final = {400, 408, 409, 413, 415, 422, 429}
_HOSTILE_TEXTS: Final = st.one_of(
    st.text(max_size=20),
    st.sampled_from(
        (
            "chunk", "done", "", "runcast.gap", "a\r\nb", "\n\ndata: injected\n\n", "a\0b",
            "\u2028", "\ud83d\ude00", "x" * 300, "1-0", "*", "${x}", "{run}", "p:w", "final",
        )
    ),
)  # fmt: skip
_VALUES: Final = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(), _HOSTILE_TEXTS,
        st.sampled_from((2**52, 2**53, 2**64, -1, 0, 1, 1e308, -0.0)),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(_HOSTILE_TEXTS, inner, max_size=3)
    ),
    max_leaves=6,
)  # fmt: skip
_MEMBERS: Final = (
    "type", "data", "final", "status", "phase", "producer", "sequence", "run_id", "agent", "input",
)  # fmt: skip
_LIKELY: Final[dict[str, st.SearchStrategy[Any]]] = {
    "type": st.sampled_from(("chunk", "cancel", "x", None)),
    "final": st.booleans(),
    "producer": st.sampled_from(("w", "v")),
    "sequence": st.integers(1, 9),
    "agent": st.sampled_from(("writer", None)),
    "run_id": st.sampled_from(("fuzz-1", "fuzz-2", FINISHED, None)),
    "status": st.sampled_from(("running", None)),
}
_DOCUMENTS: Final = st.one_of(
    _VALUES,
    st.fixed_dictionaries({}, optional=dict.fromkeys(_MEMBERS, _VALUES)),
    st.fixed_dictionaries({}, optional={name: _LIKELY.get(name, _VALUES) for name in _MEMBERS[:7]}),
    st.fixed_dictionaries({}, optional={name: _LIKELY.get(name, _VALUES) for name in _MEMBERS[7:]}),
).map(lambda document: json.dumps(document).encode())
"""As Python writes JSON: with NaN, and with lone surrogates in escapes."""
_DEEP: Final = st.integers(1, 2000).map(
    lambda depth: b'{"data":' + b"[" * depth + b"]" * depth + b"}"
)
_LINES: Final = st.one_of(
    _DOCUMENTS,
    _DOCUMENTS,
    _DOCUMENTS,
    _DEEP,
    st.binary(max_size=30),
    st.just(b""),
    st.just(b"{}\r"),
)
_BODIES: Final = st.one_of(_DOCUMENTS, st.lists(_LINES, max_size=8).map(b"\n".join))
_PATHS: Final = st.one_of(
    st.sampled_from(("fuzz-1", "fuzz-2", "fuzz-3", FINISHED, "%2e%2e", "a%0ab", "x" * 129)).flatmap(
        lambda run: st.sampled_from((f"/v1/runs/{run}/events", f"/v1/runs/{run}/commands"))
    ),
    st.just("/v1/runs"),
)
_TYPES: Final = (
    b"application/json", b"application/json", b"application/x-ndjson", b"application/x-ndjson",
    b"APPLICATION/JSON ; charset=UTF-8", b"application/json;charset=utf-7", b"text/plain", b"",
    b"application/json, application/x-ndjson", b";;;", b"multipart/form-data; boundary=x",
)  # fmt: skip
_VALUES_OF_HEADERS: Final = st.one_of(
    st.sampled_from(
        (b"w", b"1", b"0", b"12", b'"k"', b"k k", b'"', b'"\\"', b"", b"9" * 30, b"x" * 300, b"-1")
    ),
    st.binary(max_size=12).map(
        lambda raw: bytes(byte for byte in raw if 0x20 <= byte != 0x7F).strip()
    ),
)
_HEADERS: Final = st.lists(
    st.tuples(
        st.sampled_from(
            (
                "idempotency-key", "runcast-producer", "runcast-sequence", "runcast-lease",
                "content-encoding", "accept",
            )
        ),
        _VALUES_OF_HEADERS,
    ),
    max_size=3,
)  # fmt: skip


@st.composite
def _posts(draw: st.DrawFn) -> Request:
    body = draw(_BODIES)
    headers = [("host", b"edge"), ("content-type", draw(st.sampled_from(_TYPES))), *draw(_HEADERS)]
    if draw(st.booleans()):
        size = draw(st.integers(1, 40))
        chunks = [body[place : place + size] for place in range(0, len(body), size)]
        body = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"
        headers.append(("transfer-encoding", b"chunked"))
    else:
        headers.append(("content-length", b"%d" % len(body)))
    return Request("POST", draw(_PATHS), "1.1", tuple(headers), body)


def _post(path: str, media_type: bytes, body: bytes, *headers: tuple[str, bytes]) -> Request:
    framing = ("content-length", b"%d" % len(body))
    return Request("POST", path, "1.1", (("content-type", media_type), framing, *headers), body)


_EVENTS: Final = "/v1/runs/fuzz-1/events"


@given(st.lists(_posts(), min_size=1, max_size=3))
@example([_post(_EVENTS, b"application/json", b'{"data":' + b"[" * 300 + b"]" * 300 + b"}")])
@example([_post(_EVENTS, b"application/json", b"{}", ("transfer-encoding", b"identity"))])
@effort(150)
def test_every_post_gets_an_answer(writable: Target, posts: list[Request]) -> None:
    with conversation(writable.port) as talk:
        talk.send([b"".join(request.wire() for request in posts)])
        answers = talk.answers([request.method for request in posts])
    for request, answer in zip(posts, answers, strict=False):
        _check(request, answer)
    assert answers
    assert len(answers) == len(posts) or answers[-1].is_last
    writable.is_unharmed()


def _check(request: Request, answer: Answer) -> None:
    check_form(answer)
    assert answer.whole
    # What is not HTTP never came as far as to us.
    assert answer.headers.get("cache-control") == "no-store" or answer.status == 400
    document = json.loads(answer.body)
    if answer.status == 200:
        ids = [event["id"] for event in document["events"]]
        assert document["last_id"] == (ids[-1] if ids else None)
    elif answer.status == 201:
        assert answer.headers["location"] == document["events_url"]
    elif answer.status == 202:
        assert isinstance(document["open"], bool)
    else:
        assert answer.status in _REFUSALS


_FINE_TYPES: Final = st.text(max_size=30).filter(
    lambda text: not set(text) & set("\r\n\0") and not text.startswith("runcast.")
)


@given(
    st.lists(st.tuples(_FINE_TYPES, _VALUES), min_size=1, max_size=10),
    st.integers(1, 50),
)
@effort(50)
def test_what_is_taken_is_what_was_sent(
    writable: Target, producer: redis.Redis, events: list[tuple[str, Any]], size: int
) -> None:
    run_id = f"fuzz-{uuid4().hex}"
    kept = [(kind, data) for kind, data in events if _is_json(data)]
    body = b"".join(orjson.dumps({"type": kind, "data": data}) + b"\n" for kind, data in kept)
    chunks = [body[place : place + size] for place in range(0, len(body), size)]
    framed = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"
    headers = (
        ("host", b"edge"),
        ("content-type", b"application/x-ndjson"),
        ("transfer-encoding", b"chunked"),
    )
    request = Request("POST", f"/v1/runs/{run_id}/events", "1.1", headers, framed)
    with conversation(writable.port) as talk:
        talk.send([request.wire()])
        [answer] = talk.answers(["POST"])
    ends = [index for index, (kind, _) in enumerate(kept) if kind in _ENDINGS]
    count = len(kept) if not ends else ends[0] + 1
    assert answer.status == (200 if count == len(kept) else 409)
    found: Any = producer.xrange(key_of(run_id))
    assert [
        (fields.get(b"type", b"").decode(), fields[b"data"].decode()) for _, fields in found
    ] == [
        (kind, data if isinstance(data, str) else orjson.dumps(data).decode())
        for kind, data in kept[:count]
    ]
    writable.has_no_defect()


_ENDINGS: Final = ("done", "succeeded", "failed", "cancelled", "timed_out")


def _is_json(data: Any) -> bool:
    try:
        return bool(orjson.loads(orjson.dumps(data)) == data)
    except (TypeError, orjson.JSONDecodeError):
        return False
