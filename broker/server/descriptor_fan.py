"""The detached connections of a live group, written to by their file descriptors.

For an event with a thousand viewers, what surrounds each system call is most of what can be saved.
Here the loop touches one small number per viewer and nothing else, neither the connection's object
nor the transport's, so that it stays close to what a bare loop of `send` costs.

A descriptor is only used while its transport has nothing unsent, since the order of bytes would be
lost otherwise, and only until `connection_lost`: transports close it after that, never before
(uvloop: `UVBaseTransport._call_connection_lost`; asyncio: `_SelectorTransport`), and then its
number may become another connection's.
"""

from collections.abc import Sequence
from os import write
from typing import Protocol

from broker.engine.delivery import Joined, Sink

__all__ = ["DescriptorFan", "DescriptorSink"]


class DescriptorSink(Sink, Protocol):
    """A sink that is a socket."""

    descriptor: int
    ready: bool
    """Whether nothing is unsent, and the descriptor may be written to."""
    joined_fan: "DescriptorFan | None"
    """Who has to be told when `ready` changes."""

    def put(self, data: bytes | memoryview) -> None:
        """Queues bytes of a chunk."""


class DescriptorFan:
    """See the module."""

    def __init__(self) -> None:
        self._ready: dict[int, DescriptorSink] = {}
        self._behind: dict[DescriptorSink, None] = {}

    def add(self, sink: DescriptorSink) -> None:
        """Takes in a sink."""
        sink.joined_fan = self
        self.changed(sink)

    def discard(self, sink: DescriptorSink) -> None:
        """Lets go of it; its descriptor is not used from here on."""
        sink.joined_fan = None
        self._behind.pop(sink, None)
        if self._ready.get(sink.descriptor) is sink:
            del self._ready[sink.descriptor]

    def changed(self, sink: DescriptorSink) -> None:
        """To be called when the sink's `ready` has changed."""
        if sink.ready:
            self._behind.pop(sink, None)
            self._ready[sink.descriptor] = sink
        else:
            if self._ready.get(sink.descriptor) is sink:
                del self._ready[sink.descriptor]
            self._behind[sink] = None

    def send(self, joined: Joined) -> Sequence[Sink]:
        """Writes the batch to each; what the kernel does not take goes to the transport."""
        chunk = joined.chunk
        size = len(chunk)
        behind = list(self._behind)
        cut_short = []
        for descriptor in self._ready:
            try:
                taken = write(descriptor, chunk)
            except OSError:
                # Full, or broken: the transport finds out which, and says so.
                taken = 0
            if taken != size:
                cut_short.append((descriptor, taken))
        for sink in behind:
            sink.put(chunk)
        for descriptor, taken in cut_short:
            sink = self._ready[descriptor]
            sink.put(memoryview(chunk)[taken:])
            behind.append(sink)
        return behind
