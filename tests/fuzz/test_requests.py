"""Requests that are HTTP, whatever they ask for: each gets its answer, and nothing else happens."""

from typing import Final

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.fuzz.effort import effort
from tests.fuzz.exchange import Answer, check_form, conversation
from tests.fuzz.hostile import FIRST_REQUESTS, LAST_REQUESTS, Request
from tests.fuzz.target import Target

# Requests of a megabyte are shown too; the blob that is printed with them is what counts.
pytestmark = pytest.mark.filterwarnings("ignore:Generating overly large repr")


# A slash too many once led to a redirect to wherever the Host header said.
_REDIRECTED: Final = Request("GET", "/healthz/", "1.1", (("host", b"elsewhere"),), b"")


@given(st.lists(FIRST_REQUESTS, max_size=3), LAST_REQUESTS)
@example([], _REDIRECTED)
@effort(100)
def test_every_request_gets_an_answer_in_turn(
    target: Target, first: list[Request], last: Request
) -> None:
    sent = [*first, last]
    with conversation(target.port) as talk:
        talk.send([b"".join(request.wire() for request in sent)])
        answers = talk.answers([request.method for request in sent])
    for request, answer in zip(sent, answers, strict=False):
        _check(request, answer)
    # Only who was told that the connection ends may miss an answer.
    assert answers
    assert len(answers) == len(sent) or answers[-1].is_last
    target.is_unharmed()


def _check(request: Request, answer: Answer) -> None:
    check_form(answer)
    assert answer.whole
    assert "injected" not in str(answer.headers)
    if answer.status == 405:
        assert answer.headers["allow"] in ("GET, HEAD", "HEAD, GET")
    elif answer.status < 400:
        assert request.method in ("GET", "HEAD")
    if request.method == "HEAD":
        assert answer.body == b""
