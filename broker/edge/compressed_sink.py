"""Sinks that send a stream in a content coding, on top of any other sink.

What is replayed is encoded once for all who get it in the same coding (`Joined.encoded`), and what
is live once for all of a live group, with a history that they share. A viewer's own are only the
checksum of the body and what is said to them alone.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache, partial

from broker.engine.delivery import Fan, Joined, Sink
from broker.wire.checksum import Checksum
from broker.wire.content_coding import ContentCoding

__all__ = ["CompressedSink"]


class CompressedSink:
    """A sink before another."""

    __slots__ = ("_began", "_body", "_coding", "_fan", "_group_body", "inner")

    def __init__(self, inner: Sink, coding: ContentCoding) -> None:
        """
        Args:
            inner: where the encoded bytes go; the answer's head says which coding it is.
            coding: the same one for all, since who has the same shares bytes.
        """
        self.inner = inner
        self._coding = coding
        self._began = False
        self._body = Checksum()
        # While it is one of a live group: the group's, and how the group's body stood then.
        self._fan: CompressedFan | None = None
        self._group_body: Checksum | None = None

    @property
    def fan(self) -> Callable[[], Fan]:
        """The same for all with the same coding whose inner sinks fit together."""
        return _fan_maker(self._coding, self.inner.fan)

    @property
    def unsent_bytes(self) -> int:
        """Encoded bytes that the client's connection has not taken."""
        return self.inner.unsent_bytes

    @property
    def taken_bytes(self) -> int:
        """See `Sink.taken_bytes`."""
        return self.inner.taken_bytes

    def write(self, data: bytes) -> None:
        """Encodes and queues whole frames."""
        self._interrupt_group()
        self._body.add(data)
        beginning = b"" if self._began else self._coding.beginning
        self._began = True
        self.inner.write(beginning + self._coding.encode(data))

    def send(self, joined: Joined) -> int:
        """Queues a batch, encoded once for all."""
        self._interrupt_group()
        self._begin()
        self._body.add_known(joined.checksum, joined.size)
        return self.inner.send(joined.encoded(self._coding))

    def finish(self) -> None:
        """Ends the body, and the stream after it."""
        self._begin()
        ending = self._coding.ending(self._body)
        if ending:
            self.inner.write(ending)
        self.inner.finish()

    def abort(self) -> None:
        """Drops the connection at once."""
        self.inner.abort()

    def enter(self, fan: "CompressedFan") -> None:
        """Becomes one of a live group."""
        self._begin()
        self._fan = fan
        self._group_body = fan.body.copy()

    def leave(self) -> None:
        """Is on its own again."""
        self._take_over()
        self._fan = self._group_body = None

    def _begin(self) -> None:
        if not self._began:
            self._began = True
            if self._coding.beginning:
                self.inner.write(self._coding.beginning)

    def _interrupt_group(self) -> None:
        """To be called before it is sent something of its own: what the group is sent then can't
        refer to anything before."""
        if self._fan is not None:
            self._take_over()
            self._fan.history.forget()

    def _take_over(self) -> None:
        """Adds to its own checksum what the group was sent."""
        if self._fan is not None and self._group_body is not None:
            self._body.add_known(*self._fan.body.since(self._group_body))
            self._group_body = self._fan.body.copy()


class CompressedFan:
    """Compressed sinks that get the same batches."""

    def __init__(self, coding: ContentCoding, inner: Callable[[], Fan]) -> None:
        self.body = Checksum()
        """Of all that was sent to the group, to whoever was in it then."""
        self.history = coding.history()
        self._inner = inner()
        self._sinks: dict[Sink, CompressedSink] = {}

    def add(self, sink: CompressedSink) -> None:
        """Takes in a sink, which lacks what the others had."""
        self.history.forget()
        sink.enter(self)
        self._sinks[sink.inner] = sink
        self._inner.add(sink.inner)

    def discard(self, sink: CompressedSink) -> None:
        """Lets go of it."""
        del self._sinks[sink.inner]
        self._inner.discard(sink.inner)
        sink.leave()
        if not self._sinks:
            self.history.forget()

    def send(self, joined: Joined) -> Sequence[Sink]:
        """Encodes a batch, after what was sent before, and queues it at each."""
        self.body.add(joined.data)
        encoded = joined.replaced(self.history.encode(joined.data))
        return [self._sinks[inner] for inner in self._inner.send(encoded)]


@lru_cache(maxsize=16)
def _fan_maker(coding: ContentCoding, inner: Callable[[], Fan]) -> Callable[[], Fan]:
    return partial(CompressedFan, coding, inner)
