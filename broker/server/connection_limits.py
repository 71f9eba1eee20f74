"""How many connections there may be: of the process, from an address, in a second. Pure.

They are turned away before a byte of theirs is read, so this has to be cheap: a few operations for
each that comes and for each that goes.
"""

from collections.abc import Callable

from broker.edge.client_address import AddressGroups
from broker.edge.limits import ConnectionLimits
from broker.edge.publishing.rates import Bucket
from broker.edge.refusals import ConnectionRefusal, Refusals

__all__ = ["ConnectionLimiter"]


class ConnectionLimiter:
    """Counts the connections of a process."""

    def __init__(
        self, limits: ConnectionLimits, refusals: Refusals, clock: Callable[[], float]
    ) -> None:
        """
        Args:
            limits: how many.
            refusals: where to count those that were one too many.
            clock: monotonic seconds.
        """
        self._most = limits.connections
        self._most_of_one = limits.per_address
        self._groups = AddressGroups(limits.trusted_proxies)
        self._bucket = None if limits.per_second is None else Bucket(limits.per_second, clock())
        self._refusals = refusals
        self._clock = clock
        self._count = 0
        self._counts: dict[str, int] = {}

    def __len__(self) -> int:
        return self._count

    def address_of(self, host: str | None) -> str | None:
        """What to count a connection from `host` by; `None` if it is not counted by that."""
        return None if self._most_of_one is None else self._groups.group(host)

    def enter(self, address: str | None) -> ConnectionRefusal | None:
        """Counts one more, unless there are too many.

        Args:
            address: what `address_of` said.

        Returns:
            Why it must not be taken; `None` if it is, and `leave` is to be called at its end.
        """
        if address is None and self._bucket is None and self._count < self._most:
            # Mostly; it need not cost more.
            self._count += 1
            return None
        refusal = self._refusal(address)
        if refusal is not None:
            self._refusals.connections[refusal] += 1
            return refusal
        self._count += 1
        if address is not None:
            self._counts[address] = self._counts.get(address, 0) + 1
        return None

    def leave(self, address: str | None) -> None:
        """One that was taken is over."""
        self._count -= 1
        if address is not None:
            left = self._counts.pop(address) - 1
            if left:
                self._counts[address] = left

    def _refusal(self, address: str | None) -> ConnectionRefusal | None:
        # The address first: who floods is to be stopped by their own limit, and use up nobody
        # else's share of the rate.
        if (
            address is not None
            and self._most_of_one is not None
            and self._counts.get(address, 0) >= self._most_of_one
        ):
            return ConnectionRefusal.ADDRESS
        if self._count >= self._most:
            return ConnectionRefusal.PROCESS
        if self._bucket is not None:
            now = self._clock()
            if self._bucket.wait_seconds(now) > 0:
                return ConnectionRefusal.RATE
            self._bucket.take(1, now)
        return None
