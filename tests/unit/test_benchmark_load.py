"""The benchmarks' viewers count what was sent to them, however it is cut into pieces."""

import asyncio
import math
import os
import shutil
import signal
import socket
import struct
import time
from collections.abc import AsyncIterator, Callable
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import pytest

from benchmarks.load.build import CantBuild, viewers_program
from benchmarks.load.viewers import Histogram, LoadError, Report, Viewers
from benchmarks.systems.system import Requests
from tests.support.waiting import eventually

pytestmark = pytest.mark.skipif(
    shutil.which("cc") is None, reason="the viewers are a C program, and there is no C compiler"
)

_OK: Final = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
_PLAIN: Final = _OK + b"Connection: close\r\n\r\n"
_CHUNKED: Final = _OK + b"transfer-encoding: chunked\r\n\r\n"


def _data(number: int, *, age_seconds: float = 0) -> bytes:
    published = time.monotonic_ns() - round(age_seconds * 1e9)
    return b'{"n":%d,"t":%d,"pad":"x\\"x"}' % (number, published)


def _event(number: int, *, age_seconds: float = 0) -> bytes:
    return b"data: %s\n\n" % _data(number, age_seconds=age_seconds)


def _chunks(content: bytes, size: int, extension: bytes = b"") -> bytes:
    pieces = [content[start : start + size] for start in range(0, len(content), size)]
    return b"".join(b"%X%s\r\n%s\r\n" % (len(piece), extension, piece) for piece in pieces)


class _Server:
    """Answers each request with the same bytes, and leaves the connection to the test."""

    def __init__(self, answer: bytes = _PLAIN) -> None:
        self.answer = answer
        self.requests: list[bytes] = []
        self.connections: list[asyncio.StreamWriter] = []

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, backlog=1024)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._server.close()
        for connection in self.connections:
            connection.transport.abort()

    @property
    def viewers(self) -> Requests:
        return Requests(
            port=self._server.sockets[0].getsockname()[1],
            first=b"GET /{run} HTTP/1.1\r\nHost: localhost\r\n\r\n",
            again=b"GET /{run} HTTP/1.1\r\nLast-Event-ID: {cursor}\r\n\r\n",
        )

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections.append(writer)
        request = await reader.readuntil(b"\r\n\r\n")
        self.requests.append(request)
        writer.write(self.answer)

    def send(self, content: bytes) -> None:
        """To all who have ever connected; gone ones don't mind."""
        for connection in self.connections:
            connection.write(content)


@pytest.fixture
async def viewers() -> AsyncIterator[Viewers]:
    async with Viewers(frozenset(os.sched_getaffinity(0))) as viewers:
        yield viewers


async def _report_when(viewers: Viewers, holds: Callable[[Report], bool]) -> Report:
    """The report of the group `g`, once it is so."""

    async def is_so() -> bool:
        return holds(await viewers.report("g"))

    await eventually(is_so)
    return await viewers.report("g")


def _hostile_stream() -> bytes:
    """Events 5, 6, 7, 8, 10, 11, 10, 12: eight, one lost, one doubled; and half of the next."""
    return b"".join(
        (
            b': a comment with "n":1,"t":2\n\n',
            b"id: a-5\nevent: chunk\ndata: %s\n\n" % _data(5),
            b'id:a-6\r\ndata:{"channel":"n","pub":{"data":%s}}\r\n\r\n' % _data(6),
            b"data: [%s,%s]\nretry: 1\nid: a-8\n\n" % (_data(7), _data(8)),
            b"data: %s\ndata: %s\n\n" % (_data(10), _data(11)),
            b"data: %s\n\n" % _data(10),
            b'event: control\ndata: {"n":null,"n":3,"t":null}\n\n',
            b"id: a-12\ndata: %s\n\n" % _data(12),
            b"id: a-13\ndata: %s\n" % _data(13),
        )
    )


_CODINGS: Final[dict[str, Callable[[bytes], bytes]]] = {
    "no coding": lambda content: _PLAIN + content,
    "one chunk": lambda content: _CHUNKED + _chunks(content, len(content)),
    "chunks of 1": lambda content: _CHUNKED + _chunks(content, 1),
    "chunks of 17, extended": lambda content: _CHUNKED + _chunks(content, 17, b";name=value"),
}


def _matches(report: Report, viewers: int) -> bool:
    return (report.events, report.lost, report.doubled, report.latency.count) == (
        8 * viewers,
        viewers,
        viewers,
        7 * viewers,
    )


@pytest.mark.parametrize("coding", _CODINGS)
async def test_a_cut_may_be_anywhere(viewers: Viewers, coding: str) -> None:
    """Each of many viewers reads the same in two pieces, cut at a place of its own."""
    head, blank, body = _CODINGS[coding](_hostile_stream()).partition(b"\r\n\r\n")
    cuts = range(0, len(body), max(1, len(body) // 700))
    async with _Server(head + blank) as server:
        await viewers.open("g", server.viewers, [str(cut) for cut in cuts])
        cut_of = [int(request.split()[1][1:]) for request in server.requests]
        assert sorted(cut_of) == list(cuts)
        for connection, cut in zip(server.connections, cut_of, strict=True):
            connection.write(body[:cut])
        first_pieces = sum(len(head + blank) + cut for cut in cuts)
        await _report_when(viewers, lambda report: report.bytes == first_pieces)
        for connection, cut in zip(server.connections, cut_of, strict=True):
            connection.write(body[cut:])
        await viewers.until("g", 12, within=5)
        whole = len(cuts) * len(head + blank + body)
        report = await _report_when(viewers, lambda report: report.bytes == whole)
    assert _matches(report, len(cuts))
    assert (report.viewers, report.open, report.errors) == (len(cuts), len(cuts), 0)


@pytest.mark.parametrize("coding", ["no coding", "chunks of 17, extended"])
async def test_bytes_may_come_one_by_one(viewers: Viewers, coding: str) -> None:
    content = _CODINGS[coding](_hostile_stream())
    async with _Server(b"") as server:
        opening = asyncio.create_task(viewers.open("g", server.viewers, ["r"]))
        await eventually(lambda: len(server.requests) == 1)
        for sent in range(len(content)):
            server.send(content[sent : sent + 1])
            while (await viewers.report("g")).bytes <= sent:
                pass
        await opening
        report = await viewers.report("g")
    assert _matches(report, 1)


async def test_it_goes_on_after_what_was_whole(viewers: Viewers) -> None:
    async with _Server() as server:
        await viewers.open("g", server.viewers, ["r1", "r2"], at_once=1)
        server.send(b"id: a:1\n" + _event(1) + b"id: a:2\n" + _event(2)[:-1])
        await viewers.until("g", 1, within=5)
        await viewers.drop("g")
        assert (await viewers.report("g")).open == 0
        await viewers.reopen("g", at_once=1)
        server.send(b"id: a:2\n" + _event(2))
        await viewers.until("g", 2, within=5)
        report = await viewers.report("g")
    assert [request.split(b"\r\n")[0] for request in server.requests] == [
        *(b"GET /r1 HTTP/1.1", b"GET /r2 HTTP/1.1"),
        *(b"GET /r1 HTTP/1.1", b"GET /r2 HTTP/1.1"),
    ]
    assert [b"Last-Event-ID: a:1\r\n" in request for request in server.requests] == [
        *(False, False),
        *(True, True),
    ]
    assert (report.events, report.lost, report.doubled) == (4, 0, 0)
    assert (report.viewers, report.open, report.errors) == (2, 2, 0)


async def test_without_a_cursor_it_asks_as_for_the_first_time(viewers: Viewers) -> None:
    async with _Server() as server:
        await viewers.open("g", server.viewers, ["r"])
        await viewers.drop("g")
        await viewers.reopen("g")
    assert server.requests[0] == server.requests[1]


async def test_what_is_lost_between_two_connections_counts(viewers: Viewers) -> None:
    async with _Server() as server:
        await viewers.open("g", server.viewers, ["r"])
        server.send(_event(0))
        await viewers.until("g", 0, within=5)
        await viewers.drop("g")
        await viewers.reset("g")
        await viewers.reopen("g")
        server.send(_event(3) + _event(4))
        await viewers.until("g", 4, within=5)
        report = await viewers.report("g")
    assert (report.events, report.lost) == (2, 2)


async def test_latency_counts_from_the_events_own_time(viewers: Viewers) -> None:
    ages = [0, 0.002, 0.03, 0.5, 10]
    async with _Server() as server:
        await viewers.open("g", server.viewers, ["r"])
        before = time.monotonic()
        for number, age in enumerate(ages):
            server.send(_event(number, age_seconds=age))
            await viewers.until("g", number, within=5)
        report = await viewers.report("g")
        took = time.monotonic() - before
    assert report.latency.count == len(ages)
    for place, age in enumerate(ages, start=1):
        seconds = report.latency.percentile(100 * place / len(ages)) / 1e6
        assert age <= seconds <= (age + took) * 1.017
    assert report.latency.max == report.latency.percentile(100)
    assert before <= report.first_at <= report.last_at <= before + took
    assert report.reached_at == report.last_at


async def test_a_reset_forgets_all_but_the_expected_numbers(viewers: Viewers) -> None:
    async with _Server() as server:
        await viewers.open("g", server.viewers, ["r"])
        server.send(_event(0) + _event(2))
        await viewers.until("g", 2, within=5)
        await viewers.reset("g")
        report = await viewers.report("g")
        assert (report.events, report.bytes, report.lost, report.latency.count) == (0, 0, 0, 0)
        assert math.isnan(report.first_at)
        assert math.isnan(report.latency.percentile(50))
        server.send(_event(4))
        await viewers.until("g", 4, within=5)
        assert (await viewers.report("g")).lost == 1


async def test_another_answer_than_200_says_which(viewers: Viewers) -> None:
    async with _Server(b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\n\r\n") as server:
        with pytest.raises(LoadError, match=r"viewer 1 of 2 in g .*HTTP/1.1 503 Service Unavail"):
            await viewers.open("g", server.viewers, ["r", "s"], at_once=1)
        assert (await viewers.report("g")).open == 0
        server.answer = _PLAIN
        await viewers.reopen("g")
        assert (await viewers.report("g")).open == 2


async def test_a_server_that_is_not_there_or_goes(viewers: Viewers) -> None:
    async with _Server() as server:
        gone = server.viewers
        await viewers.open("g", gone, ["r", "s"])
        server.connections[0].close()
        report = await _report_when(viewers, lambda report: report.errors > 0)
        assert (report.viewers, report.open, report.errors) == (2, 1, 1)
        await viewers.reopen("g")
        assert len(server.requests) == 3
    await _report_when(viewers, lambda report: report.open == 0)
    with pytest.raises(LoadError, match="connect: Connection refused"):
        await viewers.reopen("g")


async def test_the_last_chunk_ends_a_connection(viewers: Viewers) -> None:
    async with _Server(_CHUNKED) as server:
        await viewers.open("g", server.viewers, ["r"])
        server.send(_chunks(_event(0), 1000) + b"0\r\nTrailer: x\r\n\r\n")
        report = await _report_when(viewers, lambda report: report.open == 0)
    assert (report.events, report.errors) == (1, 1)


async def test_wrong_chunks_end_a_connection(viewers: Viewers) -> None:
    async with _Server(_CHUNKED) as server:
        await viewers.open("g", server.viewers, ["r"])
        server.send(b"4\r\ndata: 5\r\n")
        report = await _report_when(viewers, lambda report: report.open == 0)
    assert report.errors == 1


async def test_a_wait_that_is_too_long_says_who_is_missing(viewers: Viewers) -> None:
    async with _Server() as server:
        await viewers.open("g", server.viewers, ["r", "s", "t"])
        server.connections[0].write(_event(0) + _event(1))
        server.connections[1].write(_event(0))
        server.connections[2].close()
        with pytest.raises(
            TimeoutError,
            match="2 of the 3 viewers in g have not seen event 1; 1 of them are not connected",
        ):
            await viewers.until("g", 1, within=0.3)


async def test_an_answer_that_never_comes(viewers: Viewers) -> None:
    async with _Server(b"HTTP/1.1 200 OK\r\n") as server:
        with pytest.raises(TimeoutError, match="3 of the 3 viewers in g have no answer yet"):
            await viewers.open("g", server.viewers, ["r", "s", "t"], at_once=2, within=0.3)


async def test_a_stalled_group_reads_nothing(viewers: Viewers) -> None:
    async with _Server() as server:
        await viewers.open("g", server.viewers, ["r"], receive_buffer=4096)
        await viewers.stall("g")
        await viewers.open("reading", server.viewers, ["r"])
        server.send(b": %s\n\n" % (b"x" * 8_000_000) + _event(0))
        await viewers.until("reading", 0, within=10)
        report = await viewers.report("g")
        assert (report.open, report.events) == (1, 0)
        assert report.bytes <= len(_PLAIN)
        reset_at_close = struct.pack("ii", 1, 0)
        server.connections[0].get_extra_info("socket").setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, reset_at_close
        )
        server.connections[0].transport.abort()
        report = await _report_when(viewers, lambda report: report.open == 0)
        assert report.errors == 1


async def test_a_wait_goes_on_beside_other_commands(viewers: Viewers) -> None:
    async with _Server() as server:
        await viewers.open("g", server.viewers, ["r"])
        waiting = asyncio.create_task(viewers.until("g", 0, within=10))
        await viewers.drop("g")
        await viewers.reopen("g")
        assert not waiting.done()
        server.send(_event(0))
        await waiting


async def test_what_it_costs(viewers: Viewers) -> None:
    costs = [await viewers.own_cost() for _ in range(3)]
    assert 0 < costs[0].cpu_seconds <= costs[1].cpu_seconds <= costs[2].cpu_seconds < 1
    assert costs[0].turns.count < costs[1].turns.count < costs[2].turns.count
    assert 0 < costs[2].turns.percentile(50) <= costs[2].turns.max


async def test_commands_that_make_no_sense(viewers: Viewers) -> None:
    with pytest.raises(LoadError, match="there is no group nobody"):
        await viewers.report("nobody")
    requests = Requests(port=1, first=b"", again=None)
    with pytest.raises(ValueError, match="without spaces"):
        await viewers.open("g", requests, ["a b"])


async def test_a_program_that_ends_is_missed(viewers: Viewers) -> None:
    os.kill(viewers.pid, signal.SIGKILL)
    with pytest.raises(LoadError, match="has ended"):
        await viewers.report("g")
    with pytest.raises(LoadError, match="has ended"):
        await viewers.own_cost()


async def test_without_a_compiler_it_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("benchmarks.load.build._BINARIES", tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(CantBuild, match="there is no cc"):
        await viewers_program()


async def test_it_is_compiled_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("benchmarks.load.build._BINARIES", tmp_path)
    program = await viewers_program()
    assert os.listdir(tmp_path) == [program.name]
    built = program.stat()
    assert await viewers_program() == program
    assert program.stat().st_mtime_ns == built.st_mtime_ns


def test_histograms_merge_and_survive_json() -> None:
    some = Histogram(((3, 2), (200, 1)), longest_nanoseconds=400)
    others = Histogram(((200, 4), (900, 1)), longest_nanoseconds=1_000_000)
    both = some.merged(others)
    assert both == Histogram(((3, 2), (200, 5), (900, 1)), longest_nanoseconds=1_000_000)
    assert both.count == 8
    assert both.merged(Histogram()) == both
    assert Histogram.from_json(both.to_json()) == both
    assert both.percentile(25) == 0.003
    assert both.max == 1000


def test_no_bucket_is_wider_than_it_says() -> None:
    def upper(bucket: int) -> float:
        return 1000 * Histogram(((bucket, 1),), longest_nanoseconds=1 << 60).percentile(100)

    edges = [upper(bucket) for bucket in range(2_000)]
    assert edges[:130] == pytest.approx([*range(128), 129, 131])
    assert all(1 <= after / before <= 1.016 for before, after in pairwise(edges[127:]))
