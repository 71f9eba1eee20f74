"""Bytes that are not quite HTTP, or not at all."""

import pytest
from hypothesis import given

from tests.fuzz.effort import effort
from tests.fuzz.exchange import check_form, conversation
from tests.fuzz.hostile import BYTES_NEAR_HTTP
from tests.fuzz.target import Target

# Requests of a megabyte are shown too; the blob that is printed with them is what counts.
pytestmark = pytest.mark.filterwarnings("ignore:Generating overly large repr")


@given(BYTES_NEAR_HTTP)
@effort(200)
def test_whatever_comes_is_refused_or_answered_or_waited_for(target: Target, data: bytes) -> None:
    with conversation(target.port) as talk:
        talk.send([data])
        # By now the edge has seen it all, and has refused what it refuses.
        target.is_unharmed()
        talk.finish()
        for answer in talk.rest():
            check_form(answer)
            # A stream is cut when its client closes; nothing else is.
            assert answer.whole or answer.is_stream
    target.is_unharmed()
