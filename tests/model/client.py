"""A viewer's end of the line: bytes that are taken or not, and the cursor to come back with."""

from typing import Any

import orjson

from broker.engine.delivery import Joined, OneByOne
from broker.engine.ending import Ending
from broker.engine.subscriber import Subscriber
from broker.wire.gap import Gap, GapReason
from broker.wire.ids import StreamId
from broker.wire.request import Resume, Start
from tests.model.account import Account
from tests.support.sse import Decoder, Message

__all__ = ["Client", "Connection", "RecordingSink"]


class RecordingSink:
    """A sink whose client takes everything at once, or nothing until it is asked to."""

    fan = OneByOne

    def __init__(self) -> None:
        self.slow = False
        self.taken_bytes = 0
        self.finished = False
        self.aborted = False
        self._unsent = bytearray()
        self._received = bytearray()

    @property
    def unsent_bytes(self) -> int:
        return len(self._unsent)

    def write(self, data: bytes) -> None:
        assert not self.finished, "written after the end"
        self._unsent += data
        if not self.slow:
            self.take(len(self._unsent))

    def send(self, joined: Joined) -> int:
        self.write(joined.data)
        return self.unsent_bytes

    def take(self, count: int) -> None:
        """The client takes so many of the unsent bytes."""
        taken = self._unsent[:count]
        del self._unsent[:count]
        self.taken_bytes += len(taken)
        self._received += taken

    def received(self) -> bytes:
        """What was taken since the last call."""
        data = bytes(self._received)
        self._received.clear()
        return data

    def finish(self) -> None:
        self.finished = True

    def abort(self) -> None:
        self.aborted = True


class Connection:
    """One connection of a client, and what it may be told over it."""

    def __init__(
        self,
        edge: int,
        subscriber: Subscriber,
        sink: RecordingSink,
        account: Account,
        known: list[StreamId],
    ) -> None:
        """
        Args:
            edge: the number of the edge.
            subscriber: the engine's side of it.
            sink: between the two.
            account: what is right to say.
            known: the events that must come before it is caught up, if they are still there.
        """
        self.edge = edge
        self.subscriber = subscriber
        self.sink = sink
        self.account = account
        self.caught_up = False
        self.last_event_id: str | None = None
        """The last id of a whole block, if there was one."""
        self._known = known
        self._decoder = Decoder()
        self._ended = False

    @property
    def over(self) -> bool:
        """Whether the client has had all that is coming."""
        return self.subscriber.ending is not None and (
            self.sink.aborted or not self.sink.unsent_bytes
        )

    def observe(self) -> None:
        """Looks at what has come since the last look."""
        for message in self._decoder.feed(self.sink.received()):
            self._take(message)
        self.last_event_id = self._decoder.last_event_id or None
        ending = self.subscriber.ending
        if not self.over or self._ended:
            return
        self._ended = True
        assert ending in (Ending.TERMINAL, Ending.DRAIN), f"ended for no reason of ours: {ending}"
        assert not self._decoder.mid_frame or not self.caught_up, "ended within a frame"
        if ending is Ending.TERMINAL:
            assert self.account.ended_rightly(), f"ended too early, at {self.account}"

    def settled(self) -> bool:
        """Whether it is live at the end, or over."""
        return self.over or (self.caught_up and self.account.owes_nothing())

    def _take(self, message: Message) -> None:
        if message.of_run:
            self.account.event(StreamId.parse(message.id), message.data)
        elif message.type == "runcast.gap":
            self.account.gap(_gap(orjson.loads(message.data)))
        elif message.type == "runcast.caught-up":
            assert not self.caught_up, "caught up twice"
            self.caught_up = True
            position = StreamId.parse(orjson.loads(message.data)["id"])
            self.account.caught_up(position, self._known)
        else:
            raise AssertionError(f"not asked for: {message}")


class Client:
    """A viewer over all its connections."""

    def __init__(self, run: int, start: Start) -> None:
        self.run = run
        self.start = start
        """What it connects with next: what it began with, until it has an id."""
        self.connection: Connection | None = None
        self.done = False
        """Whether the run is over for it: it does not come back."""

    def lose(self) -> None:
        """The connection is gone; what was not taken by then never will be."""
        assert self.connection is not None
        last = self.connection.last_event_id
        if last is not None:
            self.start = Resume(StreamId.parse(last))
        self.connection = None


def _gap(document: dict[str, Any]) -> Gap:
    resumed_at = document["resumed_at"]
    return Gap(
        StreamId.parse(document["requested"]),
        None if resumed_at is None else StreamId.parse(resumed_at),
        GapReason(document["reason"]),
    )
