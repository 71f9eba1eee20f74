"""The contract with uvicorn: what broker/server relies on beyond its documentation.

Real uvicorn objects on a transport that a test drives, as uvicorn's own tests do. When one of
these fails after an upgrade, read what uvicorn changed before the range in pyproject.toml grows.
"""

import asyncio
import gc
import inspect
import re
import socket
import time
import tomllib
import weakref
from collections.abc import Awaitable, Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest
import uvicorn
from packaging.requirements import Requirement
from starlette.types import Message, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from broker.edge.connection import ABORT_EXTENSION, DETACH_EXTENSION
from broker.edge.limits import ConnectionLimits
from broker.edge.refusals import Refusals, RequestRefusal
from broker.engine.delivery import Joined
from broker.server.connection_limits import ConnectionLimiter
from broker.server.detached import DetachedConnection
from broker.server.protocol import EdgeProtocol, Reception, protocol_for
from broker.server.slow_headers import SlowHeaders
from broker.wire.frame import Frame
from broker.wire.ids import StreamId
from tests.support.waiting import eventually

_PYPROJECT: Final = Path(__file__).parents[2] / "pyproject.toml"
_REQUEST: Final = b"GET /v1/runs/r/events HTTP/1.1\r\nHost: edge\r\n\r\n"

App = Callable[[Scope, Receive, Send], Awaitable[None]]


@contextmanager
def contract(what: str) -> Iterator[None]:
    """What is relied on; whatever goes wrong within is said with uvicorn's version."""
    try:
        yield
    except Exception as error:
        raise AssertionError(
            f"uvicorn {uvicorn.__version__} breaks what broker/server relies on: {what} ({error!r})"
        ) from error


class _Transport(asyncio.Transport):
    """A connection without a network: what is written is kept, and abort loses it."""

    def __init__(self, connection: socket.socket) -> None:
        super().__init__({"socket": connection, "peername": ("192.0.2.1", 50_000)})
        self.protocol: asyncio.BaseProtocol | None = None
        self.written = b""
        self.aborted = False
        self.closed = False
        self.unsent = 0
        self.high_water: int | None = None

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += bytes(data)

    def abort(self) -> None:
        self.aborted = True
        assert self.protocol is not None
        asyncio.get_running_loop().call_soon(self.protocol.connection_lost, None)

    def close(self) -> None:
        self.closed = True

    def pause_reading(self) -> None:
        """There is nothing to read."""

    def resume_reading(self) -> None:
        """There is nothing to read."""

    def is_closing(self) -> bool:
        return self.closed or self.aborted

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self.protocol = protocol

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self.high_water = high

    def get_write_buffer_size(self) -> int:
        return self.unsent


def _reception(**limits: Any) -> Reception:
    chosen = ConnectionLimits(**{"connections": 100, **limits})
    refusals = Refusals()
    return Reception(
        chosen,
        ConnectionLimiter(chosen, refusals, time.monotonic),
        SlowHeaders(chosen.headers_seconds, time.monotonic),
        refusals,
    )


class _Connection:
    """An `EdgeProtocol` as uvicorn makes one, connected."""

    def __init__(
        self, app: App, connection: socket.socket, reception: Reception | None = None
    ) -> None:
        self.state = ServerState()
        self.transport = _Transport(connection)
        self.reception = reception or _reception()
        self.protocol = protocol_for(self.reception)(
            uvicorn.Config(app, log_config=None, ws="none"),
            self.state,
            {},
            asyncio.get_running_loop(),
        )
        self.transport.protocol = self.protocol
        self.protocol.connection_made(self.transport)

    async def until_answered(self) -> None:
        """Waits until no request is being worked on."""
        await eventually(lambda: not self.state.tasks)


@pytest.fixture
def connection() -> Iterator[socket.socket]:
    """A TCP socket, which no one is connected to, to set options on."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as unconnected:
        yield unconnected


async def _answer(send: Send) -> None:
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body", "body": b""})


def test_the_installed_uvicorn_is_one_that_pyproject_allows() -> None:
    project = tomllib.loads(_PYPROJECT.read_text())["project"]
    requirements = {
        requirement.name: requirement for requirement in map(Requirement, project["dependencies"])
    }
    allowed = requirements["uvicorn"].specifier
    with contract(f"a version in {allowed}"):
        assert allowed.contains(uvicorn.__version__)


# ---- the protocol


def test_the_protocol_has_what_ours_extends() -> None:
    for name in (
        "connection_made",
        "connection_lost",
        "data_received",
        "on_message_begin",
        "on_url",
        "on_headers_complete",
        "on_body",
        "on_message_complete",
        "send_400_response",
        "_start_asgi_task",
        "_unset_keepalive_if_required",
    ):
        with contract(f"HttpToolsProtocol.{name}"):
            assert callable(getattr(HttpToolsProtocol, name))
            assert _parameters(getattr(EdgeProtocol, name)) == _parameters(
                getattr(HttpToolsProtocol, name)
            )


async def test_each_request_of_a_connection_has_the_way_out_in_its_scope(
    connection: socket.socket,
) -> None:
    scopes: list[Scope] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        scopes.append(scope)
        await _answer(send)

    with contract("on_message_begin() makes a new self.scope, which the app is given"):
        connected = _Connection(app, connection)
        for count in (1, 2):
            connected.protocol.data_received(_REQUEST)
            await connected.until_answered()
            assert len(scopes) == count
            assert scopes[-1]["path"] == "/v1/runs/r/events"
            assert callable(scopes[-1]["extensions"][ABORT_EXTENSION]["abort"])
        assert scopes[0] is not scopes[1]
        assert connected.transport.written.count(b"HTTP/1.1 204") == 2
        connected.protocol.connection_lost(None)


async def test_the_way_out_drops_the_connection_and_the_app_hears_of_it(
    connection: socket.socket,
) -> None:
    received: list[Message] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        received.append(await receive())
        scope["extensions"][ABORT_EXTENSION]["abort"]()
        received.append(await receive())

    with contract("self.transport is the connection's; its loss becomes http.disconnect"):
        connected = _Connection(app, connection)
        assert connected.protocol.transport is connected.transport
        connected.protocol.data_received(_REQUEST)
        await connected.until_answered()
        assert connected.transport.aborted
        assert [message["type"] for message in received] == ["http.request", "http.disconnect"]
        assert connected.state.connections == set()


async def test_a_request_that_others_wait_behind_hears_that_the_client_has_gone(
    connection: socket.socket,
) -> None:
    received: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while not received or received[-1] != "http.disconnect":
            received.append((await receive())["type"])

    with contract("_start_asgi_task() is given each request that is to be answered"):
        connected = _Connection(app, connection)
        connected.protocol.data_received(_REQUEST * 3)
        await asyncio.sleep(0)
        connected.protocol.connection_lost(None)
        await connected.until_answered()
        assert received == ["http.request", "http.disconnect"]


async def test_send_waits_while_the_connection_takes_nothing(connection: socket.socket) -> None:
    sent: list[bytes] = []
    paused = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await paused.wait()
        for data in (b"one", b"two"):
            await send({"type": "http.response.body", "body": data, "more_body": True})
            sent.append(data)
        await send({"type": "http.response.body", "body": b""})

    with contract("send() waits between pause_writing() and resume_writing()"):
        connected = _Connection(app, connection)
        connected.protocol.data_received(_REQUEST)
        connected.protocol.pause_writing()
        paused.set()
        for _ in range(10):
            await asyncio.sleep(0)
        assert sent == []
        connected.protocol.resume_writing()
        await connected.until_answered()
        assert sent == [b"one", b"two"]
        connected.protocol.connection_lost(None)


@pytest.mark.parametrize("request_bytes", [b"GET /\xff HTTP/1.1\r\n\r\n", b"not HTTP\r\n\r\n"])
async def test_what_is_not_http_is_answered_by_us(
    connection: socket.socket, request_bytes: bytes
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        pytest.fail("such a request must not reach the app")

    with contract("a parser's error, ours from on_url() included, ends in send_400_response()"):
        connected = _Connection(app, connection)
        connected.protocol.data_received(request_bytes)
        head, _, _ = connected.transport.written.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 400 Bad Request\r\n")
        assert b"content-type: application/problem+json" in head
        assert connected.transport.closed
        connected.protocol.connection_lost(None)


# ---- limits


async def _nothing_is_served(scope: Scope, receive: Receive, send: Send) -> None:
    pytest.fail("such a request must not reach the app")


async def _served(scope: Scope, receive: Receive, send: Send) -> None:
    await _answer(send)


def _statuses(transport: _Transport) -> list[bytes]:
    return re.findall(rb"HTTP/1.1 (\d+)", transport.written)


@pytest.mark.parametrize("piece", [1, 100, 1_000_000])
async def test_a_target_is_bounded_as_it_comes(connection: socket.socket, piece: int) -> None:
    with contract("on_url() is called with each piece; what it raises stops the parser"):
        made = _Connection(_nothing_is_served, connection, _reception(request_line_bytes=300))
        data = b"GET /" + b"x" * 1000
        for at in range(0, len(data), piece):
            if made.transport.closed:
                break
            made.protocol.data_received(data[at : at + piece])
        assert made.transport.closed
        assert _statuses(made.transport) == [b"414"]
        assert made.reception.refusals.requests == {RequestRefusal.TARGET_TOO_LONG: 1}


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param(b"a: " + b"x" * 5000, id="one that does not end"),
        pytest.param(b"a: b\r\n" * 1000, id="many"),
        pytest.param(b"a: " + b"x" * 5000 + b"\r\n\r\n", id="one that ends"),
        pytest.param(b"x" * 5000, id="a name that does not end"),
    ],
)
@pytest.mark.parametrize("piece", [7, 1_000_000])
async def test_headers_are_bounded_as_they_come(
    connection: socket.socket, headers: bytes, piece: int
) -> None:
    with contract("self.headers are those so far; what on_headers_complete() raises stops it"):
        reception = _reception(headers_bytes=1024, request_line_bytes=300)
        made = _Connection(_nothing_is_served, connection, reception)
        data = b"GET / HTTP/1.1\r\n" + headers
        for at in range(0, len(data), piece):
            if made.transport.closed:
                break
            made.protocol.data_received(data[at : at + piece])
        assert made.transport.closed
        assert _statuses(made.transport) == [b"431"]
        assert reception.refusals.requests == {RequestRefusal.HEADERS_TOO_LARGE: 1}


async def test_heads_within_the_bounds_are_taken_one_after_another(
    connection: socket.socket,
) -> None:
    with contract("each message begins with on_message_begin()"):
        made = _Connection(
            _served, connection, _reception(headers_bytes=1024, request_line_bytes=300)
        )
        for _ in range(5):
            made.protocol.data_received(
                b"GET /" + b"x" * 290 + b" HTTP/1.1\r\na: " + b"x" * 1000 + b"\r\n\r\n"
            )
            await made.until_answered()
        assert _statuses(made.transport) == [b"204"] * 5


async def test_a_body_may_be_as_long_as_it_likes(connection: socket.socket) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        while (await receive())["more_body"]:
            pass
        await _answer(send)

    with contract("a body's bytes go to on_body()"):
        made = _Connection(app, connection, _reception(headers_bytes=1024, request_line_bytes=300))
        made.protocol.data_received(b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n")
        for _ in range(100):
            made.protocol.data_received(b"400\r\n" + b"x" * 1024 + b"\r\n")
            await asyncio.sleep(0)
        made.protocol.data_received(b"0\r\n\r\n")
        await made.until_answered()
        assert _statuses(made.transport) == [b"204"]


async def test_of_requests_in_one_packet_few_wait(connection: socket.socket) -> None:
    with contract("those that wait are in self.pipeline"):
        made = _Connection(_served, connection)
        made.protocol.data_received(b"GET / HTTP/1.1\r\n\r\n" * 10_000)
        assert len(made.protocol.pipeline) < 20
        for _ in range(100):
            await made.until_answered()
        answered = _statuses(made.transport)
        assert answered == [b"204"] * len(answered)
        assert 2 <= len(answered) < 20
        assert made.reception.refusals.requests == {RequestRefusal.PIPELINE_TOO_LONG: 1}


async def test_the_time_for_a_head_runs_from_the_connection_and_from_the_next_requests_first_byte(
    connection: socket.socket,
) -> None:
    with contract("a cycle says whether its response is complete"):
        made = _Connection(_served, connection)
        slow = made.reception.slow_headers
        assert len(slow) == 1
        made.protocol.data_received(_REQUEST[:10])
        assert len(slow) == 1
        made.protocol.data_received(_REQUEST[10:])
        assert len(slow) == 0
        await made.until_answered()
        assert len(slow) == 0, "between requests, the time to keep a connection is another"
        made.protocol.data_received(b"\r\n")
        assert len(slow) == 1
        made.protocol.data_received(_REQUEST)
        assert len(slow) == 0
        await made.until_answered()
        assert _statuses(made.transport) == [b"204", b"204"]
        made.protocol.data_received(_REQUEST[:10])
        made.protocol.head_overdue()
        assert _statuses(made.transport) == [b"204", b"204", b"408"]
        assert made.transport.closed
        made.protocol.connection_lost(None)
        assert len(slow) == 0


async def test_what_is_left_of_an_answered_request_has_to_come_in_time(
    connection: socket.socket,
) -> None:
    with contract("a body may go on after its answer"):
        made = _Connection(_served, connection)
        made.protocol.data_received(b"GET / HTTP/1.1\r\ncontent-length: 1000000\r\n\r\n")
        await made.until_answered()
        assert len(made.reception.slow_headers) == 0
        made.protocol.data_received(b"x")
        assert len(made.reception.slow_headers) == 1


async def test_a_connection_without_a_byte_is_closed_without_a_word(
    connection: socket.socket,
) -> None:
    made = _Connection(_nothing_is_served, connection)
    made.protocol.head_overdue()
    assert made.transport.closed
    assert made.transport.written == b""
    assert made.reception.refusals.requests == {RequestRefusal.SLOW_HEADERS: 1}


async def test_one_connection_too_many_is_turned_away_before_it_says_anything(
    connection: socket.socket,
) -> None:
    reception = _reception(connections=1)
    first = _Connection(_served, connection, reception)
    with contract("a connection that is closed when it is made is closed"):
        second = _Connection(_nothing_is_served, connection, reception)
        assert second.transport.closed
        assert _statuses(second.transport) == [b"503"]
        assert b"\r\nretry-after: " in second.transport.written
        assert second.state.connections == set()
        second.protocol.data_received(_REQUEST)
        second.protocol.connection_lost(None)
        assert len(reception.limiter) == 1
    first.protocol.connection_lost(None)
    assert len(reception.limiter) == 0
    assert not _Connection(_served, connection, reception).transport.closed


async def test_a_connection_that_was_handed_over_is_counted_to_its_end(
    connection: socket.socket,
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        _detach(scope)

    with contract("what takes the connection over hears of its end"):
        made = _Connection(app, connection)
        made.protocol.data_received(_GET)
        await made.until_answered()
        assert len(made.reception.limiter) == 1
        assert len(made.reception.slow_headers) == 0
        detached = made.transport.protocol
        assert isinstance(detached, DetachedConnection)
        detached.connection_lost(None)
        assert len(made.reception.limiter) == 0


async def test_a_request_to_change_the_protocol_is_served_as_it_is(
    connection: socket.socket, caplog: pytest.LogCaptureFixture
) -> None:
    with contract("an upgrade stops the parser after the head"):
        made = _Connection(_served, connection)
        made.protocol.data_received(
            b"GET / HTTP/1.1\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\nmore"
        )
        await made.until_answered()
        assert _statuses(made.transport) == [b"204"]
        assert caplog.records == [], "clients could fill the log"


# ---- the server


def test_the_server_has_what_ours_overrides() -> None:
    with contract("capture_signals() is a context manager without arguments"):
        assert _parameters(uvicorn.Server.capture_signals) == ["self"]
    for name in ("startup", "shutdown"):
        method = getattr(uvicorn.Server, name)
        with contract(f"{name}(sockets=None) is a coroutine function"):
            assert inspect.iscoroutinefunction(method)
            assert _parameters(method) == ["self", "sockets"]
            assert inspect.signature(method).parameters["sockets"].default is None


class _RecordingServer(uvicorn.Server):
    """Overrides what ours overrides, and notes when each is called."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.calls: list[str] = []
        self.listening: list[int] = []

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        self.calls.append("signals taken")
        try:
            yield
        finally:
            self.calls.append("signals given back")

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        assert not self.started
        await super().startup(sockets)
        assert self.started
        self.calls.append("started")
        self.listening = [
            listener.getsockname()[1] for server in self.servers for listener in server.sockets
        ]

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self.calls.append("leaving")
        await super().shutdown(sockets)


async def test_serve_calls_what_ours_overrides_in_this_order() -> None:
    lifespan: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["type"] == "lifespan"
        for phase in ("startup", "shutdown"):
            lifespan.append((await receive())["type"])
            await send({"type": f"lifespan.{phase}.complete"})

    with contract("serve() captures signals, starts, waits for should_exit, then shuts down"):
        # As broker/server/run.py configures it.
        config = uvicorn.Config(
            app,
            http=protocol_for(_reception()),
            ws="none",
            lifespan="on",
            access_log=False,
            log_config=None,
            server_header=False,
            timeout_graceful_shutdown=1,
        )
        server = _RecordingServer(config)
        assert (server.started, server.should_exit, server.force_exit) == (False, False, False)
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        serving = asyncio.create_task(server.serve(sockets=[listener]), name="serve")
        await eventually(lambda: server.listening)
        assert server.listening == [port]
        assert server.calls == ["signals taken", "started"]
        server.should_exit = True
        await serving
        assert server.calls[2:] == ["leaving", "signals given back"]
        assert lifespan == ["lifespan.startup", "lifespan.shutdown"]


async def test_force_exit_leaves_without_the_lifespans_shutdown() -> None:
    lifespan: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        lifespan.append((await receive())["type"])
        await send({"type": "lifespan.startup.complete"})
        lifespan.append((await receive())["type"])

    with contract("force_exit ends serve() at once"):
        server = _RecordingServer(uvicorn.Config(app, lifespan="on", log_config=None))
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        listener.bind(("127.0.0.1", 0))
        serving = asyncio.create_task(server.serve(sockets=[listener]), name="serve")
        await eventually(lambda: server.listening)
        server.force_exit = True
        server.should_exit = True
        await serving
        assert lifespan == ["lifespan.startup"]


def _parameters(function: Callable[..., Any]) -> list[str]:
    return list(inspect.signature(function).parameters)


# ---- the handover


_HEADERS: Final = {"content-type": "text/event-stream"}
_GET: Final = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"


def _detach(scope: Scope) -> DetachedConnection:
    sink = scope["extensions"][DETACH_EXTENSION]["detach"](_HEADERS)
    assert isinstance(sink, DetachedConnection)
    return sink


def _joined(wire: bytes) -> Joined:
    return Joined([Frame(StreamId(1, 0), "chunk", wire, final=False)])


async def test_a_connection_that_was_handed_over_outlives_its_task(
    connection: socket.socket,
) -> None:
    handed: list[DetachedConnection] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        handed.append(_detach(scope))

    with contract("a cycle that is marked complete is left alone when its task ends"):
        made = _Connection(app, connection)
        made.protocol.data_received(_GET)
        await made.until_answered()
        assert not made.transport.closed
        assert made.state.total_requests == 1
        [detached] = handed
        assert made.transport.protocol is detached
        assert made.state.connections == {detached}
        # The head waits for the first bytes of the body: one write for both.
        assert made.transport.written == b""
        detached.write(b"one")
        detached.release()
        head, _, body = made.transport.written.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 OK\r\n")
        assert set(head.lower().split(b"\r\n")[1:]) >= {
            b"content-type: text/event-stream",
            b"transfer-encoding: chunked",
            b"connection: close",
        }
        assert body == b"3\r\none\r\n"
        detached.send(_joined(b"two"))
        detached.finish()
        assert made.transport.written.endswith(b"3\r\ntwo\r\n0\r\n\r\n")
        assert made.transport.closed


async def test_nothing_of_the_request_is_kept_after_the_handover(
    connection: socket.socket,
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        _detach(scope)

    with contract("nobody else holds the protocol, the cycle or the parser"):
        made = _Connection(app, connection)
        made.protocol.data_received(_GET)
        await made.until_answered()
        protocol = weakref.ref(made.protocol)
        gc.disable()
        try:
            del made.protocol
            assert protocol() is None
        finally:
            gc.enable()


async def test_what_the_client_sends_after_the_handover_is_ignored(
    connection: socket.socket,
) -> None:
    served: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        served.append(scope["path"])
        _detach(scope).release()

    with contract("data_received is the only way in"):
        made = _Connection(app, connection)
        # The second request is in the same packet, the third and the garbage come later.
        made.protocol.data_received(_GET + _GET.replace(b"/", b"/second", 1))
        await made.until_answered()
        detached = made.transport.protocol
        assert isinstance(detached, DetachedConnection)
        detached.data_received(_GET.replace(b"/", b"/third", 1))
        detached.data_received(b"\x00\xff garbage")
        await made.until_answered()
        assert served == ["/"]
        assert made.transport.written.count(b"HTTP/1.1") == 1
        assert not made.transport.closed


class _Heard:
    """A listener that remembers."""

    def __init__(self) -> None:
        self.words: list[str] = []

    def drained(self) -> None:
        self.words.append("drained")

    def closed(self) -> None:
        self.words.append("closed")


async def test_the_listener_hears_of_the_connection(connection: socket.socket) -> None:
    heard = _Heard()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        detached = _detach(scope)
        detached.attach(heard)
        detached.release()

    with contract("pause_writing, resume_writing and connection_lost are called as asyncio says"):
        made = _Connection(app, connection)
        made.protocol.data_received(_GET)
        await made.until_answered()
        detached = made.transport.protocol
        assert isinstance(detached, DetachedConnection)
        # Told as soon as anything is unsent, and only then.
        assert made.transport.high_water == 0
        assert detached.send(_joined(b"one")) == 0
        made.transport.unsent = 2
        detached.pause_writing()
        assert detached.unsent_bytes == 2
        made.transport.unsent = 8
        assert detached.send(_joined(b"two")) == 8
        made.transport.unsent = 5
        taken = detached.taken_bytes
        made.transport.unsent = 0
        assert detached.taken_bytes == taken + 5
        detached.resume_writing()
        assert heard.words == ["drained"]
        assert detached.unsent_bytes == 0
        detached.connection_lost(ConnectionResetError())
        assert heard.words == ["drained", "closed"]
        assert made.state.connections == set()
        written = made.transport.written
        detached.write(b"late")
        detached.send(_joined(b"late"))
        assert made.transport.written == written


async def test_what_was_unsent_before_the_handover_is_seen(connection: socket.socket) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        _detach(scope)

    with contract("the transport is not paused again for what it is paused for already"):
        made = _Connection(app, connection)
        made.transport.unsent = 100_000
        made.protocol.data_received(_GET)
        await made.until_answered()
        detached = made.transport.protocol
        assert isinstance(detached, DetachedConnection)
        assert detached.unsent_bytes == 100_000


async def test_the_server_leaves_and_ends_what_was_handed_over(connection: socket.socket) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        _detach(scope)

    with contract("the server calls shutdown() of each of its connections"):
        made = _Connection(app, connection)
        made.protocol.data_received(_GET)
        await made.until_answered()
        for one in list(made.state.connections):
            one.shutdown()
        assert made.transport.aborted
        await eventually(lambda: not made.state.connections)


async def test_a_client_that_has_gone_is_not_handed_over(connection: socket.socket) -> None:
    handed: list[object] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        handed.append(scope["extensions"][DETACH_EXTENSION]["detach"](_HEADERS))

    with contract("the cycle says whether the client has gone"):
        made = _Connection(app, connection)
        made.protocol.data_received(_GET)
        await asyncio.sleep(0)
        made.protocol.connection_lost(None)
        await made.until_answered()
        assert handed == [None]
        assert made.transport.written == b""


async def test_http_1_0_has_no_chunks(connection: socket.socket) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        detached = _detach(scope)
        detached.write(b"one")
        detached.send(_joined(b"two"))
        detached.finish()

    with contract("the scope has the version"):
        made = _Connection(app, connection)
        made.protocol.data_received(_GET.replace(b"1.1", b"1.0"))
        await made.until_answered()
        head, _, body = made.transport.written.partition(b"\r\n\r\n")
        assert b"transfer-encoding" not in head
        assert body == b"onetwo"
        assert made.transport.closed
