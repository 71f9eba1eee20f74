"""The sum of all workers' metrics, whichever of them is asked.

Each worker has a file, named after its place, and a Unix socket in the supervisor's directory.
Whoever connects to the socket has the worker write its numbers down before anything is answered;
the sum is made from the files. So a number is in a file before anyone outside has seen it, and:

* one that was killed is refused the connection, and its file still has all that was ever told;
* the next in its place goes on counting from there, so that no counter falls;
* one that hangs does not answer in time, and what its file says is taken instead.
"""

import asyncio
import contextlib
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import Metric

from broker.server.snapshots import Snapshot

__all__ = ["Colleagues"]

_ANSWER_SECONDS: Final = 1.0
"""How long a worker may take to write its numbers down, well below Prometheus' scrape timeout."""
_WRITTEN: Final = b"."


class Colleagues:
    """A worker among all. As an async context manager, it answers the others."""

    def __init__(self, directory: Path, number: int, count: int) -> None:
        """
        Args:
            directory: the supervisor's, which all workers know and nobody else may read.
            number: this one's place, from 1.
            count: how many places there are.
        """
        self._directory = directory
        self._number = number
        self._count = count
        self._registry = CollectorRegistry()
        self._before = Snapshot()
        self._server: asyncio.Server | None = None
        self._tidies_up = False

    def exposition(self, registry: CollectorRegistry) -> Self:
        """Itself, as what shows the metrics; `registry` has this worker's own."""
        self._registry = registry
        return self

    def tidy_up(self) -> None:
        """Has this one leave no files behind, since there is no supervisor any more to do it."""
        self._tidies_up = True

    async def __aenter__(self) -> Self:
        self._before = self._read(self._number).counted()
        self._write_down()
        self._server = await asyncio.get_running_loop().create_unix_server(
            lambda: _Answer(self._write_down), str(self._socket(self._number))
        )
        return self

    async def __aexit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._server is not None
        self._server.close()
        if self._tidies_up:
            self._remove()
        else:
            self._write_down()

    async def collect(self) -> Iterable[Metric]:
        """The metrics of all workers that live, and what the others have counted."""
        self._write_down()
        numbers = range(1, self._count + 1)
        there = await asyncio.gather(*(self._is_there(number) for number in numbers))
        return Snapshot.total(
            self._read(number) if is_there else self._read(number).counted()
            for number, is_there in zip(numbers, there, strict=True)
        ).metrics()

    async def _is_there(self, number: int) -> bool:
        """Whether a worker lives; if it does and can, it has written its numbers down."""
        if number == self._number:
            return True
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                reader, writer = await asyncio.open_unix_connection(str(self._socket(number)))
                try:
                    return await reader.read(1) == _WRITTEN
                finally:
                    writer.close()
        except (ConnectionError, FileNotFoundError):
            return False
        except (TimeoutError, BlockingIOError):
            # It hangs; after many scrapes its queue is full as well.
            return True

    def _write_down(self) -> None:
        own = Snapshot.of(self._registry.collect())
        draft = self._directory / f"{self._number}.draft"
        draft.write_bytes(Snapshot.total((self._before, own)).dump())
        draft.replace(self._file(self._number))

    def _remove(self) -> None:
        for path in (self._file(self._number), self._socket(self._number)):
            path.unlink(missing_ok=True)
        # The last one finds it empty.
        with contextlib.suppress(OSError):
            self._directory.rmdir()

    def _read(self, number: int) -> Snapshot:
        try:
            return Snapshot.load(self._file(number).read_bytes())
        except FileNotFoundError:
            return Snapshot()

    def _file(self, number: int) -> Path:
        return self._directory / f"{number}.json"

    def _socket(self, number: int) -> Path:
        return self._directory / f"{number}.socket"


class _Answer(asyncio.Protocol):
    """One question: what is written down by the time of the answer is the whole answer."""

    def __init__(self, write_down: Callable[[], None]) -> None:
        self._write_down = write_down

    def connection_made(  # type: ignore[override]
        self, transport: asyncio.WriteTransport
    ) -> None:
        try:
            self._write_down()
            transport.write(_WRITTEN)
        finally:
            transport.close()
