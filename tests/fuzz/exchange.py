"""Bytes to an edge as they are, and its answers as h11 reads them, which is strict about them."""

import contextlib
import json
import re
import socket
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import h11

__all__ = ["Answer", "Conversation", "check_form", "conversation"]

_SECONDS: Final = 10
_READ_BYTES: Final = 1 << 16
_HEADERS: Final = frozenset(
    {
        "allow", "cache-control", "connection", "content-length", "content-security-policy",
        "content-type", "cross-origin-resource-policy", "date", "location", "referrer-policy",
        "retry-after", "runcast-gap", "transfer-encoding", "vary", "x-accel-buffering",
        "x-content-type-options",
    }
)  # fmt: skip
"""All that an edge ever sends."""
_MEMBERS: Final = frozenset({"appended", "final", "last_id", "line"})
"""Further members that a problem may have, where something was to be written."""
_PRINTABLE: Final = re.compile(rb"[\x20-\x7e]*")


@dataclass(frozen=True, slots=True)
class Answer:
    """One response."""

    status: int
    headers: dict[str, str]
    body: bytes
    whole: bool = True
    """Whether it came to its end."""

    @property
    def is_stream(self) -> bool:
        return self.headers.get("content-type", "").startswith("text/event-stream")

    @property
    def is_last(self) -> bool:
        """Whether the connection ends with it."""
        return not self.whole or self.headers.get("connection") == "close"


class Conversation:
    """A connection that bytes are sent over as they are."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._parser = h11.Connection(h11.CLIENT, max_incomplete_event_size=1 << 20)
        self._over = False

    def send(self, pieces: Iterable[bytes]) -> bool:
        """Sends each piece by itself; whether the edge has taken them all."""
        try:
            for piece in pieces:
                self._connection.sendall(piece)
        except (ConnectionResetError, BrokenPipeError):
            return False
        return True

    def finish(self) -> None:
        """Closes the sending side."""
        with contextlib.suppress(OSError):
            self._connection.shutdown(socket.SHUT_WR)

    def answers(self, methods: Sequence[str]) -> list[Answer]:
        """The answers to requests with these methods, fewer if the connection ends before."""
        answers = []
        for method in methods:
            answer = self.answer(method)
            if answer is None:
                break
            answers.append(answer)
            if answer.is_last:
                self.ends()
                break
        return answers

    def rest(self) -> list[Answer]:
        """All answers up to the end of the connection."""
        answers = []
        while (answer := self.answer("GET")) is not None:
            answers.append(answer)
            if answer.is_last:
                self.ends()
                break
        return answers

    def answer(self, method: str) -> Answer | None:
        """The next answer; `None` where the connection ends instead of one."""
        if self._parser.our_state is h11.MUST_CLOSE:
            self.ends()
        if self._over:
            return None
        self._parser.send(h11.Request(method=method, target="/", headers=[("host", "x")]))
        self._parser.send(h11.EndOfMessage())
        head: h11.Response | None = None
        body = bytearray()
        while True:
            try:
                event = self._parser.next_event()
            except h11.RemoteProtocolError:
                # The end in the middle of an answer is the caller's business, all else is wrong.
                if not self._over:
                    raise
                return None if head is None else _answer(head, bytes(body), whole=False)
            if event is h11.NEED_DATA:
                self._parser.receive_data(self._read())
            elif isinstance(event, h11.Response):
                head = event
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage):
                assert head is not None
                if self._parser.their_state is h11.DONE:
                    self._parser.start_next_cycle()
                return _answer(head, bytes(body), whole=True)
            elif isinstance(event, h11.ConnectionClosed):
                return None

    def stream(self) -> Iterator[bytes]:
        """The next answer's body, piece by piece as it comes."""
        self._parser.send(h11.Request(method="GET", target="/", headers=[("host", "x")]))
        self._parser.send(h11.EndOfMessage())
        while True:
            event = self._parser.next_event()
            if event is h11.NEED_DATA:
                self._parser.receive_data(self._read())
            elif isinstance(event, h11.Response):
                check_form(_answer(event, b"", whole=False))
                assert event.status_code == 200
            elif isinstance(event, h11.Data):
                yield bytes(event.data)
            else:
                assert isinstance(event, h11.EndOfMessage)
                if self._parser.their_state is h11.DONE:
                    self._parser.start_next_cycle()
                return

    def ends(self) -> None:
        """Fails if anything comes before the connection's end."""
        trailing, _ = self._parser.trailing_data
        assert trailing == b""
        while not self._over:
            assert self._read() == b""

    def _read(self) -> bytes:
        try:
            data = self._connection.recv(_READ_BYTES)
        except ConnectionResetError:
            data = b""
        self._over = not data
        return data


@contextlib.contextmanager
def conversation(port: int) -> Iterator[Conversation]:
    """A connection, closed at the end."""
    with socket.create_connection(("127.0.0.1", port), timeout=_SECONDS) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        yield Conversation(connection)


def check_form(answer: Answer) -> None:
    """Fails unless the answer is one that an edge may give to a stranger."""
    assert answer.status < 500, answer
    assert answer.headers.keys() <= _HEADERS, answer
    if answer.status < 400 or not answer.body:
        return
    assert answer.headers["content-type"] == "application/problem+json"
    document = json.loads(answer.body)
    assert {"type", "title", "status", "detail"} <= document.keys()
    assert document.keys() - {"type", "title", "status", "detail"} <= _MEMBERS
    assert document["status"] == answer.status
    assert document["type"].startswith("urn:runcast:problem:")
    assert document["detail"].isprintable()
    assert document["detail"].isascii()
    assert len(document["detail"]) < 1000


def _answer(head: h11.Response, body: bytes, *, whole: bool) -> Answer:
    headers: dict[str, str] = {}
    for name, value in head.headers:
        assert _PRINTABLE.fullmatch(value), (name, value)
        assert name.decode() not in headers, f"{name!r} twice"
        headers[name.decode()] = value.decode()
    return Answer(head.status_code, headers, body, whole)
