"""What is done to runs' streams on purpose; each deed is a cause in the history.

The events concerned are read in the same transaction, so that it is known exactly what went.
"""

import asyncio
import time
from collections.abc import Mapping
from typing import Any, Final

from redis.asyncio import Redis

from tests.faults.history import Deletion, History, Label, Trim, Wipe
from tests.support.producer import key_of

__all__ = ["Surgery", "entries_of", "labels_of"]

_EXPIRE_MILLISECONDS: Final = 200
_CLOCK_SECONDS: Final = 0.005
"""How exactly a time of the server is known here."""

Entries = list[tuple[str, Mapping[str, str]]]


class Surgery:
    """Cuts, and logs what it cut."""

    def __init__(self, client: Redis, history: History) -> None:
        """
        Args:
            client: its own, straight to the server.
            history: where causes are logged.
        """
        self._client = client
        self._history = history

    async def trim_to_length(self, run: str, length: int) -> None:
        """XTRIM MAXLEN."""
        await self._trim(run, {"maxlen": length, "approximate": False})

    async def trim_below(self, run: str, keep: int) -> None:
        """XTRIM MINID, so that about as many stay."""
        newest: Any = await self._client.xrevrange(key_of(run), count=keep)
        if newest:
            await self._trim(run, {"minid": newest[-1][0], "approximate": False})

    async def delete_entries(self, run: str, positions: tuple[float, ...]) -> None:
        """XDEL of the entries at these shares of the stream's length."""
        entries = await entries_of(self._client, run)
        ids = {entries[int(share * len(entries))][0] for share in positions if entries}
        if ids:
            self._history.causes.append(Deletion(run, time.monotonic(), frozenset(ids)))
            await self._client.xdel(key_of(run), *ids)

    async def delete_run(self, run: str) -> None:
        """DEL: the producers, who go on, make it anew."""
        began = time.monotonic()
        entries, _ = await self._together(run, "delete")
        self._history.causes.append(
            Wipe(run, began, time.monotonic(), "DEL", frozenset(labels_of(entries)))
        )

    async def expire_run(self, run: str) -> None:
        """PEXPIRE, and waits until the time is up."""
        began = time.monotonic()
        entries, _ = await self._together(run, "pexpire", _EXPIRE_MILLISECONDS)
        answered = time.monotonic()
        after = _EXPIRE_MILLISECONDS / 1000
        wipe = Wipe(
            run,
            began + after - _CLOCK_SECONDS,
            answered + after + _CLOCK_SECONDS,
            "EXPIRE",
            frozenset(labels_of(entries)),
        )
        self._history.causes.append(wipe)
        await asyncio.sleep(wipe.ended - time.monotonic())

    async def _trim(self, run: str, options: dict[str, Any]) -> None:
        began = time.monotonic()
        async with self._client.pipeline(transaction=True) as pipeline:
            pipeline.xrange(key_of(run))
            pipeline.xtrim(key_of(run), **options)
            pipeline.xrange(key_of(run), count=1)
            before, _, first = await pipeline.execute()
        ids = [entry_id for entry_id, _ in before]
        kept_from = ids.index(first[0][0]) if first else len(ids)
        if kept_from:
            self._history.causes.append(Trim(run, began, frozenset(ids[:kept_from])))

    async def _together(self, run: str, command: str, *arguments: Any) -> tuple[Entries, Any]:
        """A command on the run's key, and what was in it until then."""
        async with self._client.pipeline(transaction=True) as pipeline:
            pipeline.xrange(key_of(run))
            getattr(pipeline, command)(key_of(run), *arguments)
            entries, answer = await pipeline.execute()
        return entries, answer


async def entries_of(client: Redis, run: str) -> Entries:
    """What is in a run's stream now."""
    entries: Any = await client.xrange(key_of(run))
    return list(entries)


def labels_of(entries: Entries) -> dict[Label, str]:
    """The ids of entries, by label."""
    labelled = ((Label.read(fields["data"]), entry_id) for entry_id, fields in entries)
    return {label: entry_id for label, entry_id in labelled if label is not None}
