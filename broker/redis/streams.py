"""The engine's `Log`, over Redis: XREAD, XREVRANGE and XINFO STREAM of one key at a time."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from string import Formatter
from typing import Any, Final

import structlog
from redis.exceptions import RedisError, ResponseError

from broker.engine.log import LogUnavailable, NotAStream, StreamInfo
from broker.redis.connections import describe
from broker.redis.link import Links
from broker.wire.event import Event, EventFormat
from broker.wire.ids import RunId, StreamId

__all__ = ["KeyTemplate", "RedisLog", "parse_id"]

logger = structlog.get_logger("runcast.redis")

_PLACEHOLDER: Final = "{run_id}"


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

    def __init__(self, links: Links, keys: KeyTemplate, events: EventFormat) -> None:
        self._links = links
        self._keys = keys
        self._events = events
        self.errors: Counter[str] = Counter()
        """Failed commands, by kind of error."""
        self._failing = False

    async def read(self, run_id: RunId, after: StreamId, count: int) -> Sequence[Event]:
        """XREAD COUNT; without BLOCK, so a missing key and an empty stream are the same."""
        key = self._keys.key(run_id)
        answer = await self._ask("XREAD", "COUNT", count, "STREAMS", key, str(after))
        if not answer:
            return ()
        return [self._event(entry_id, fields) for entry_id, fields in answer[0][1]]

    async def read_many(
        self, after: Mapping[RunId, StreamId], count: int
    ) -> Mapping[RunId, Sequence[Event]]:
        """XREAD COUNT with many keys, without BLOCK."""
        runs = {self._keys.key(run_id).encode(): run_id for run_id in after}
        answer = await self._ask(
            *("XREAD", "COUNT", count, "STREAMS"),
            *runs,
            *(str(position) for position in after.values()),
        )
        return {
            runs[key]: [self._event(entry_id, fields) for entry_id, fields in entries]
            for key, entries in answer or ()
        }

    async def newest(self, run_id: RunId, count: int, before: StreamId | None) -> list[StreamId]:
        """XREVRANGE COUNT, from the end or from below `before`."""
        highest = "+" if before is None else f"({before}"
        key = self._keys.key(run_id)
        answer = await self._ask("XREVRANGE", key, highest, "-", "COUNT", count)
        return [parse_id(entry_id) for entry_id, _ in answer or ()]

    async def info(self, run_id: RunId) -> StreamInfo | None:
        """XINFO STREAM. Redis before 7.0 lacks the counters; see `StreamInfo`."""
        try:
            answer = _pairs(await self._ask("XINFO", "STREAM", self._keys.key(run_id)))
        except _NoSuchKey:
            return None
        max_deleted = answer.get(b"max-deleted-entry-id")
        return StreamInfo(
            length=answer[b"length"],
            last_generated=parse_id(answer[b"last-generated-id"]),
            first_event=self._entry(answer.get(b"first-entry")),
            last_event=self._entry(answer.get(b"last-entry")),
            max_deleted=None if max_deleted is None else parse_id(max_deleted),
            added=answer.get(b"entries-added"),
        )

    async def ping(self) -> None:
        """PING, to see whether Redis answers.

        Raises:
            LogUnavailable: it does not.
        """
        await self._ask("PING")

    def _event(self, entry_id: bytes, fields: Sequence[bytes] | None) -> Event:
        return self._events.decode(parse_id(entry_id), _pairs(fields or ()))

    def _entry(self, entry: tuple[bytes, Sequence[bytes]] | None) -> Event | None:
        return None if entry is None else self._event(*entry)

    async def _ask(self, *words: bytes | str | int) -> Any:
        try:
            answer = await self._links.ask(*words)
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


def _pairs(flat: Sequence[Any]) -> dict[Any, Any]:
    """What RESP2 has as a list of names and values in turn."""
    items = iter(flat)
    return dict(zip(items, items, strict=True))


class _NoSuchKey(Exception):
    """XINFO's answer for a key that is not there."""
