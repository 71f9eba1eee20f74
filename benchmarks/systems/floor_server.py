"""The least that a Python server can do for an event: one send() of prepared bytes per viewer.

No HTTP beyond a request's first line, no replay, no limits: a viewer whose socket takes no more is
dropped. Events come over a connection of their own, a line `run data` each; an empty line ends a
batch and is answered with one. Run from `floor`.
"""

import argparse
import select
import socket
from collections import defaultdict
from typing import Final

_HEAD: Final = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
)
_BACKLOG: Final = 4096
_READ_BYTES: Final = 1 << 16


class Floor:
    """Viewers by run, and a loop."""

    def __init__(self, viewers_port: int, events_port: int) -> None:
        self._epoll = select.epoll()
        self._viewer_listener = self._listen(viewers_port)
        self._event_listener = self._listen(events_port)
        self._arriving: dict[int, socket.socket] = {}
        self._publishers: dict[int, tuple[socket.socket, bytearray]] = {}
        self._viewers: dict[bytes, set[socket.socket]] = defaultdict(set)

    def run(self) -> None:
        """Serves until the process is ended."""
        while True:
            for descriptor, _ in self._epoll.poll():
                if descriptor == self._viewer_listener.fileno():
                    connection, _ = self._viewer_listener.accept()
                    self._arriving[self._watch(connection)] = connection
                elif descriptor == self._event_listener.fileno():
                    connection, _ = self._event_listener.accept()
                    self._publishers[self._watch(connection)] = connection, bytearray()
                elif descriptor in self._publishers:
                    self._take_events(descriptor)
                else:
                    self._take_in(self._arriving.pop(descriptor))

    def _listen(self, port: int) -> socket.socket:
        listener = socket.create_server(("127.0.0.1", port), backlog=_BACKLOG)
        self._epoll.register(listener, select.EPOLLIN)
        return listener

    def _watch(self, connection: socket.socket) -> int:
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._epoll.register(connection, select.EPOLLIN)
        return connection.fileno()

    def _take_in(self, connection: socket.socket) -> None:
        """Answers a request: its path is the run."""
        self._epoll.unregister(connection)
        try:
            request = connection.recv(_READ_BYTES)
            if not request:
                connection.close()
                return
            connection.send(_HEAD)
        except OSError:
            # It has gone before it was answered.
            connection.close()
            return
        self._viewers[request.split(b" ", 2)[1].removeprefix(b"/")].add(connection)

    def _take_events(self, descriptor: int) -> None:
        connection, received = self._publishers[descriptor]
        data = connection.recv(_READ_BYTES)
        if not data:
            del self._publishers[descriptor]
            connection.close()
            return
        received += data
        *lines, rest = received.split(b"\n")
        received[:] = rest
        for line in lines:
            if line:
                run, _, event = line.partition(b" ")
                self._send(bytes(run), bytes(event))
            else:
                connection.send(b"\n")

    def _send(self, run: bytes, event: bytes) -> None:
        frame = b"data: " + event + b"\n\n"
        chunk = b"%x\r\n%s\r\n" % (len(frame), frame)
        viewers = self._viewers[run]
        dropped = []
        for viewer in viewers:
            try:
                sent = viewer.send(chunk)
            except OSError:
                sent = 0
            if sent != len(chunk):
                dropped.append(viewer)
        for viewer in dropped:
            viewers.remove(viewer)
            viewer.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("viewers_port", type=int)
    parser.add_argument("events_port", type=int)
    given = parser.parse_args()
    Floor(given.viewers_port, given.events_port).run()
