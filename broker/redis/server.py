"""One primary, wherever it is now: the connections to it, and whether it is still what it was."""

import asyncio
import math
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from types import TracebackType
from typing import Any, Final, Self
from weakref import WeakSet

import structlog
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError, ResponseError

from broker.engine.cancelling import cancel
from broker.engine.flight import SingleFlight
from broker.engine.log import Failover
from broker.redis.addresses import Address, SentinelAddress
from broker.redis.connections import aclose, connect, primary_of
from broker.redis.link import Link

__all__ = ["Server"]

logger = structlog.get_logger("runcast.redis")

_LOOK_SECONDS: Final = 1.0
"""How often Sentinel is asked whether the primary is still the same."""
_FAILOVERS_KEPT: Final = 16
_CLOCKS_DIFFER_SECONDS: Final = 0.5
"""How far this clock and those of the servers may be apart."""
_NO_HISTORY: Final = b"0" * 40
"""A second replication id that is none: this server was never another's replica."""


class Server:
    """Use it as an async context manager. Nothing is opened before something is asked."""

    def __init__(self, address: Address, *, connections: int, timeout_seconds: float) -> None:
        """
        Args:
            address: of the server, or of the sentinels that know it.
            connections: how many the commands of `ask` share. An answer waits for those before it
                on its own: more keep small answers from waiting for large ones.
            timeout_seconds: how long one command may take.
        """
        self.address = address
        self.failovers: tuple[Failover, ...] = ()
        """When others took over, as far as this process has seen."""
        self.on_failover: Callable[[], None] = _nobody_cares
        """Called when another server has taken over, before anything is read from it."""
        self._client = connect(address, timeout_seconds=timeout_seconds, connections=connections)
        self._timeout_seconds = timeout_seconds
        self._links: list[Link | None] = [None] * connections
        self._opening: SingleFlight[int, Link] = SingleFlight()
        # Also those lent out: when the primary is another one, all are of no use.
        self._open: WeakSet[Link] = WeakSet()
        self._history: bytes | None = None
        self._before: bytes = _NO_HISTORY
        self._heard_at = time.monotonic()
        self._confirmed_at = math.inf
        # Those of servers that others have taken over from: none of them comes back.
        self._superseded: deque[bytes] = deque(maxlen=_FAILOVERS_KEPT)
        self._primary: tuple[str, int] | None = None
        self._closed = False
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        if isinstance(self.address, SentinelAddress):
            self._task = asyncio.create_task(self._watch_primary(), name="sentinel")
        return self

    async def __aexit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._closed = True
        if self._task is not None:
            await cancel([self._task])
        await self._opening.aclose()
        for link in list(self._open):
            await link.aclose()
        await aclose(self._client)

    def took_over_from(self, other: "Server") -> bool:
        """Whether this was the other's replica, and was promoted. Known once it was asked."""
        return self._before != _NO_HISTORY and self._before == other._history

    def noticed_failover(self, other: "Server") -> None:
        """Says that this server has taken over from another, which may have the same address."""
        heard_at = max([other._heard_at, *(link.heard_at for link in other._lost_links())])
        # One that hung is heard of again after another has taken over.
        earliest = time.time() - (time.monotonic() - min(heard_at, other._confirmed_at))
        failover = Failover(
            int(1000 * (earliest - _CLOCKS_DIFFER_SECONDS)),
            int(1000 * (time.time() + _CLOCKS_DIFFER_SECONDS)),
        )
        self.inherit(other)
        self.failovers = (*self.failovers, failover)[-_FAILOVERS_KEPT:]
        logger.warning("another redis has taken over", url=self.shown)
        self.on_failover()

    def inherit(self, other: "Server") -> None:
        """Takes over what is known of the runs that were on the other until now."""
        known = {*self.failovers, *other.failovers}
        self.failovers = tuple(sorted(known))[-_FAILOVERS_KEPT:]

    def confirm(self) -> None:
        """Takes note that this is still the primary, as those say who decide it."""
        self._confirmed_at = time.monotonic()

    def _lost_links(self) -> list[Link]:
        return [link for link in self._open if link.lost.is_set()]

    @property
    def shown(self) -> str:
        """Its URL, fit for a log."""
        return self.address.shown

    @property
    def database(self) -> int:
        """The number of the database."""
        return int(self.address.options.get("db") or 0)

    async def ask(self, *words: bytes | str | int) -> Any:
        """A command's answer, as RESP has it, over a connection that many share.

        Raises:
            RedisError, OSError: the server says no, or does not answer.
        """
        link = await self._shared_link()
        return await link.ask(*words, timeout=self._timeout_seconds)

    async def ask_redirected(self, *words: bytes | str | int) -> Any:
        """The same, for a key that is just moving here (ASKING).

        Raises:
            RedisError, OSError: as above.
        """
        link = await self._shared_link()
        allowed = link.ask("ASKING", timeout=self._timeout_seconds)
        answer = link.ask(*words, timeout=self._timeout_seconds)
        await allowed
        return await answer

    @asynccontextmanager
    async def link(self, on_push: Callable[[Any], None] | None = None) -> AsyncIterator[Link]:
        """A connection for the caller alone; see `Link`.

        Raises:
            RedisError, OSError: it can't be had.
        """
        link = await self._connect(on_push)
        try:
            yield link
        finally:
            await self._let_go(link)

    # ---- inside

    async def _shared_link(self) -> Link:
        index = self._least_busy()
        link = self._links[index]
        if link is None or link.lost.is_set():
            link = await self._opening.do(index, lambda: self._renew(index))
        return link

    def _least_busy(self) -> int:
        best, least = 0, -1
        for index, link in enumerate(self._links):
            busy = 0 if link is None else len(link)
            if not busy:
                return index
            if least < 0 or busy < least:
                best, least = index, busy
        return best

    async def _renew(self, index: int) -> Link:
        lost, self._links[index] = self._links[index], None
        if lost is not None:
            await self._let_go(lost)
        link = await self._connect(None)
        self._links[index] = link
        return link

    async def _connect(self, on_push: Callable[[Any], None] | None) -> Link:
        if self._closed:
            raise RedisConnectionError("closed")
        link = await Link.open(self._client)
        self._open.add(link)
        try:
            await self._identify(link)
        except BaseException:
            await link.aclose()
            raise
        link.on_push = on_push
        return link

    async def _let_go(self, link: Link) -> None:
        self._heard_at = max(self._heard_at, link.heard_at)
        await link.aclose()

    async def _identify(self, link: Link) -> None:
        """Notices that this is not the server that it was, before anything is read from it."""
        try:
            answer = await link.ask("INFO", "replication", timeout=self._timeout_seconds)
        except ResponseError:
            # Not permitted to ask: then nobody can tell.
            return
        info = dict(line.partition(b":")[::2] for line in answer.split(b"\r\n"))
        if isinstance(self.address, SentinelAddress) and info.get(b"role") != b"master":
            raise RedisConnectionError("sentinel names a server that is no primary yet")
        history = info.get(b"master_replid")
        if history in self._superseded:
            raise RedisConnectionError("this primary was replaced, and does not know it yet")
        known, self._history = self._history, history
        self._before = info.get(b"master_replid2", _NO_HISTORY)
        if known is None or known == history:
            return
        for other in self._open:
            # What has an answer of the one before and one of this can't be put together.
            if other is not link:
                other.abandon("another redis has taken over")
        # A server that was restarted has a new id too, but no second one: all that it has lost, it
        # has lost from the end, and the positions tell. One that was promoted has the old one's.
        if self._before != _NO_HISTORY:
            self._superseded.append(known)
            self.noticed_failover(self)

    async def _watch_primary(self) -> None:
        while True:
            # No sentinel answers: the connections that there are may well be good.
            with suppress(RedisError, OSError, TimeoutError):
                primary = await primary_of(self._client)
                if self._primary not in (None, primary):
                    for link in list(self._open):
                        link.abandon("sentinel names another primary")
                else:
                    self.confirm()
                self._primary = primary
            await asyncio.sleep(_LOOK_SECONDS)


def _nobody_cares() -> None:
    """Until someone is told."""
