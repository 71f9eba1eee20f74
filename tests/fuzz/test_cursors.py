"""Places to begin at, all over the range of ids, in a run that goes on."""

import json
from typing import Final

import redis
from hypothesis import example, given
from hypothesis import strategies as st

from broker.wire.ids import GREATEST_PART, StreamId
from tests.fuzz.effort import effort
from tests.fuzz.exchange import conversation
from tests.fuzz.target import Target
from tests.support.producer import key_of
from tests.support.sse import Decoder

_RUN: Final = "going-on"
_IDS: Final = ("0-1", "5-0", "5-7", f"6-{GREATEST_PART}", "7-0")
_PARTS: Final = st.one_of(st.integers(0, 8), st.integers(0, GREATEST_PART))
_PLACES: Final = st.one_of(
    st.builds(StreamId, _PARTS, _PARTS).map("last_event_id={}".format),
    st.sampled_from(_IDS).map("last_event_id={}".format),
    st.integers(1, 1000).map("from=-{}".format),
    st.datetimes(timezones=st.timezones()).map(
        lambda moment: f"from={moment.isoformat().replace('+', '%2B')}"
    ),
)
_GREATEST: Final = f"last_event_id={GREATEST_PART}-{GREATEST_PART}"


@given(_PLACES)
@example(_GREATEST)
@example(f"last_event_id={GREATEST_PART}-0")
@example("last_event_id=0-0")
@example("from=9999-12-31T23:59:59.999999-23:59")
@effort(60)
def test_every_place_has_an_answer(target: Target, producer: redis.Redis, place: str) -> None:
    """What follows a cursor that can't be served whole is said as a gap, and never left out."""
    if not producer.exists(key_of(_RUN)):
        for entry_id in _IDS:
            producer.xadd(key_of(_RUN), {"data": "{}"}, id=entry_id)
    path = f"/v1/runs/{_RUN}/events?{place}"
    with conversation(target.port) as talk:
        talk.send([f"GET {path} HTTP/1.1\r\nhost: x\r\naccept: application/json\r\n\r\n".encode()])
        answer = talk.answer("GET")
        assert answer is not None
        # A time before 1970, or one that is ambiguous to within seconds, is none.
        assert answer.status == 200 or (answer.status == 400 and "T" in place)
        if answer.status == 400:
            return
        page = json.loads(answer.body)
        listed = [event["id"] for event in page["events"]]
    assert listed == list(_IDS[len(_IDS) - len(listed) :])
    if place.startswith("last_event_id="):
        cursor = StreamId.parse(place.partition("=")[2])
        after = [entry_id for entry_id in _IDS if StreamId.parse(entry_id) > cursor]
        assert listed == after or (page["gap"] is not None and listed == list(_IDS))

    decoder = Decoder()
    seen: list[str] = []
    with conversation(target.port) as talk:
        talk.send([f"GET {path} HTTP/1.1\r\nhost: x\r\n\r\n".encode()])
        for piece in talk.stream():
            messages = decoder.feed(piece)
            seen += [message.id for message in messages if message.of_run]
            if any(message.type == "runcast.caught-up" for message in messages):
                break
    assert seen == listed
    target.has_no_defect()
