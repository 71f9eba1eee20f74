"""How workers ask each other: what operators want to know is asked of one, and concerns all.

Each worker has an office: a Unix socket in the supervisor's directory, which nobody else may read.
Who connects sends a question, one line, and gets the answer, one JSON document. One that does not
answer in time is named, and not waited for.

That all are to leave is also written down there, for whoever takes a worker's place afterwards.
"""

import asyncio
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import orjson
import structlog

from broker.edge.admin.desk import Desk
from broker.edge.admin.processes import Answers
from broker.edge.admin.questions import Leave, Question, dump_question, load_question
from broker.engine.cancelling import cancel

__all__ = ["Office"]

logger = structlog.get_logger("runcast.admin")

_ANSWER_SECONDS: Final = 1.0
_READ_BYTES: Final = 1 << 16
_MOST_ANSWER_BYTES: Final = 8 << 20
"""A thousand rows, or ten thousand names of runs, take less."""


class Office:
    """A worker's. As an async context manager it answers the others, within the desk's."""

    def __init__(self, directory: Path, number: int, count: int) -> None:
        """
        Args:
            directory: the supervisor's.
            number: this worker's place, from 1.
            count: how many places there are.
        """
        self._directory = directory
        self._number = number
        self._count = count
        self._desk: Desk | None = None
        self._server: asyncio.Server | None = None
        self._visits: set[asyncio.Task[Any]] = set()
        self._tidies_up = False

    def open(self, desk: Desk) -> Self:
        """Itself, as who asks all; `desk` answers for this worker."""
        self._desk = desk
        return self

    def tidy_up(self) -> None:
        """Has this one leave no files behind, since there is no supervisor any more to do it."""
        self._tidies_up = True

    async def __aenter__(self) -> Self:
        if self._leaving.exists():
            await self._own.answer(Leave(float(self._leaving.read_text())))
        self._server = await asyncio.start_unix_server(self._answer, self._socket(self._number))
        return self

    async def __aexit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._server is not None:
            self._server.close()
        await cancel(list(self._visits))
        self._socket(self._number).unlink(missing_ok=True)
        if self._tidies_up:
            self._leaving.unlink(missing_ok=True)

    async def ask(self, question: Question, worker: int | None = None) -> Answers:
        """See `Processes.ask`."""
        asked = range(1, self._count + 1) if worker is None else [worker]
        asked = [number for number in asked if number <= self._count]
        if isinstance(question, Leave):
            # In one step: whoever takes a place may be reading it.
            draft = self._leaving.with_suffix(f".{self._number}")
            draft.write_text(str(question.seconds))
            draft.replace(self._leaving)
        outcomes = await asyncio.gather(*(self._ask_one(number, question) for number in asked))
        heard = dict(filter(None, outcomes))
        return Answers(heard, [number for number in asked if number not in heard])

    # ---- inside

    @property
    def _own(self) -> Desk:
        assert self._desk is not None
        return self._desk

    async def _ask_one(self, number: int, question: Question) -> tuple[int, Any] | None:
        if number == self._number:
            return number, await self._own.answer(question)
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                return number, await self._visit(number, question)
        except (OSError, TimeoutError, orjson.JSONDecodeError) as error:
            # It hangs, it is being replaced, or it has ended in the midst of its answer.
            logger.warning("worker does not answer", number=number, error=type(error).__name__)
            return None

    async def _visit(self, number: int, question: Question) -> Any:
        reader, writer = await asyncio.open_unix_connection(self._socket(number))
        try:
            writer.write(dump_question(question) + b"\n")
            answer = bytearray()
            while len(answer) <= _MOST_ANSWER_BYTES:
                piece = await reader.read(_READ_BYTES)
                if not piece:
                    break
                answer += piece
            return orjson.loads(answer)
        finally:
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._visits.add(task)
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                question = load_question(await reader.readline())
                writer.write(orjson.dumps(await self._own.answer(question)))
                await writer.drain()
        except (OSError, TimeoutError) as error:
            logger.warning("worker was not answered", error=type(error).__name__)
        finally:
            self._visits.discard(task)
            writer.close()

    def _socket(self, number: int) -> Path:
        return self._directory / f"{number}.office"

    @property
    def _leaving(self) -> Path:
        """There, with the seconds in it, once all have been told to leave."""
        return self._directory / "leaving"
