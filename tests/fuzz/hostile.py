"""What a stranger's requests are made of: the forms that we know, their neighbours, and noise."""

from dataclasses import dataclass
from typing import Final

from hypothesis import strategies as st

__all__ = ["BYTES_NEAR_HTTP", "FINISHED", "FIRST_REQUESTS", "LAST_REQUESTS", "Request"]

FINISHED: Final = "finished"
"""A run that has ended: its streams end by themselves."""
_METHODS: Final = (
    "GET", "GET", "GET", "GET", "GET", "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS",
    "TRACE", "PROPFIND", "PURGE", "M-SEARCH",
)  # fmt: skip
_INJECTIONS: Final = (
    b"\r\nx-injected: yes", b"\n\ndata: injected\n\n", b"\0", b"\r", b"\n", b"\xe2\x80\xa8", b"%",
    b"\xff\xfe", b"\xed\xa0\x80", b"\xc0\x80", b"../", b"..;/", b"//", b"\\", b"*", b"{x}", b"?",
    b"#", b"&", b"=", b";", b"+", b" ", b"'\"<>", b"\x1b[31m", b"$(x)", b"%s%n", b"\xef\xbb\xbf",
)  # fmt: skip
_PLAIN: Final = frozenset(
    b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~!$'()*,:@/"
)
_TOKEN: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789!#$%&'*+-.^_`|~"
_FRAMING: Final = frozenset(
    {"connection", "content-length", "expect", "transfer-encoding", "upgrade", "keep-alive", "te"}
)
"""Headers that say where a message ends; made on purpose only."""
_CURSORS: Final = (
    "0-0", "1-1", "0-1",
    "3-1", "4-1", "4-2", "1718900000000-0", "18446744073709551615-18446744073709551615",
    "18446744073709551615-0", "0-18446744073709551615", "18446744073709551616-0", "-1-0", "+1-0",
    "01-0", "1-", "-", "1", "$", "+", "*", ">", "(1-0", "1-0,2-0", "1-0 ", "\u0661-0", "1e3-0", "",
)  # fmt: skip
_FROMS: Final = (
    "latest", "-1", "-1000", "-1001", "-0", "-99999999999999999999", "0", "LATEST", "", "now",
    "1970-01-01T00:00:00Z", "1969-12-31T23:59:59Z", "9999-12-31T23:59:59.999999-23:59",
    "0001-01-01T00:00:00+23:59", "2026-01-01", "2026-01-01T00:00:00", "2026-W01-1T00:00:00Z",
    "2026-01-01T00:00:00 00:00", "20260101T000000Z", "2026-02-30T00:00:00Z", "24:00:00Z",
    "2026-01-01T24:00:00Z", "2026-01-01T00:00:60Z", "2026-01-01T00:00:00+24:00", "nan", "-inf",
)  # fmt: skip
_ACCEPTS: Final = (
    "application/json", "text/event-stream", "*/*", "", "application/json;q=0.5, text/*",
    "application/json;q=nan", "application/json;q=", ";;;,,,;q=1", "application/json; q=1e309",
    "text/event-stream;q=0, application/json", "APPLICATION/JSON",
)  # fmt: skip
_AWKWARD: Final = (
    "0", "1", "-1", "1000", "1001", "25", "25.0", "26", "0.0000001", "1e1", "nan", "inf", "true",
    "\u0661", "99999999999999999999", "", ",", ",,,", "a,b", "runcast.gap", "comment", "event",
)  # fmt: skip


def _noise(most: int = 6) -> st.SearchStrategy[bytes]:
    piece = st.one_of(st.sampled_from(_INJECTIONS), st.binary(max_size=8), st.just(b"a"))
    return st.lists(piece, max_size=most).map(b"".join)


def _near(known: tuple[str, ...]) -> st.SearchStrategy[bytes]:
    """One of these, as it is or with noise at an end; or noise alone; or much of the same.

    Not so much that a head is refused for its size alone.
    """
    one = st.sampled_from(known).map(str.encode)
    return st.one_of(
        one,
        st.tuples(one, _noise(2)).map(b"".join),
        st.tuples(_noise(2), one).map(b"".join),
        _noise(),
        st.builds(lambda part, times: part * times, one, st.sampled_from((2, 50))),
    )


def _spelling(case: str, plain: frozenset[int]) -> list[str]:
    """How each byte is written in a target."""
    return [chr(byte) if byte in plain else f"%{byte:02{case}}" for byte in range(256)]


_SPELLINGS: Final = [
    _spelling("x", _PLAIN), _spelling("X", _PLAIN), _spelling("x", frozenset()),
]  # fmt: skip
_SEGMENT_SPELLINGS: Final = [_spelling("x", _PLAIN - {0x2F}), _spelling("X", frozenset())]
_ODD_ENDS: Final = ("", "", "", "", "", "%", "%z", "%u0041", "%2")


def _escaped(
    raw: st.SearchStrategy[bytes], spellings: list[list[str]] = _SPELLINGS
) -> st.SearchStrategy[str]:
    """Bytes as they may stand in a target: what need not be escaped is, or is not."""
    return st.builds(
        lambda raw, spelling, end: "".join(map(spelling.__getitem__, raw)) + end,
        raw,
        st.sampled_from(spellings),
        st.sampled_from(_ODD_ENDS),
    )


@dataclass(frozen=True, slots=True, repr=False)
class Request:
    """A request that is well-formed HTTP, whatever it asks for."""

    method: str
    target: str
    version: str
    headers: tuple[tuple[str, bytes], ...]
    body: bytes
    """Framed already, by its length or in chunks."""

    def __repr__(self) -> str:
        wire = self.wire()
        return f"Request({wire[:1000]!r}{f'… {len(wire)} bytes' if len(wire) > 1000 else ''})"

    def wire(self) -> bytes:
        """Its bytes."""
        lines = [f"{self.method} {self.target} HTTP/{self.version}".encode()]
        lines += [name.encode() + b": " + value for name, value in self.headers]
        return b"\r\n".join([*lines, b"", b""]) + self.body


def _field_value(raw: bytes) -> bytes:
    """What of `raw` may stand in a header's value."""
    return bytes(byte for byte in raw if (byte >= 0x20 and byte != 0x7F) or byte == 0x09).strip()


def _join(path: str, query: str) -> str:
    return f"{path}?{query}" if query else path


_PATHS: Final = (
    "/", "/healthz", "/readyz", "/metrics", "/openapi.json", "//", "/healthz/", "/healthz%0a",
    "/v1/runs/x/events/", "/v1/runs/../../healthz", "/v1/runs//events", "/v1/runs/x", "/v1",
    "/v1/runs/%2e%2e/events", "/%2e%2e/%2e%2e/etc/passwd", "/v1/runs/x%2Fevents",
    "/V1/RUNS/x/events",
)  # fmt: skip
_GOODBYES: Final[tuple[list[tuple[str, bytes]], ...]] = (
    [("connection", b"close")],
    [("connection", b"keep-alive")],
    [("connection", b"close, keep-alive, x")],
    [],
)


_NEAR_HTTP: Final = (
    b"\r\n", b"\n", b"\r", b"\0", b" ", b":", b"\t", b"\r\n ", b"HTTP/1.1", b"HTTP/9.9", b"HTTP/",
    b"GET ", b"CONNECT x:1 ", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"content-length: 5\r\n",
    b"content-length: -1\r\n", b"content-length: 99999999999999999999\r\n",
    b"Content-Length : 1\r\n",
    b"transfer-encoding: chunked\r\n", b"transfer-encoding: chunked, x\r\n", b"5\r\nabc",
    b"fffffffff\r\n",
    b"connection: upgrade\r\nupgrade: h2c\r\n", b"connection: upgrade\r\nupgrade: websocket\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00", b"\x80\xff", b"* ", b"x" * 70_000, b"a: b\r\n" * 300,
    b"expect: 100-continue\r\n", b"0\r\n\r\n",
)  # fmt: skip

# Strategies are made once: making them costs more than drawing from them.

_EVENTS_PATHS: Final = st.one_of(
    st.just(FINISHED),
    st.just(FINISHED),
    _escaped(_noise(), _SEGMENT_SPELLINGS),
    _escaped(_near((FINISHED, "..", ".", "run:x", "a" * 129)), _SEGMENT_SPELLINGS),
).map("/v1/runs/{}/events".format)

_PARAMETERS: Final[dict[str, st.SearchStrategy[bytes]]] = {
    **dict.fromkeys(("last_event_id", "lastEventId", "since"), _near(_CURSORS)),
    "from": _near(_FROMS),
    **dict.fromkeys(("types", "control", "heartbeat", "limit", "wait"), _near(_AWKWARD)),
}
_QUERIES: Final = st.lists(
    st.one_of(
        *(_escaped(values).map(f"{name}={{}}".format) for name, values in _PARAMETERS.items()),
        _escaped(_noise()),
    ),
    max_size=4,
).map("&".join)

_TARGETS: Final = st.one_of(
    st.builds(_join, _EVENTS_PATHS, _QUERIES),
    st.builds(_join, _EVENTS_PATHS, _QUERIES),
    st.builds(_join, st.sampled_from(_PATHS), _QUERIES),
    _EVENTS_PATHS.map("http://elsewhere{}".format),
    _escaped(_noise()).map("/{}".format),
)

_HEADERS: Final = st.lists(
    st.one_of(
        _near(_CURSORS).map(lambda raw: ("Last-Event-ID", _field_value(raw))),
        _near(_ACCEPTS).map(lambda raw: ("accept", _field_value(raw))),
        st.just(("accept", b"application/json")),
        st.tuples(
            st.text(_TOKEN, min_size=1, max_size=20).filter(
                lambda name: name.lower() not in _FRAMING
            ),
            _noise().map(_field_value),
        ),
    ),
    max_size=5,
)

_BODIES: Final = st.one_of(
    st.just(b""), st.binary(max_size=200), st.sampled_from((b"x" * 8_192, b"y" * 200_000))
)


def _no_body(data: bytes) -> tuple[list[tuple[str, bytes]], bytes]:
    return [], b""


def _measured_body(data: bytes) -> tuple[list[tuple[str, bytes]], bytes]:
    return [("content-length", b"%d" % len(data))], data


def _expected_body(data: bytes) -> tuple[list[tuple[str, bytes]], bytes]:
    return [("content-length", b"%d" % len(data)), ("expect", b"100-continue")], data


def _chunked_body(data: bytes) -> tuple[list[tuple[str, bytes]], bytes]:
    chunks = [data[place : place + 7_000] for place in range(0, len(data), 7_000)]
    framed = b"".join(b'%x;x="y"\r\n%b\r\n' % (len(chunk), chunk) for chunk in chunks)
    return [("transfer-encoding", b"chunked")], framed + b"0\r\nx-trailer: yes\r\n\r\n"


_FRAMINGS: Final = (_no_body, _no_body, _no_body, _measured_body, _expected_body, _chunked_body)
"""Bodies that nobody has asked for, with the headers that frame them."""


@st.composite
def _one_request(
    draw: st.DrawFn, versions: tuple[str, ...], goodbyes: tuple[list[tuple[str, bytes]], ...]
) -> Request:
    framing = draw(st.sampled_from(_FRAMINGS))
    framing_headers, body = framing(draw(_BODIES))
    headers = [
        ("host", b"edge"),
        *draw(_HEADERS),
        *draw(st.sampled_from(goodbyes)),
        *framing_headers,
    ]
    return Request(
        draw(st.sampled_from(_METHODS)),
        draw(_TARGETS),
        draw(st.sampled_from(versions)),
        tuple(headers),
        body,
    )


FIRST_REQUESTS: Final = _one_request(("1.1",), ([],))
"""That keep the connection."""
LAST_REQUESTS: Final = _one_request(("1.1", "1.1", "1.0"), _GOODBYES)
"""That need not."""


def _damaged(data: bytes, blows: list[tuple[float, int, bytes]]) -> bytes:
    for place, length, piece in blows:
        start = int(place * len(data))
        data = data[:start] + piece + data[start + length :]
    return data


BYTES_NEAR_HTTP: Final = st.builds(
    _damaged,
    st.one_of(
        LAST_REQUESTS.map(Request.wire), LAST_REQUESTS.map(Request.wire), st.just(b"")
    ).filter(lambda data: not data.startswith(b"HEAD")),
    st.lists(
        st.tuples(
            st.floats(0, 1),
            st.sampled_from((0, 0, 1, 2, 10)),
            st.one_of(st.sampled_from(_NEAR_HTTP), st.binary(max_size=20)),
        ),
        min_size=1,
        max_size=4,
    ),
)
"""Requests with damage to them, and what is nothing like a request at all."""
