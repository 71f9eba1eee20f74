"""The operator's own endpoint for forward auth: a real HTTP server in a thread, whose answers are
the test's to choose."""

import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

__all__ = ["AuthEndpoint", "Question", "Says"]

_LONGEST_SECONDS = 20


@dataclass(frozen=True, slots=True)
class Question:
    """What it was asked."""

    method: str
    target: str
    headers: dict[str, str]
    """Names in lower case."""

    @property
    def run(self) -> str | None:
        """Which run it is about."""
        return self.headers.get("runcast-run")


@dataclass(frozen=True, slots=True)
class Says:
    """What it answers."""

    status: int = 204
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    drops: bool = False
    """Whether it closes the connection instead."""


class AuthEndpoint:
    """The server. Use it as a context manager."""

    def __init__(self) -> None:
        self.questions: list[Question] = []
        """All that it was asked, in order."""
        self.says: Callable[[Question], Says] = lambda question: Says()
        """Its answer."""
        self.answers = threading.Event()
        """Whether it answers; cleared, it lets everyone wait."""
        self.answers.set()
        self._lock = threading.Lock()
        self._connections: set[socket.socket] = set()
        self._port = 0
        self._server: ThreadingHTTPServer | None = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.answers.set()
        self.stop()

    @property
    def url(self) -> str:
        """Where it is asked."""
        return f"http://127.0.0.1:{self._port}/allowed?from=runcast"

    def start(self) -> None:
        """Listens, on the same port as before."""
        self._server = _server(self, self._port)
        self._port = self._server.server_address[1]
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}
        )
        self._thread.start()

    def stop(self) -> None:
        """Listens no longer, and closes all connections."""
        server, self._server = self._server, None
        if server is None or self._thread is None:
            return
        server.shutdown()
        self._thread.join()
        self.cut()
        server.server_close()

    def cut(self) -> None:
        """Closes the connections that it has."""
        with self._lock:
            for connection in self._connections:
                try:
                    connection.shutdown(socket.SHUT_RDWR)
                except OSError:
                    # The other side was quicker.
                    continue

    def opened(self, connection: socket.socket) -> None:
        """Somebody has come."""
        with self._lock:
            self._connections.add(connection)

    def left(self, connection: socket.socket) -> None:
        """And gone."""
        with self._lock:
            self._connections.discard(connection)

    def asked(self, question: Question) -> Says:
        """The answer, once it is given."""
        with self._lock:
            self.questions.append(question)
        assert self.answers.wait(_LONGEST_SECONDS)
        return self.says(question)


def _server(endpoint: AuthEndpoint, port: int) -> ThreadingHTTPServer:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = _LONGEST_SECONDS
        disable_nagle_algorithm = True

        def setup(self) -> None:
            super().setup()
            endpoint.opened(self.connection)

        def finish(self) -> None:
            endpoint.left(self.connection)
            try:
                super().finish()
            except OSError:
                return

        def do_GET(self) -> None:
            headers: dict[str, str] = {}
            for name, text in self.headers.items():
                assert name.lower() not in headers, f"{name} came twice"
                headers[name.lower()] = text
            says = endpoint.asked(Question(self.command, self.path, headers))
            self.close_connection = says.drops
            if says.drops:
                return
            length = {} if says.status == 204 else {"Content-Length": str(len(says.body))}
            try:
                self.send_response(says.status)
                for name, text in {**length, **says.headers}.items():
                    self.send_header(name, text)
                self.end_headers()
                self.wfile.write(says.body)
            except OSError:
                # Whoever asked has waited long enough.
                self.close_connection = True

        def log_message(self, format: str, *args: Any) -> None:
            """Says nothing."""

    class Server(ThreadingHTTPServer):
        daemon_threads = False
        allow_reuse_address = True
        request_queue_size = 128

    return Server(("127.0.0.1", port), Handler)
