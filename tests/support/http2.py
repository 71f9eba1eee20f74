"""One HTTP/2 connection without TLS, with streams of events on it that can be reset one by one."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import DataReceived, Event, ResponseReceived, StreamEnded

from tests.support.sse import Decoder, Message
from tests.support.waiting import eventually

__all__ = ["Http2", "Stream", "http2"]

_READ_BYTES = 1 << 16


class Stream:
    """What came over one stream."""

    def __init__(self, stream_id: int) -> None:
        self.stream_id = stream_id
        self.headers: dict[str, str] = {}
        self.messages: list[Message] = []
        self.ended = False
        self._decoder = Decoder()

    @property
    def status(self) -> int:
        return int(self.headers.get(":status", 0))

    @property
    def ids(self) -> list[str]:
        """The ids of the run's events."""
        return [message.id for message in self.messages if message.of_run]

    @property
    def last_event_id(self) -> str:
        return self._decoder.last_event_id

    async def until(self, count: int) -> list[str]:
        """Waits for that many events of the run; their ids."""
        await eventually(lambda: len(self.ids) >= count)
        return self.ids

    async def until_caught_up(self) -> None:
        """Waits for the end of the replay."""
        await eventually(lambda: any(m.type == "runcast.caught-up" for m in self.messages))

    async def until_ended(self) -> None:
        """Waits for the end of the response."""
        await eventually(lambda: self.ended)

    def take(self, data: bytes) -> None:
        """Takes a piece of the body."""
        self.messages += self._decoder.feed(data)


class Http2:
    """The connection."""

    def __init__(
        self, authority: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.streams: dict[int, Stream] = {}
        self._authority = authority
        self._reader = reader
        self._writer = writer
        self._state = H2Connection(H2Configuration(client_side=True, header_encoding="utf-8"))
        self._state.initiate_connection()
        self._send()

    def get(self, path: str, **headers: str) -> Stream:
        """Sends a request; more of them may be under way."""
        stream = Stream(self._state.get_next_available_stream_id())
        self.streams[stream.stream_id] = stream
        self._state.send_headers(
            stream.stream_id,
            [
                (":method", "GET"),
                (":scheme", "http"),
                (":authority", self._authority),
                (":path", path),
                *((name.replace("_", "-"), value) for name, value in headers.items()),
            ],
            end_stream=True,
        )
        self._send()
        return stream

    def reset(self, stream: Stream) -> None:
        """Leaves one stream; the others go on."""
        self._state.reset_stream(stream.stream_id, ErrorCodes.CANCEL)
        self._send()

    async def read(self) -> None:
        """Takes what comes, until the connection is over."""
        while data := await self._reader.read(_READ_BYTES):
            for event in self._state.receive_data(data):
                self._take(event)
            self._send()

    def _take(self, event: Event) -> None:
        if isinstance(event, ResponseReceived):
            self.streams[event.stream_id].headers.update(
                (str(name), str(value)) for name, value in event.headers
            )
        elif isinstance(event, DataReceived):
            self.streams[event.stream_id].take(event.data)
            self._state.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, StreamEnded):
            self.streams[event.stream_id].ended = True

    def _send(self) -> None:
        self._writer.write(self._state.data_to_send())


@contextlib.asynccontextmanager
async def http2(url: str) -> AsyncIterator[Http2]:
    """A connection to the server of `url`, cut at the end."""
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    connection = Http2(parts.netloc, reader, writer)
    reading = asyncio.create_task(connection.read(), name="http2 reader")
    try:
        yield connection
    finally:
        reading.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await reading
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
