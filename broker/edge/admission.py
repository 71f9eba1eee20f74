"""How many streams there may be: of the process, an address, a subject, a run.

Counted when a stream begins, and until its connection is over; a long poll, while it waits.
"""

from collections.abc import Mapping
from types import TracebackType
from typing import Final, Self

from starlette.types import Scope

from broker.edge.client_address import AddressGroups
from broker.edge.limits import StreamLimits
from broker.edge.refusals import Refusals, StreamLimit
from broker.engine.subscriber import Subscriber
from broker.wire.ids import RunId
from broker.wire.problem import TooManyStreams

__all__ = ["Admission", "Place"]

_RETRY_SECONDS: Final = 5
_WHY: Final = {
    StreamLimit.PROCESS: "This process has as many viewers as it takes.",
    StreamLimit.RUN: "The run has as many viewers as it may have.",
    StreamLimit.ADDRESS: "Your address has as many streams open as it may.",
    StreamLimit.SUBJECT: "You have as many streams open as you may.",
}

_Key = tuple[StreamLimit, str]


class Place:
    """That one more is counted. As a context manager, until its end, or until it was handed on."""

    __slots__ = ("_counts", "_keys")

    def __init__(self, counts: dict[_Key, int], keys: tuple[_Key, ...]) -> None:
        self._counts = counts
        self._keys = keys

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.leave()

    def leave(self) -> None:
        """One less. Idempotent."""
        keys, self._keys = self._keys, ()
        for key in keys:
            left = self._counts.pop(key) - 1
            if left:
                self._counts[key] = left

    def handed_on(self) -> "Place":
        """The same place for somebody else; this one counts no more."""
        keys, self._keys = self._keys, ()
        return Place(self._counts, keys)


class Admission:
    """Takes streams in, up to the limits. One for an edge."""

    def __init__(self, limits: StreamLimits, addresses: AddressGroups, refusals: Refusals) -> None:
        """
        Args:
            limits: how many.
            addresses: which of them count as one.
            refusals: where to count who was one too many.
        """
        self._most = _given(limits)
        self._addresses = addresses
        self._refusals = refusals
        self._counts: dict[_Key, int] = {}
        self._held: dict[Subscriber, Place] = {}

    def take(self, scope: Scope, subject: str | None, run_id: RunId | None) -> Place:
        """A place for one more.

        Args:
            scope: the request's.
            subject: who asks; `None` for nobody in particular, who is not counted by that.
            run_id: what they want to watch; `None` if it is not known yet.

        Raises:
            TooManyStreams: there are as many as there may be.
        """
        if not self._most:
            return Place(self._counts, ())
        keys = tuple(
            (limit, key)
            for limit, key in self._keys(scope, subject, run_id)
            if key is not None and limit in self._most
        )
        for limit, key in keys:
            if self._counts.get((limit, key), 0) >= self._most[limit]:
                self._refusals.streams[limit] += 1
                raise TooManyStreams(_WHY[limit], _RETRY_SECONDS)
        for one in keys:
            self._counts[one] = self._counts.get(one, 0) + 1
        return Place(self._counts, keys)

    def hold(self, place: Place, subscriber: Subscriber) -> None:
        """Keeps the place until the subscriber has left."""
        if self._most:
            self._held[subscriber] = place.handed_on()

    def left(self, subscriber: Subscriber) -> None:
        """To be called when any viewer's connection is over. Idempotent."""
        place = self._held.pop(subscriber, None)
        if place is not None:
            place.leave()

    def _keys(
        self, scope: Scope, subject: str | None, run_id: RunId | None
    ) -> tuple[tuple[StreamLimit, str | None], ...]:
        client = scope.get("client")
        return (
            (StreamLimit.PROCESS, ""),
            (StreamLimit.RUN, run_id),
            (StreamLimit.ADDRESS, self._addresses.group(client[0] if client else None)),
            (StreamLimit.SUBJECT, subject),
        )


def _given(limits: StreamLimits) -> Mapping[StreamLimit, int]:
    most = {
        StreamLimit.PROCESS: limits.streams,
        StreamLimit.RUN: limits.per_run,
        StreamLimit.ADDRESS: limits.per_address,
        StreamLimit.SUBJECT: limits.per_subject,
    }
    return {limit: count for limit, count in most.items() if count is not None}
