"""What `runcast tail` prints: for people, or one JSON object a line."""

import sys
from collections.abc import Callable
from datetime import datetime
from typing import Any, Final

import orjson
from rich.console import Console
from rich.text import Text

from broker.commands.following import SeenEvent
from broker.wire.ids import StreamId

__all__ = ["HumanOutput", "JsonOutput", "time_of"]

_TYPE_WIDTH: Final = 12
_CONTROLS: Final = {
    code: f"\\x{code:02x}"
    for code in (*range(0x20), *range(0x7F, 0xA0))
    if chr(code) not in ("\n", "\t")
}


def time_of(event_id: str) -> datetime | None:
    """When Redis took the event; `None` for ids that producers count up by themselves."""
    try:
        return StreamId.parse(event_id).time()
    except ValueError:
        return None


class _Output:
    """Counts; and says on standard error what is not the run's own."""

    def __init__(self) -> None:
        self.events = 0
        self.gaps = 0
        self._notes = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)

    def waiting(self, why: str, seconds: float) -> None:
        """Says that there is no connection."""
        self._note(f"not connected ({why}): trying again in {seconds:.1f} s")

    def over(self) -> None:
        """Says what there was, after the end."""
        gaps = "no gap" if not self.gaps else f"{self.gaps} gap{'' if self.gaps == 1 else 's'}"
        events = f"{self.events:,} event{'' if self.events == 1 else 's'}"
        self._note(f"the run is over: {events}, {gaps}")

    def _note(self, text: str, style: str = "dim") -> None:
        self._notes.print(Text(_shown(text), style=style))


class JsonOutput(_Output):
    """One JSON object a line on standard output, flushed one by one, and nothing else there."""

    def event(self, event: SeenEvent) -> None:
        """Prints it, its data as the text that it is."""
        self.events += 1
        document = {"id": event.id, "type": event.type, "data": event.data}
        moment = time_of(event.id)
        if moment is not None:
            document["time"] = _iso(moment)
        sys.stdout.buffer.write(orjson.dumps(document, option=orjson.OPT_APPEND_NEWLINE))
        sys.stdout.buffer.flush()

    def gap(self, gap: dict[str, Any]) -> None:
        """Says it on standard error."""
        self.gaps += 1
        self._note(_gap_text(gap), "bold red")

    def caught_up(self) -> None:
        """Says nothing."""


class HumanOutput(_Output):
    """Time, type and data on standard output, in colour where that is a terminal."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        """
        Args:
            now: the present time, with its zone: events of other days are shown with their date.
        """
        super().__init__()
        self._now = now
        self._console = Console(highlight=False, markup=False, soft_wrap=True)

    def event(self, event: SeenEvent) -> None:
        """Prints it."""
        self.events += 1
        data = _shown(event.data).replace("\n", "\n  ")
        self._print(
            Text.assemble(
                (self._when(event.id), "dim"),
                "  ",
                (f"{_shown(event.type):<{_TYPE_WIDTH}}", "cyan"),
                "  ",
                data,
            )
        )

    def gap(self, gap: dict[str, Any]) -> None:
        """Prints it where the events are missing."""
        self.gaps += 1
        self._print(Text(f"--- {_shown(_gap_text(gap))} ---", style="bold red"))

    def caught_up(self) -> None:
        """Prints a line between what was and what happens now."""
        self._print(Text("--- caught up ---", style="dim"))

    def _when(self, event_id: str) -> str:
        moment = time_of(event_id)
        if moment is None:
            return _shown(event_id)
        now = self._now()
        local = moment.astimezone(now.tzinfo)
        form = "" if local.date() == now.date() else "%Y-%m-%d "
        return local.strftime(f"{form}%H:%M:%S.") + f"{local.microsecond // 1000:03}"

    def _print(self, line: Text) -> None:
        if self._console.is_terminal:
            self._console.print(line)
            return
        # rich would end the process by itself when the reader of a pipe has gone.
        sys.stdout.write(line.plain + "\n")
        sys.stdout.flush()


def _shown(text: str) -> str:
    """`text` with control characters spelt out: a run must not steer the viewer's terminal."""
    return text.translate(_CONTROLS)


def _gap_text(gap: dict[str, Any]) -> str:
    resumed = gap.get("resumed_at")
    onwards = "" if resumed is None else f", the next one is {resumed}"
    return f"gap ({gap.get('reason')}): events after {gap.get('requested')} are missing{onwards}"


def _iso(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
