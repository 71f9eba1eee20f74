"""The fan over descriptors, on real sockets: order of bytes, and whose descriptor is used when."""

import socket
from collections.abc import Callable, Iterator

import pytest

from broker.engine.delivery import Fan, Joined
from broker.server.descriptor_fan import DescriptorFan
from broker.wire.frame import Frame
from broker.wire.ids import StreamId


class SocketSink:
    """One end of a connection; what the kernel does not take is kept, as a transport would."""

    def __init__(self) -> None:
        self.near, self.far = socket.socketpair()
        self.near.setblocking(False)
        self.near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        self.far.setblocking(False)
        self.descriptor = self.near.fileno()
        self.ready = True
        self.joined_fan: DescriptorFan | None = None
        self.rest = b""
        self.taken_bytes = 0

    @property
    def fan(self) -> Callable[[], Fan]:
        return DescriptorFan

    @property
    def unsent_bytes(self) -> int:
        return len(self.rest)

    def put(self, data: bytes | memoryview) -> None:
        self.rest += bytes(data)
        self.ready = False
        assert self.joined_fan is not None
        self.joined_fan.changed(self)

    def drain(self) -> bytes:
        """Reads all, lets the rest follow; the sink is ready again."""
        received = b""
        while True:
            try:
                received += self.far.recv(1 << 16)
            except BlockingIOError:
                if not self.rest:
                    break
                self.rest = self.rest[self.near.send(self.rest) :]
        self.ready = True
        if self.joined_fan is not None:
            self.joined_fan.changed(self)
        return received

    def write(self, data: bytes) -> None:
        self.put(data)

    def send(self, joined: Joined) -> int:
        self.put(joined.chunk)
        return self.unsent_bytes

    def finish(self) -> None:
        pytest.fail("not the fan's business")

    def abort(self) -> None:
        pytest.fail("not the fan's business")


@pytest.fixture
def sinks() -> Iterator[list[SocketSink]]:
    made = [SocketSink() for _ in range(3)]
    yield made
    for sink in made:
        sink.near.close()
        sink.far.close()


def joined(number: int, size: int = 100) -> Joined:
    return Joined([Frame(StreamId(number, 0), "chunk", b"%d" % number * size, final=False)])


def test_everyone_gets_the_chunk(sinks: list[SocketSink]) -> None:
    fan = DescriptorFan()
    for sink in sinks:
        fan.add(sink)
    assert fan.send(joined(1)) == []
    assert [sink.drain() for sink in sinks] == [joined(1).chunk] * 3


def test_what_is_not_taken_goes_out_later_and_in_order(sinks: list[SocketSink]) -> None:
    fan = DescriptorFan()
    for sink in sinks:
        fan.add(sink)
    large = joined(1, size=100_000)
    assert set(fan.send(large)) == set(sinks)
    # The second chunk must not overtake the first one's rest.
    assert set(fan.send(joined(2))) == set(sinks)
    assert [sink.drain() for sink in sinks] == [large.chunk + joined(2).chunk] * 3
    # Ready again: the kernel takes the third at once.
    assert fan.send(joined(3)) == []
    assert [sink.drain() for sink in sinks] == [joined(3).chunk] * 3


def test_a_sink_that_is_not_ready_is_not_written_to_directly(sinks: list[SocketSink]) -> None:
    fan = DescriptorFan()
    sinks[0].ready = False
    fan.add(sinks[0])
    assert fan.send(joined(1)) == [sinks[0]]
    assert sinks[0].rest == joined(1).chunk


def test_a_broken_connection_is_left_to_its_transport(sinks: list[SocketSink]) -> None:
    fan = DescriptorFan()
    for sink in sinks[:2]:
        fan.add(sink)
    sinks[0].far.close()
    assert fan.send(joined(1)) == [sinks[0]]
    assert sinks[0].rest == joined(1).chunk
    assert sinks[1].drain() == joined(1).chunk


def test_a_descriptor_that_was_let_go_is_not_used(sinks: list[SocketSink]) -> None:
    """Its number may be another connection's by then."""
    fan = DescriptorFan()
    gone, there, later = sinks
    fan.add(gone)
    fan.add(there)
    fan.discard(gone)
    later.descriptor = gone.descriptor
    gone.far.close()
    gone.near.close()
    assert fan.send(joined(1)) == []
    assert there.drain() == joined(1).chunk
    # Another one has the number now, and an old sink's late change does not take it away.
    fan.add(later)
    fan.discard(gone)
    assert fan.send(joined(2)) == [later]
