"""Producers: append to a run, alone and in bursts, and log what they know of each append."""

import asyncio
import random
import time
from typing import Any, Final

from redis.exceptions import RedisError, ResponseError

from tests.faults.history import Append, History, Label, Outcome
from tests.faults.stores import Worker
from tests.faults.watcher import TERMINAL_TYPE
from tests.support.producer import key_of
from tests.support.waiting import eventually

__all__ = ["NOTE_TYPE", "Producer"]

NOTE_TYPE: Final = "note"
"""A type that some viewers ask for alone."""
_BURSTS: Final = (1, 1, 1, 2, 5, 20)
_PADDINGS: Final = (0, 0, 0.1, 0.9, 4)
"""Shares of the mean padding."""
_CERTAIN_SECONDS: Final = 30.0


class Producer:
    """One worker of a run. Each append has a label of its own, and is never repeated."""

    def __init__(
        self,
        run: str,
        number: int,
        worker: Worker,
        history: History,
        source: random.Random,
        padding: int,
    ) -> None:
        """
        Args:
            run: where to.
            number: of this producer; no other of the run may have it.
            worker: its own, which must not retry: a repeated append could be there twice.
            history: where every append is logged.
            source: of all chance.
            padding: bytes that events are made longer by, on average.
        """
        self._padding = padding
        self._run = run
        self._number = number
        self._worker = worker
        self._history = history
        self._source = source
        self._next = 0

    async def produce(self, until: asyncio.Event, events_per_second: float) -> None:
        """Appends at about this rate until the event is set."""
        while not until.is_set():
            count = self._source.choice(_BURSTS)
            await self._append(count)
            pause = self._source.uniform(0.5, 1.5) * count / events_per_second
            try:
                async with asyncio.timeout(pause):
                    await until.wait()
            except TimeoutError:
                continue

    async def append_certainly(self, *, final: bool = False) -> Label:
        """Appends until one was answered; its label."""

        async def appended() -> Label | None:
            (append,) = await self._append(1, final=final)
            return append.label if append.outcome is Outcome.OK else None

        label = await eventually(appended, within=_CERTAIN_SECONDS)
        assert label is not None
        return label

    async def _append(self, count: int, *, final: bool = False) -> list[Append]:
        """Appends as many in one go; if there are several, half of the time in a transaction."""
        calm = final or count == 1
        appends = [self._invoked(final=final, calm=calm) for _ in range(count)]
        entries = [self._fields(append) for append in appends]
        try:
            answers = await self._send(entries)
        except (RedisError, OSError) as error:
            answers = [error] * count
        now = time.monotonic()
        for append, answer in zip(appends, answers, strict=True):
            append.returned_at = now
            if isinstance(answer, str):
                append.outcome, append.id = Outcome.OK, answer
            else:
                refused = isinstance(answer, ResponseError)
                append.outcome = Outcome.FAILED if refused else Outcome.UNKNOWN
                self._worker.learn(answer)
        return appends

    async def _send(self, entries: list[dict[Any, Any]]) -> list[Any]:
        """Sends appends; for each its id, or an error."""
        key = key_of(self._run)
        together = len(entries) > 1 and self._source.random() < 0.5
        async with self._worker.client.pipeline(transaction=together) as pipeline:
            for entry in entries:
                pipeline.xadd(key, entry)
            answers: list[Any] = await pipeline.execute(raise_on_error=False)
        return answers

    def _fields(self, append: Append) -> dict[Any, Any]:
        padding = "x" * int(self._padding * self._source.choice(_PADDINGS))
        return {"type": append.type, "data": append.label.data(padding)}

    def _invoked(self, *, final: bool, calm: bool) -> Append:
        label = Label(self._run, self._number, self._next)
        self._next += 1
        if final:
            type_ = TERMINAL_TYPE
        else:
            type_ = NOTE_TYPE if calm or self._source.random() < 0.3 else "chunk"
        append = Append(label, type_, final, time.monotonic())
        self._history.appends[label] = append
        return append
