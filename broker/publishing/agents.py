"""What a named agent does now: a pointer to its run, and the numbers of its runs' dense ids.

An integer cursor of an agent's earlier run must not be taken for one of the next, so numbers go on
from run to run. A hash beside the pointer keeps what that needs of the newest run with dense ids:
``run``, ``above`` (where its numbers begin) and ``ended`` (a run and its last number).
"""

from typing import Any, Final

from broker.publishing.settings import PublishingSettings
from broker.redis.appending import Appender
from broker.redis.deployment import Deployment
from broker.redis.meta import beside
from broker.redis.persistence import NotAppended, insist
from broker.redis.scripts import AGENT
from broker.wire.ids import RunId, StreamId

__all__ = ["Agents"]

_KEPT_SECONDS: Final = 30 * 24 * 3600
"""How long an agent is remembered after it has begun a run."""
_ROOM: Final = 1_000_000
"""Numbers left to a run of which nobody knows how far it came, or that still goes on."""
_ATTEMPTS: Final = 10


class Agents:
    """Keeps the pointers."""

    def __init__(
        self, deployment: Deployment, appender: Appender, settings: PublishingSettings
    ) -> None:
        self._deployment = deployment
        self._appender = appender
        self._settings = settings

    async def begin(self, name: str, run_id: RunId, *, dense: bool) -> int:
        """Makes the run its agent's current one.

        Args:
            name: the agent's, which was checked.
            run_id: the run.
            dense: whether its ids are to be dense.

        Returns:
            The number that they are to begin above.

        Raises:
            AppendError: Redis can't be reached, or another run begins at each attempt.
        """
        pointer, numbers = self._keys(name)
        if not dense:
            words = ("SET", pointer, run_id, "EX", _KEPT_SECONDS)
            await self._insist(lambda: self._deployment.ask(pointer, *words))
            return 0
        for _ in range(_ATTEMPTS):
            known = await self._known(numbers)
            current = known.get(b"run", b"")
            if current == run_id.encode():
                # Taken over from another worker, or begun once more.
                above = int(known[b"above"])
            else:
                above = await self._above(known)
            if not await self._become((pointer, numbers), current, run_id, above):
                return above
        raise NotAppended(f"other runs of the agent {name} begin all the time")

    async def end(self, name: str, run_id: RunId, newest: StreamId) -> None:
        """Takes note of the run's last number.

        Raises:
            AppendError: Redis can't be reached.
        """
        _, numbers = self._keys(name)
        words = ("HSET", numbers, "ended", f"{run_id} {newest.seq}")
        await self._insist(lambda: self._deployment.ask(numbers, *words))

    # ---- inside

    def _keys(self, name: str) -> tuple[str, str]:
        pointer = self._settings.agent_template.replace("{name}", name)
        return pointer, beside(pointer, "numbers")

    async def _become(
        self, keys: tuple[str, str], current: bytes, run_id: RunId, above: int
    ) -> bytes:
        """Takes the place of the current run; if another has done so before, that one's id."""
        words = (current, run_id, above, _KEPT_SECONDS)
        other: bytes = await self._insist(lambda: AGENT.run(self._deployment, keys, *words))
        return other

    async def _known(self, numbers: str) -> dict[bytes, bytes]:
        answer = await self._insist(lambda: self._deployment.ask(numbers, "HGETALL", numbers))
        if isinstance(answer, dict):
            return answer
        items = iter(answer)
        return dict(zip(items, items, strict=True))

    async def _above(self, known: dict[bytes, bytes]) -> int:
        """Where the numbers of the run after the known one begin."""
        if b"run" not in known:
            return 0
        before = RunId(known[b"run"].decode())
        begun = int(known[b"above"])
        ended, _, last = known.get(b"ended", b"").decode().partition(" ")
        if ended == before:
            return max(begun, int(last))
        newest = max(begun, await self._newest_number(before))
        if newest > begun and await self._insist(lambda: self._appender.ended(before)):
            return newest
        return newest + _ROOM

    async def _newest_number(self, run_id: RunId) -> int:
        """The number of the run's newest dense id; 0 where there is none any more."""
        key = self._settings.keys.key(run_id)
        answer = await self._insist(
            lambda: self._deployment.ask(key, "XREVRANGE", key, "+", "-", "COUNT", 1)
        )
        for entry_id, _ in answer or ():
            ms, _, seq = entry_id.partition(b"-")
            return int(seq) if ms == b"0" else 0
        return 0

    async def _insist(self, ask: Any) -> Any:
        return await insist(ask, retry_seconds=self._settings.retry_seconds)
