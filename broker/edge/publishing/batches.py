"""Which events are appended in one step. Pure: lines in, batches out."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace

from broker.edge.publishing.documents import PublishedEvent, parse_event
from broker.edge.publishing.limits import PublishingLimits
from broker.edge.publishing.origin import Origin
from broker.redis.appending import NewEvent
from broker.wire.problem import Problem, TooLarge

__all__ = ["Batch", "Batches"]


@dataclass(slots=True)
class Batch:
    """Events of one producer with sequences without a hole."""

    origin: Origin | None
    """Of the first event; `None`: nobody says, and none of them is sent again."""
    events: list[NewEvent] = field(default_factory=list)
    status: str | None = None
    phase: str | None = None
    size: int = 0
    """Bytes of the lines that it was made of."""

    def add(self, published: PublishedEvent, size: int) -> None:
        """Puts an event at its end."""
        self.events.append(published.event)
        self.size += size
        if published.status is not None:
            self.status = published.status
        if published.phase is not None:
            self.phase = published.phase


class Batches:
    """Makes batches of a body's lines, over all of its pieces."""

    def __init__(
        self,
        stated: Origin | None,
        limits: PublishingLimits,
        ends_run: Callable[[NewEvent], bool],
    ) -> None:
        """
        Args:
            stated: who those events come from that do not say it themselves; `None`: from nobody
                in particular.
            limits: the bounds.
            ends_run: whether an event ends the run, which then has to be a batch's last.
        """
        self._stated = stated
        self._limits = limits
        self._ends_run = ends_run
        self._count = 0

    def of(self, lines: Iterable[tuple[int, bytes]]) -> Iterator[Batch]:
        """The batches of these lines; blank ones are passed over.

        Raises:
            Problem: a line can't be used; the events before it came first.
        """
        batch: Batch | None = None
        try:
            for number, line in lines:
                if not line.strip():
                    continue
                published = parse_event(line, number)
                origin = self._origin(published, number)
                if batch is not None and not self._fits(batch, origin, len(line)):
                    yield batch
                    batch = None
                if batch is None:
                    batch = Batch(origin)
                batch.add(published, len(line))
                if self._ends_run(published.event):
                    yield batch
                    batch = None
        except Problem:
            if batch is not None:
                yield batch
            raise
        if batch is not None:
            yield batch

    def _origin(self, published: PublishedEvent, number: int) -> Origin | None:
        index, self._count = self._count, self._count + 1
        if index >= self._limits.body_events:
            raise TooLarge("The body", self._limits.body_events, "events", number)
        if published.origin is not None or self._stated is None:
            return published.origin
        return replace(self._stated, sequence=self._stated.sequence + index)

    def _fits(self, batch: Batch, origin: Origin | None, size: int) -> bool:
        if len(batch.events) >= self._limits.batch_events:
            return False
        if batch.size + size > self._limits.batch_bytes:
            return False
        if batch.origin is None or origin is None:
            return batch.origin is origin
        return origin == Origin(batch.origin.producer, batch.origin.sequence + len(batch.events))
