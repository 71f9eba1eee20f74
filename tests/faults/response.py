"""An HTTP response, byte by byte: sans-I/O. Bytes in; status, messages and the end out."""

import httptools

from tests.support.sse import Decoder, Message

__all__ = ["Response"]


class Response:
    """One response, whose body is an event stream."""

    def __init__(self) -> None:
        self.decoder = Decoder()
        self.complete = False
        """Whether it ended as HTTP says, not by a cut."""
        self.status = 0
        """Zero until the head is there."""
        self._parser = httptools.HttpResponseParser(self)
        self._messages: list[Message] = []

    def feed(self, data: bytes) -> list[Message]:
        """The messages that `data` completes."""
        self._messages = []
        self._parser.feed_data(data)
        return self._messages

    def on_headers_complete(self) -> None:
        """For the parser."""
        self.status = self._parser.get_status_code()

    def on_body(self, body: bytes) -> None:
        """For the parser."""
        if self.status == 200:
            self._messages += self.decoder.feed(body)

    def on_message_complete(self) -> None:
        """For the parser."""
        self.complete = True
