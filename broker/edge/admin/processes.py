"""All processes of an edge, whichever of them was asked from outside."""

from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Any, NamedTuple, Protocol, Self

from broker.edge.admin.desk import Desk
from broker.edge.admin.questions import Question

__all__ = ["Alone", "Answers", "Processes"]


class Answers(NamedTuple):
    """What came of a question."""

    heard: dict[int, Any]
    """What each worker said, by its number; see `Desk.answer`."""
    silent: list[int]
    """Those that said nothing in time."""


class Processes(AbstractAsyncContextManager["Processes"], Protocol):
    """Who can be asked, while the context lasts."""

    async def ask(self, question: Question, worker: int | None = None) -> Answers:
        """Asks all of them, or one; of a worker that there is none, nothing is heard."""


class Alone:
    """There is one."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        return None

    async def ask(self, question: Question, worker: int | None = None) -> Answers:
        """See `Processes.ask`."""
        if worker not in (None, self._desk.worker):
            return Answers({}, [])
        return Answers({self._desk.worker: await self._desk.answer(question)}, [])
