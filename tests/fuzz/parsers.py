"""What SSE parsers by different people make of the same bytes.

Each is given the bytes in the same pieces, and says which events it dispatched. They differ where
the standard (WHATWG HTML, section 9.2.6) leaves no choice, or in what they tell; what is done about
that is said with each. None of them gets anything else than the bytes of the body.
"""

import base64
import json
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol

import httpx
import httpx_sse
import sseclient

from tests.support.sse import Decoder

__all__ = ["PYTHON_PARSERS", "Parse", "Seen", "node_parser", "node_parser_missing"]

_NODE: Final = Path(__file__).parents[1] / "clients" / "node" / "node_modules"
_SECONDS: Final = 20


class Seen(NamedTuple):
    """A dispatched event."""

    id: str | None
    """Of its own block; `None` if that has none."""
    type: str
    data: str


class Parse(Protocol):
    """A parser: the body in pieces, to events."""

    def __call__(self, pieces: Sequence[bytes], /) -> list[Seen]: ...


def _ours(pieces: Sequence[bytes]) -> list[Seen]:
    """The tests' own decoder."""
    decoder = Decoder()
    messages = [message for piece in pieces for message in decoder.feed(piece)]
    return [Seen(each.id if each.own_id else None, each.type, each.data) for each in messages]


def _httpx_sse(pieces: Sequence[bytes]) -> list[Seen]:
    """`httpx-sse`, as `runcast tail` uses it.

    It dispatches blocks that have no data, which the standard drops: they have neither data nor a
    type of their own here. It tells the last id for blocks without one, as the standard has it:
    none of ours follows another with the same id of its own.
    """
    response = httpx.Response(
        200, headers={"content-type": "text/event-stream; charset=utf-8"}, content=iter(pieces)
    )
    seen = []
    last_id = ""
    for event in httpx_sse.EventSource(response).iter_sse():
        own_id = event.id if event.id != last_id else None
        last_id = event.id
        seen.append(Seen(own_id, event.event or "message", event.data))
    return seen


def _sseclient(pieces: Sequence[bytes]) -> list[Seen]:
    """`sseclient-py`. It tells a block's own id. It would dispatch a block that the end of the
    stream has cut short, which the standard drops; ours are whole."""
    events = sseclient.SSEClient(iter(pieces)).events()
    return [Seen(event.id, event.event, event.data) for event in events]


PYTHON_PARSERS: Final[dict[str, Callable[[Sequence[bytes]], list[Seen]]]] = {
    "ours": _ours,
    "httpx-sse": _httpx_sse,
    "sseclient-py": _sseclient,
}


def node_parser_missing() -> str:
    """Why `node_parser` can't be had; empty if it can."""
    if shutil.which("node") is None:
        return "Node is not installed"
    if not (_NODE / "eventsource-parser").is_dir():
        return "npm's eventsource-parser is not installed: run npm ci in tests/clients/node"
    return ""


@contextmanager
def node_parser() -> Iterator[Parse]:
    """npm's `eventsource-parser`, which `eventsource` and many others are built on. It tells a
    block's own id, and no type for events without one."""
    process = subprocess.Popen(
        ["node", str(Path(__file__).with_name("parse.mjs"))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    requests, answers = process.stdin, process.stdout

    def parse(pieces: Sequence[bytes]) -> list[Seen]:
        encoded = [base64.b64encode(piece).decode() for piece in pieces]
        requests.write(json.dumps(encoded).encode() + b"\n")
        requests.flush()
        events: list[dict[str, Any]] = json.loads(answers.readline())
        return [
            Seen(each["id"], "message" if each["event"] is None else each["event"], each["data"])
            for each in events
        ]

    try:
        yield parse
    finally:
        requests.close()
        answers.close()
        process.wait(timeout=_SECONDS)
