"""A decoder of event streams, written from the standard (WHATWG HTML, section 9.2.6).

Stricter than a browser where a server of ours has no excuse: it tells frames, control events and
heartbeats apart, and refuses bytes that no frame of ours has.
"""

from dataclasses import dataclass

__all__ = ["Decoder", "Message"]


@dataclass(frozen=True, slots=True)
class Message:
    """A dispatched event."""

    type: str
    data: str
    id: str
    """The last event id when it was dispatched, its own or an earlier one's."""
    own_id: bool
    """Whether its block had an `id` line."""

    @property
    def of_run(self) -> bool:
        """Whether it is one of the run's events: neither a control event nor a heartbeat."""
        return self.own_id and self.type != "heartbeat" and not self.type.startswith("runcast.")


class Decoder:
    """Bytes in, messages out."""

    def __init__(self) -> None:
        self.last_event_id = ""
        self.retry: int | None = None
        self.comments: list[str] = []
        self._rest = b""
        self._data: list[str] = []
        self._type = ""
        self._id: str | None = None

    @property
    def mid_frame(self) -> bool:
        """Whether the bytes so far end within a block."""
        return bool(self._rest or self._data or self._type or self._id is not None)

    def feed(self, data: bytes) -> list[Message]:
        """The messages that `data` completes."""
        messages: list[Message] = []
        *lines, self._rest = (self._rest + data).split(b"\n")
        for raw in lines:
            assert b"\r" not in raw, "lines end in LF only"
            line = raw.decode("utf-8", "strict")
            if line:
                self._field(line)
            else:
                messages += self._dispatch()
        return messages

    def _field(self, line: str) -> None:
        if line.startswith(":"):
            self.comments.append(line[1:].strip())
            return
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        match name:
            case "data":
                self._data.append(value)
            case "event":
                self._type = value
            case "id":
                assert "\0" not in value
                self._id = value
            case "retry":
                assert value.isascii()
                assert value.isdigit()
                self.retry = int(value)
            case _:
                raise AssertionError(f"a field that no frame has: {line!r}")

    def _dispatch(self) -> list[Message]:
        own_id = self._id is not None
        if self._id is not None:
            self.last_event_id = self._id
        data, event_type = self._data, self._type
        self._data, self._type, self._id = [], "", None
        if not data:
            return []
        return [Message(event_type or "message", "\n".join(data), self.last_event_id, own_id)]
