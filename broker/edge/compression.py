"""Which streams are compressed, and what the answer's head says of it."""

from collections.abc import Mapping, Sequence
from typing import Final

from broker.edge.compressed_sink import CompressedSink
from broker.engine.delivery import Sink
from broker.wire.content_coding import ContentCoding, Gzip, Zstd, chosen

__all__ = ["Compression"]

_VARY: Final = {"vary": "accept-encoding"}


class Compression:
    """What an edge offers; one for all its streams, since equal codings share their bytes."""

    def __init__(self) -> None:
        # Of those who take both, most take gzip better: some decoders (httpx 0.28) stop after the
        # first of several zstd frames, and with gzip live events share a history.
        self._offered: Sequence[ContentCoding] = (Gzip(), Zstd())

    def chosen(self, accept_encoding: Sequence[str]) -> ContentCoding | None:
        """The coding for a client with these `Accept-Encoding` header fields; `None` for none."""
        return chosen(", ".join(accept_encoding), self._offered)

    @staticmethod
    def headers(coding: ContentCoding | None) -> Mapping[str, str]:
        """Of an answer that might be compressed, for caches between us and the client."""
        return _VARY if coding is None else _VARY | {"content-encoding": coding.name}

    @staticmethod
    def sink(inner: Sink, coding: ContentCoding | None) -> Sink:
        """The sink to give to the subscriber; `inner` itself if there is no coding."""
        return inner if coding is None else CompressedSink(inner, coding)
