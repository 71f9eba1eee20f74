"""What strangers may do to a connection: byte by byte, slowly, and with more than they should."""

from contextlib import ExitStack
from typing import Final
from uuid import uuid4

import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.effort import effort
from tests.fuzz.exchange import check_form, conversation
from tests.fuzz.hostile import BYTES_NEAR_HTTP, FINISHED, LAST_REQUESTS, Request
from tests.fuzz.target import Target
from tests.support.producer import key_of
from tests.support.sse import Decoder

pytestmark = pytest.mark.filterwarnings("ignore:Generating overly large repr")

_PAGE: Final = f"GET /v1/runs/{FINISHED}/events HTTP/1.1\r\naccept: application/json\r\n".encode()
_SLOW: Final = 100


@given(LAST_REQUESTS, st.sampled_from((1, 1, 1, 2, 7, 61)))
@effort(40)
def test_a_request_in_pieces_gets_the_same_answer(
    target: Target, request_: Request, size: int
) -> None:
    wire = request_.wire()
    # Byte by byte where the parser decides, not through a long body.
    size = max(size, len(wire) // 2_000)
    pieces = [wire[start : start + size] for start in range(0, len(wire), size)]
    answers = []
    for sent in ([wire], pieces):
        with conversation(target.port) as talk:
            talk.send(sent)
            [answer] = talk.answers([request_.method])
        check_form(answer)
        answers.append(answer)
    whole, sliced = answers
    assert sliced.status == whole.status
    assert sliced.headers.keys() == whole.headers.keys()
    if not (whole.is_stream or request_.target.startswith("/metrics")):
        assert sliced.body == whole.body
    target.is_unharmed()


def test_slow_heads_hold_up_nobody(target: Target) -> None:
    with ExitStack() as stack:
        talks = [stack.enter_context(conversation(target.port)) for _ in range(_SLOW)]
        for place in range(len(_PAGE)):
            for talk in talks:
                talk.send([_PAGE[place : place + 1]])
            if place % 20 == 0:
                target.is_unharmed()
        for talk in talks:
            talk.send([b"\r\n"])
            [answer] = talk.answers(["GET"])
            assert answer.status == 200
    target.is_unharmed()


@given(st.one_of(BYTES_NEAR_HTTP, LAST_REQUESTS.map(Request.wire), st.binary(max_size=500)))
@effort(60)
def test_a_stream_goes_on_whatever_its_client_sends(
    target: Target, producer: redis.Redis, noise: bytes
) -> None:
    run_id = f"noisy-{uuid4().hex}"
    producer.xadd(key_of(run_id), {"data": "1"}, id="1-0")
    decoder = Decoder()
    with conversation(target.port) as talk:
        talk.send([f"GET /v1/runs/{run_id}/events HTTP/1.1\r\nhost: x\r\n\r\n".encode()])
        stream = talk.stream()
        messages = decoder.feed(next(stream))
        talk.send([noise])
        target.is_unharmed()
        producer.xadd(key_of(run_id), {"data": "2"}, id="2-0")
        producer.xadd(key_of(run_id), {"type": "done", "data": "3"}, id="3-0")
        for piece in stream:
            messages += decoder.feed(piece)
        assert [message.id for message in messages if message.of_run] == ["1-0", "2-0", "3-0"]
        talk.finish()
        # Through ASGI the connection lives on: what was asked for has its turn, or is refused.
        for answer in talk.rest():
            check_form(answer)
    target.is_unharmed()


@pytest.mark.parametrize("protocol", ["h2c", "websocket", "x"])
def test_who_would_rather_speak_something_else_is_answered_all_the_same(
    target: Target, protocol: str
) -> None:
    """As curl and Java ask for HTTP/2 where there is no TLS: with an upgrade on each connection."""
    wish = f"connection: upgrade, http2-settings\r\nupgrade: {protocol}\r\n"
    with conversation(target.port) as talk:
        talk.send([_PAGE + wish.encode() + b"http2-settings: AAMAAABk\r\n\r\n"])
        first = talk.answer("GET")
        talk.send([_PAGE + b"\r\n"])
        second = talk.answer("GET")
    assert first is not None
    assert second is not None
    assert first.status == second.status == 200
    target.is_unharmed()


@pytest.mark.parametrize(
    ("rest", "status"),
    [
        pytest.param(b"x-many: 1\r\n" * 2_900, 200, id="many headers"),
        pytest.param(b"x-many: 1\r\n" * 5_000, 431, id="too many headers"),
        pytest.param(b"last-event-id: 1-1\r\n" * 1_600, 200, id="many cursors"),
        pytest.param(b"last-event-id: 1-1\r\n" * 2_500, 431, id="too many cursors"),
        pytest.param(
            b"content-length: 20000000\r\n\r\n" + b"x" * 20_000_000, 200, id="a large body"
        ),
    ],
)
def test_large_requests_hold_up_nobody(target: Target, rest: bytes, status: int) -> None:
    with conversation(target.port) as talk:
        talk.send([_PAGE + rest])
        target.is_unharmed()
        talk.send([b"\r\n"])
        answer = talk.answer("GET")
        assert answer is not None
        assert answer.status == status
    target.is_unharmed()


@pytest.mark.parametrize(
    "start",
    [
        b"GET /",
        _PAGE + b"x",
        _PAGE + b"x-long: ",
        _PAGE + b"transfer-encoding: chunked\r\n\r\n0\r\nx-trailer: ",
    ],
)
def test_headers_without_an_end_are_refused(target: Target, start: bytes) -> None:
    with conversation(target.port) as talk:
        assert not talk.send([start, *([b"x" * 10_000] * 1_000)])
        # It is closed on what is still being sent, which may cost the client the answer.
        for answer in talk.rest():
            check_form(answer)
    target.is_unharmed()
