"""Compressed streams: every viewer's body decodes to what they were sent, whoever shares it."""

import gzip
import random
import sys
import zlib
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from broker.edge.compressed_sink import CompressedSink
from broker.edge.compression import Compression
from broker.engine.delivery import Fan, Joined, OneByOne
from broker.wire.checksum import Checksum, combined
from broker.wire.content_coding import ContentCoding, Gzip, Zstd, chosen
from broker.wire.event import Event
from broker.wire.frame import encode
from broker.wire.ids import StreamId

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd


class Kept:
    """A sink that keeps what it is given."""

    def __init__(self) -> None:
        self.unsent_bytes = 0
        self.taken_bytes = 0
        self.parts: list[bytes] = []
        self.finished = self.aborted = False

    @property
    def fan(self) -> Callable[[], Fan]:
        return OneByOne

    def write(self, data: bytes) -> None:
        assert data
        assert not self.finished
        self.parts.append(data)

    def send(self, joined: Joined) -> int:
        self.write(joined.data)
        assert joined.chunk == b"%x\r\n%b\r\n" % (len(joined.data), joined.data)
        return self.unsent_bytes

    def finish(self) -> None:
        self.finished = True

    def abort(self) -> None:
        self.aborted = True

    @property
    def body(self) -> bytes:
        return b"".join(self.parts)


def joined(*texts: str) -> Joined:
    return Joined(
        [
            encode(Event(StreamId(0, at), "chunk", text.encode()))
            for at, text in enumerate(texts, start=1)
        ]
    )


def decoded(name: str, body: bytes) -> bytes:
    if name == "gzip":
        # Also looks at checksum and size.
        return gzip.decompress(body)
    return zstd.decompress(body) if body else b""


def so_far(name: str, parts: Sequence[bytes]) -> bytes:
    """What a client has of these parts, of which the last may not be the end."""
    if name == "gzip":
        decompressor = zlib.decompressobj(wbits=31)
        return b"".join(map(decompressor.decompress, parts))
    return b"".join(map(zstd.decompress, parts))


CODINGS: list[ContentCoding] = [Gzip(), Zstd()]
EACH_CODING = pytest.mark.parametrize("coding", CODINGS, ids=lambda coding: str(coding.name))


# ---- what the client likes


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ("", None),
        ("identity", None),
        ("br", None),
        ("gzip", "gzip"),
        ("GZIP", "gzip"),
        ("zstd", "zstd"),
        ("gzip, deflate, br, zstd", "gzip"),
        ("zstd, gzip", "gzip"),
        ("gzip;q=0.5, zstd", "zstd"),
        ("gzip;q=0.5, zstd;q=0.9", "zstd"),
        ("gzip ; q=0.5 , zstd ; q=0.4", "gzip"),
        ("gzip;q=0", None),
        ("gzip;q=0.000, *;q=0.1", "zstd"),
        ("*", "gzip"),
        ("*;q=0", None),
        ("identity, gzip", "gzip"),
        ("identity, gzip;q=0.5", None),
        ("identity;q=0.5, gzip;q=0.5", "gzip"),
        ("gzip;q=abc", None),
        ("gzip;q=", None),
        ("gzip;q=-1", None),
        ("gzip;q=1e9", None),
        (",,;q=1, ,", None),
    ],
)
def test_the_clients_weights_decide_and_then_our_order(header: str, name: str | None) -> None:
    found = chosen(header, CODINGS)
    assert (None if found is None else found.name) == name


@given(header=st.text(alphabet="gzipstd*identity;q=.0159, \t"))
def test_any_header_makes_a_choice(header: str) -> None:
    chosen(header, CODINGS)


def test_several_fields_are_one_list() -> None:
    found = Compression().chosen(["br", "zstd;q=0.1"])
    assert found is not None
    assert found.name == "zstd"


def test_an_answer_that_might_have_been_compressed_says_what_it_varies_by() -> None:
    compression = Compression()
    assert compression.headers(None) == {"vary": "accept-encoding"}
    assert compression.headers(compression.chosen(["gzip"])) == {
        "vary": "accept-encoding",
        "content-encoding": "gzip",
    }


def test_without_a_coding_the_sink_stays_the_same() -> None:
    sink = Kept()
    assert Compression().sink(sink, None) is sink


# ---- the checksum


@given(first=st.binary(max_size=300), second=st.binary(max_size=300))
def test_checksums_are_put_together(first: bytes, second: bytes) -> None:
    whole = zlib.crc32(first + second)
    assert combined(zlib.crc32(first), zlib.crc32(second), len(second)) == whole


def test_checksums_of_large_parts_are_put_together() -> None:
    first, second = random.Random(1).randbytes(70_000), bytes(3_000_001)
    whole = zlib.crc32(first + second)
    assert combined(zlib.crc32(first), zlib.crc32(second), len(second)) == whole


@given(parts=st.lists(st.binary(max_size=40), min_size=1), at=st.integers(0, 100))
def test_the_checksum_since_a_moment_is_that_of_what_came_then(parts: list[bytes], at: int) -> None:
    group, mark = Checksum(), Checksum()
    at %= len(parts)
    for index, part in enumerate(parts):
        if index == at:
            mark = group.copy()
        group.add(part)
    rest = b"".join(parts[at:])
    assert group.since(mark) == (zlib.crc32(rest), len(rest))


# ---- bodies


@EACH_CODING
def test_each_part_can_be_decoded_as_it_arrives(coding: ContentCoding) -> None:
    inner = Kept()
    sink = CompressedSink(inner, coding)
    expected = b""
    for text in ["retry", "a" * 63, "b" * 300, "c" * 5000, "x"]:
        sink.write(text.encode())
        expected += text.encode()
        assert so_far(coding.name, inner.parts) == expected
    sink.finish()
    assert decoded(coding.name, inner.body) == expected


@EACH_CODING
def test_a_stream_without_a_byte_is_a_body_all_the_same(coding: ContentCoding) -> None:
    inner = Kept()
    CompressedSink(inner, coding).finish()
    assert inner.finished
    assert decoded(coding.name, inner.body) == b""


@EACH_CODING
def test_a_replayed_page_is_encoded_once_for_all(coding: ContentCoding) -> None:
    page = joined(*(f"event {at}" for at in range(100)))
    bodies = []
    for number in range(3):
        inner = Kept()
        sink = CompressedSink(inner, coding)
        sink.write(b"hello %d" % number)
        sink.send(page)
        sink.finish()
        bodies.append(inner)
    # The very same object.
    assert len({id(inner.parts[1]) for inner in bodies}) == 1
    assert len(bodies[0].parts[1]) < page.size / 5
    for number, inner in enumerate(bodies):
        assert decoded(coding.name, inner.body) == b"hello %d" % number + page.data


@EACH_CODING
def test_what_is_live_is_encoded_once_for_all_of_a_group(coding: ContentCoding) -> None:
    inners = [Kept() for _ in range(3)]
    sinks = [CompressedSink(inner, coding) for inner in inners]
    assert len({sink.fan for sink in sinks}) == 1
    fan = sinks[0].fan()
    for sink in sinks:
        fan.add(sink)
    fan.send(joined("hi"))
    assert len({id(inner.parts[-1]) for inner in inners}) == 1


def test_sinks_with_other_codings_are_other_groups() -> None:
    gzip_coding, zstd_coding = CODINGS
    assert CompressedSink(Kept(), gzip_coding).fan is not CompressedSink(Kept(), zstd_coding).fan


def test_live_events_of_a_group_refer_to_those_before() -> None:
    inner = Kept()
    sink = CompressedSink(inner, Gzip())
    fan = sink.fan()
    fan.add(sink)
    batches = [joined(f'{{"content": "token {at}", "index": {at}}}') for at in range(100)]
    for batch in batches:
        fan.send(batch)
    assert len(inner.body) < sum(batch.size for batch in batches) / 2


def test_no_more_histories_are_kept_than_allowed() -> None:
    gzip_coding = Gzip(most_histories=2)
    histories = [gzip_coding.history() for _ in range(3)]
    data = b'{"content": "the same words as before", "index": 123456}' * 2
    first = [len(history.encode(data)) for history in histories]
    # The first of three was forgotten, and begins anew; the last remembers.
    assert len(histories[2].encode(data)) < first[2] / 3
    assert len(histories[0].encode(data)) == first[0]


def test_who_is_behind_is_said_to_be() -> None:
    inner = Kept()
    sink = CompressedSink(inner, Gzip())
    fan = sink.fan()
    fan.add(sink)
    assert fan.send(joined("a")) == []
    inner.unsent_bytes = 7
    assert fan.send(joined("b")) == [sink]
    assert sink.unsent_bytes == 7


def test_dropping_the_connection_drops_it() -> None:
    inner = Kept()
    CompressedSink(inner, Gzip()).abort()
    assert inner.aborted
    assert not inner.parts


class Viewers(RuleBasedStateMachine):
    """Viewers come to a group and leave it, are sent things of their own and of the group's, in
    any order; each one's body must decode to exactly what was sent to them."""

    @initialize(coding=st.sampled_from(CODINGS), histories=st.integers(1, 3))
    def begin(self, coding: ContentCoding, histories: int) -> None:
        self.coding = Gzip(histories) if isinstance(coding, Gzip) else coding
        self.inners = [Kept() for _ in range(3)]
        self.sinks = [CompressedSink(inner, self.coding) for inner in self.inners]
        self.expected = [b""] * 3
        self.fans = [self.sinks[0].fan() for _ in range(2)]
        self.place: list[int | None] = [None] * 3
        self.over = [False] * 3
        self.count = 0

    def next_text(self, size: int) -> str:
        self.count += 1
        return f"event number {self.count} " * size

    @rule(viewer=st.integers(0, 2), size=st.sampled_from([1, 20, 400]))
    def write(self, viewer: int, size: int) -> None:
        if not self.over[viewer]:
            data = self.next_text(size).encode()
            self.sinks[viewer].write(data)
            self.expected[viewer] += data

    @rule(viewer=st.integers(0, 2), size=st.sampled_from([1, 20, 400]))
    def replay(self, viewer: int, size: int) -> None:
        if not self.over[viewer] and self.place[viewer] is None:
            page = joined(self.next_text(size), "more")
            self.sinks[viewer].send(page)
            self.expected[viewer] += page.data

    @rule(viewer=st.integers(0, 2), group=st.integers(0, 1))
    def join(self, viewer: int, group: int) -> None:
        if not self.over[viewer] and self.place[viewer] is None:
            self.place[viewer] = group
            self.fans[group].add(self.sinks[viewer])

    @rule(viewer=st.integers(0, 2))
    def leave(self, viewer: int) -> None:
        group = self.place[viewer]
        if group is not None:
            self.place[viewer] = None
            self.fans[group].discard(self.sinks[viewer])

    @rule(group=st.integers(0, 1), size=st.sampled_from([1, 20, 400]))
    def push(self, group: int, size: int) -> None:
        batch = joined(self.next_text(size))
        self.fans[group].send(batch)
        for viewer, place in enumerate(self.place):
            if place == group:
                self.expected[viewer] += batch.data

    @rule(viewer=st.integers(0, 2))
    def finish(self, viewer: int) -> None:
        if not self.over[viewer]:
            self.leave(viewer)
            self.over[viewer] = True
            self.sinks[viewer].finish()

    def teardown(self) -> None:
        if not hasattr(self, "sinks"):
            return
        for viewer, inner in enumerate(self.inners):
            if inner.parts:
                assert so_far(self.coding.name, [inner.body]) == self.expected[viewer]
            self.finish(viewer)
            assert decoded(self.coding.name, inner.body) == self.expected[viewer]


TestViewers = Viewers.TestCase
