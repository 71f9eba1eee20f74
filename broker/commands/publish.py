"""`runcast publish`: appends to a run, one event from flags or many from standard input."""

import asyncio
import contextlib
import sys
import time
from collections.abc import AsyncGenerator, Coroutine, Iterator
from dataclasses import dataclass, field
from typing import Final

import click
from redis.exceptions import RedisError, ResponseError
from rich.console import Console
from rich.live import Live
from rich.text import Text

from broker.commands.failure import INTERRUPTED, UNUSABLE, CommandFailed
from broker.commands.ndjson import BadEvent, NewEvent, new_event, parse_line
from broker.commands.redis_in_use import NO_REDIS, START_OR_GIVE_ONE, redis_in_use
from broker.commands.standard_input import UnreadableInput, numbered_lines
from broker.engine.cancelling import cancel
from broker.redis.addresses import shown_url
from broker.redis.appending import RunEnded
from broker.redis.connections import describe
from broker.redis.deployment import Deployment
from broker.redis.opening import make_deployment
from broker.redis.persistence import AppendError, NotAppended
from broker.redis.publisher import Publisher
from broker.settings import Settings
from broker.wire.ids import RunId, StreamId, is_run_id
from broker.wire.problem import BadRunId

__all__ = ["run_publish"]

_STANDARD_INPUT: Final = 0
_REFRESHES_PER_SECOND: Final = 8


@dataclass(slots=True)
class _Tally:
    """What Redis has acknowledged."""

    appended: int = 0
    last: StreamId | None = None
    under_way: bool = False
    """Whether an event was sent that is not acknowledged yet."""
    started: float = field(default_factory=time.monotonic)

    def add(self, entry_id: StreamId) -> None:
        self.under_way = False
        self.appended += 1
        self.last = entry_id

    def counted(self) -> str:
        """How many, as words."""
        return f"{self.appended:,} event{'' if self.appended == 1 else 's'}"

    def pace(self) -> str:
        """How many, and how fast."""
        seconds = max(time.monotonic() - self.started, 0.001)
        return f"{self.counted()}, {self.appended / seconds:,.0f} events/s"

    def before(self) -> str:
        """What is certain when something went wrong after it."""
        if self.last is None:
            return "no event was appended before it"
        was = "was" if self.appended == 1 else "were"
        return f"{self.counted()} {was} appended before it, the last as {self.last}"

    def interrupted(self) -> str:
        """What is certain when the user stopped it."""
        last = "" if self.last is None else f", the last as {self.last}"
        doubt = "; one more may be in the run" if self.under_way else ""
        return f"interrupted: {self.counted()} appended{last}{doubt}"


def run_publish(settings: Settings, run_id: str, event_type: str | None, data: str | None) -> None:
    """Runs the command.

    Args:
        settings: which Redis, the key template and the field names.
        run_id: the run, unchecked.
        event_type: of the single event; `None` if not given.
        data: of the single event; `None` if not given. Neither means that lines are read.

    Raises:
        CommandFailed: it could not be used as given, or not everything was appended.
    """
    if not is_run_id(run_id):
        raise CommandFailed(BadRunId(run_id).detail, UNUSABLE)
    single = _single_event(event_type, data)
    if single is None and (sys.stdin is None or sys.stdin.isatty()):
        raise CommandFailed(
            "nothing to publish: give --type or --data for one event, or pipe in lines of JSON "
            "(see runcast publish --help)",
            UNUSABLE,
        )
    url = redis_in_use(settings)
    if url is None:
        raise CommandFailed(f"{NO_REDIS}: {START_OR_GIVE_ONE}", UNUSABLE)
    tally = _Tally()
    try:
        asyncio.run(_interruptible(_publish(settings, url, RunId(run_id), single, tally)))
    except KeyboardInterrupt:
        click.echo(tally.interrupted(), err=True)
        raise SystemExit(INTERRUPTED) from None
    if tally.last is not None:
        click.echo(str(tally.last))


def _single_event(event_type: str | None, data: str | None) -> NewEvent | None:
    if event_type is None and data is None:
        return None
    try:
        return new_event(event_type, data)
    except BadEvent as error:
        raise CommandFailed(str(error), UNUSABLE) from None


async def _interruptible(work: Coroutine[None, None, None]) -> None:
    """Does the work in a task of its own: `cancel` ends it even if a first attempt gets lost."""
    task = asyncio.create_task(work, name="publish")
    try:
        await asyncio.wait((task,))
    finally:
        await cancel((task,))
    task.result()


async def _publish(
    settings: Settings, url: str, run_id: RunId, single: NewEvent | None, tally: _Tally
) -> None:
    deployment = make_deployment(url, connections=1, timeout_seconds=settings.redis_timeout_seconds)
    async with deployment:
        await _reach(deployment, url)
        publisher = Publisher(deployment, settings.keys, settings.events)
        if single is not None:
            await _append(publisher, run_id, single, "the event", tally)
        else:
            with _shown(tally):
                await _append_lines(publisher, run_id, tally)
            click.echo(f"appended {tally.pace()}", err=True)


async def _reach(deployment: Deployment, url: str) -> None:
    """Fails before the first event where Redis can't be reached, so that nothing is in doubt."""
    try:
        await deployment.ping()
    except ResponseError:
        # It answers; a producer that may not PING may well append.
        return
    except (RedisError, OSError, TimeoutError) as error:
        raise CommandFailed(
            f"Redis at {shown_url(url)} can't be used, nothing was appended: {describe(error)}"
        ) from error


async def _append_lines(publisher: Publisher, run_id: RunId, tally: _Tally) -> None:
    lines: AsyncGenerator[tuple[int, bytes], None] = numbered_lines(_STANDARD_INPUT)
    async with contextlib.aclosing(lines):
        try:
            async for number, line in lines:
                event = _parsed(number, line, tally)
                if event is not None:
                    await _append(publisher, run_id, event, f"the event of line {number}", tally)
        except UnreadableInput as error:
            raise CommandFailed(f"{error}; {tally.before()}") from error


def _parsed(number: int, line: bytes, tally: _Tally) -> NewEvent | None:
    try:
        return parse_line(line)
    except BadEvent as error:
        raise CommandFailed(f"line {number}: {error}; {tally.before()}") from None


async def _append(
    publisher: Publisher, run_id: RunId, event: NewEvent, which: str, tally: _Tally
) -> None:
    """Appends one event, or says what is certain of it."""
    tally.under_way = True
    try:
        tally.add(await publisher.publish(run_id, event.type, event.data))
    except RunEnded as error:
        raise CommandFailed(f"{which} is not in the run: {error}; {tally.before()}") from error
    except AppendError as error:
        outcome = (
            "was refused and is not in the run"
            if isinstance(error, NotAppended)
            else "may or may not be in the run"
        )
        raise CommandFailed(f"{which} {outcome} ({_cause(error)}); {tally.before()}") from error


def _cause(error: AppendError) -> str:
    """What Redis said."""
    return describe(error.__cause__) if isinstance(error.__cause__, Exception) else str(error)


@contextlib.contextmanager
def _shown(tally: _Tally) -> Iterator[None]:
    """A line that follows the tally, on standard error where that is a terminal."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield
        return
    with Live(
        get_renderable=lambda: Text(tally.pace(), style="dim"),
        console=console,
        refresh_per_second=_REFRESHES_PER_SECOND,
        transient=True,
    ):
        yield
