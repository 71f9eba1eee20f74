"""The engine's `Log`, over Redis: XREAD, XREVRANGE and XINFO STREAM of one key at a time."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from string import Formatter
from typing import Any, Final, Protocol

import structlog
from redis.exceptions import RedisError, ResponseError

from broker.engine.log import Failover, LogUnavailable, NotAStream, StreamInfo
from broker.redis.connections import describe
from broker.redis.deployment import Deployment
from broker.wire.event import Event, EventFormat
from broker.wire.ids import RunId, StreamId

__all__ = ["KeyTemplate", "Keys", "RedisLog", "Streams", "parse_id", "xread_items"]

logger = structlog.get_logger("runcast.redis")

_PLACEHOLDER: Final = "{run_id}"

_Entry = tuple[bytes, Sequence[bytes] | None]


class Keys(Protocol):
    """Where runs are."""

    def key(self, run_id: RunId) -> str:
        """The key of a run's stream."""


class Streams(Keys, Protocol):
    """Where runs are, and how they are read."""

    def events(self, run_id: RunId) -> EventFormat:
        """How a run's entries are read."""


@dataclass(frozen=True, slots=True)
class KeyTemplate:
    """How a run's key is made from its id; ``{{…}}`` stands for a literal hash tag ``{…}``."""

    template: str

    def __post_init__(self) -> None:
        try:
            fields = [
                name for _, name, _, _ in Formatter().parse(self.template) if name is not None
            ]
            plain = fields == ["run_id"] and self.template.count(_PLACEHOLDER) == 1
        except ValueError:
            plain = False
        if not plain:
            raise ValueError(
                f"{self.template!r} must have {_PLACEHOLDER} exactly once; "
                "write a literal hash tag as {{tag}}"
            )

    def key(self, run_id: RunId) -> str:
        """The key of a run whose id was checked."""
        return self.template.format(run_id=run_id)


def parse_id(raw: bytes) -> StreamId:
    """An id as Redis writes it."""
    ms, _, seq = raw.partition(b"-")
    return StreamId(int(ms), int(seq))


class RedisLog:
    """Reads of runs' streams; see `broker.engine.log.Log`."""

    def __init__(self, deployment: Deployment, streams: Streams, *, traced: bool = False) -> None:
        """
        Args:
            deployment: where the runs are.
            streams: which keys they have, and how they are read.
            traced: whether events are to have their `traceparent`.
        """
        self._deployment = deployment
        self._streams = streams
        self._traced = traced
        self.errors: Counter[str] = Counter()
        """Failed commands, by kind of error."""
        self._failing = False

    async def read(self, run_id: RunId, after: StreamId, count: int) -> Sequence[Event]:
        """XREAD COUNT; without BLOCK, so a missing key and an empty stream are the same."""
        key = self._streams.key(run_id)
        words = ("XREAD", "COUNT", count, "STREAMS", key, str(after))
        for _, entries in xread_items(await self._ask(key, *words)):
            return self._events(run_id, entries)
        return ()

    async def read_many(
        self, after: Mapping[RunId, StreamId], count: int
    ) -> Mapping[RunId, Sequence[Event]]:
        """XREAD COUNT with many keys, without BLOCK; as many commands as it takes."""
        runs: dict[str, list[RunId]] = {}
        for run_id in after:
            runs.setdefault(self._streams.key(run_id), []).append(run_id)
        # Runs may share a stream, each with its own position: a command has a key once.
        found: dict[RunId, Sequence[Event]] = {}
        while runs:
            now = {key: waiting.pop() for key, waiting in runs.items()}
            found |= await self._read_once_each(now, after, count)
            runs = {key: waiting for key, waiting in runs.items() if waiting}
        return found

    async def _read_once_each(
        self, runs: Mapping[str, RunId], after: Mapping[RunId, StreamId], count: int
    ) -> Mapping[RunId, Sequence[Event]]:
        groups = self._deployment.together(list(runs))
        if len(groups) == 1:
            answers = [await self._read_group(groups[0], runs, after, count)]
        else:
            answers = await asyncio.gather(
                *(self._read_group(group, runs, after, count) for group in groups)
            )
        return {
            runs[key.decode()]: self._events(runs[key.decode()], entries)
            for answer in answers
            for key, entries in answer
        }

    async def _read_group(
        self,
        group: Sequence[str],
        runs: Mapping[str, RunId],
        after: Mapping[RunId, StreamId],
        count: int,
    ) -> Iterable[tuple[bytes, Any]]:
        positions = (str(after[runs[key]]) for key in group)
        words = ("XREAD", "COUNT", count, "STREAMS")
        return xread_items(await self._ask(group[0], *words, *group, *positions))

    async def newest(self, run_id: RunId, count: int, before: StreamId | None) -> list[StreamId]:
        """XREVRANGE COUNT, from the end or from below `before`."""
        highest = "+" if before is None else f"({before}"
        key = self._streams.key(run_id)
        answer = await self._ask(key, "XREVRANGE", key, highest, "-", "COUNT", count)
        return [parse_id(entry_id) for entry_id, _ in answer or ()]

    def failovers(self, run_id: RunId) -> Sequence[Failover]:
        """Those that the run's server knows of; see `Server`."""
        server = self._deployment.server_of(self._streams.key(run_id))
        return () if server is None else server.failovers

    async def info(self, run_id: RunId) -> StreamInfo | None:
        """XINFO STREAM. Redis before 7.0 lacks the counters; see `StreamInfo`."""
        key = self._streams.key(run_id)
        try:
            answer = _pairs(await self._ask(key, "XINFO", "STREAM", key))
        except _NoSuchKey:
            return None
        max_deleted = answer.get(b"max-deleted-entry-id")
        return StreamInfo(
            length=answer[b"length"],
            last_generated=parse_id(answer[b"last-generated-id"]),
            first_event=self._entry(run_id, answer.get(b"first-entry")),
            last_event=self._entry(run_id, answer.get(b"last-entry")),
            max_deleted=None if max_deleted is None else parse_id(max_deleted),
            added=answer.get(b"entries-added"),
        )

    async def ping(self) -> None:
        """PING, to see whether Redis answers.

        Raises:
            LogUnavailable: it does not.
        """
        await self._checked(self._deployment.ping())

    def _events(self, run_id: RunId, entries: Iterable[_Entry]) -> list[Event]:
        form = self._streams.events(run_id)
        decode = form.decode_traced if self._traced else form.decode
        return [decode(parse_id(entry_id), _pairs(fields or ())) for entry_id, fields in entries]

    def _entry(self, run_id: RunId, entry: _Entry | None) -> Event | None:
        return None if entry is None else self._events(run_id, [entry])[0]

    async def _ask(self, key: str, *words: bytes | str | int) -> Any:
        return await self._checked(self._deployment.ask(key, *words))

    async def _checked(self, asked: Awaitable[Any]) -> Any:
        try:
            answer = await asked
        except ResponseError as error:
            text = str(error)
            if text.startswith("WRONGTYPE"):
                raise NotAStream from error
            if text.startswith("no such key"):
                raise _NoSuchKey from error
            self._failed(error)
            raise LogUnavailable(describe(error)) from error
        except (RedisError, OSError, TimeoutError) as error:
            self._failed(error)
            raise LogUnavailable(describe(error)) from error
        if self._failing:
            self._failing = False
            logger.info("redis answers again")
        return answer

    def _failed(self, error: RedisError | OSError | TimeoutError) -> None:
        self.errors[type(error).__name__] += 1
        if not self._failing:
            # Once for each outage: every viewer's reads fail in it.
            self._failing = True
            logger.warning("redis does not answer", error=describe(error))


def _pairs(answer: Any) -> dict[Any, Any]:
    """A map: RESP3 has it as one, RESP2 as a list of names and values in turn."""
    if isinstance(answer, dict):
        return answer
    items = iter(answer)
    return dict(zip(items, items, strict=True))


def xread_items(answer: Any) -> Iterable[tuple[Any, Any]]:
    """XREAD's keys and entries: RESP3 has a map, RESP2 a list of pairs, both nothing for none."""
    if answer is None:
        return ()
    return answer.items() if isinstance(answer, dict) else answer


class _NoSuchKey(Exception):
    """XINFO's answer for a key that is not there."""
