"""Rounds as a table: on the terminal, as JSON, and in docs/reliability.md."""

import json
import platform
import re
import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from rich.table import Table

from tests.faults.checker import FlawKind
from tests.faults.kinds import FAULTS
from tests.faults.round import Round

__all__ = ["Row", "fill_page", "rich_table", "rows_of", "versions_of", "write_json"]

_PLACE: Final = re.compile(
    r"(?P<begin><!-- faults -->\n).*?(?P<end><!-- end -->)",
    re.DOTALL,
)
_HEADS: Final = (
    "fault",
    "runs",
    "events",
    "viewers",
    "connections",
    "delivered",
    "lost",
    "doubled",
    "out of order",
    "gaps said",
    "gaps without cause",
    "other flaws",
    "recovery p50 / max (s)",
)


@dataclass(frozen=True, slots=True)
class Row:
    """All rounds of a fault."""

    fault: str
    rounds: int
    runs: int
    events: int
    viewers: int
    connections: int
    delivered: int
    lost: int
    doubled: int
    out_of_order: int
    gaps: dict[str, int]
    gaps_without_cause: int
    others: dict[str, int]
    """Flaws of other kinds."""
    recovery_p50: float
    recovery_max: float
    left_out: str | None = None
    """Why it was not played."""

    @property
    def clean(self) -> bool:
        """Whether nothing was wrong."""
        counted = (self.lost, self.doubled, self.out_of_order, self.gaps_without_cause)
        return not any(counted) and not self.others

    def cells(self) -> list[str]:
        """As text, in the order of the heads."""
        if self.left_out is not None:
            return [self.fault, *("-" * (len(_HEADS) - 2)), f"not played: {self.left_out}"]
        gaps = ", ".join(f"{count} {reason}" for reason, count in sorted(self.gaps.items()))
        others = ", ".join(f"{count} {kind}" for kind, count in sorted(self.others.items()))
        return [
            self.fault,
            *(f"{n:,}" for n in (self.runs, self.events, self.viewers, self.connections)),
            f"{self.delivered:,}",
            *(str(n) for n in (self.lost, self.doubled, self.out_of_order)),
            gaps or "0",
            str(self.gaps_without_cause),
            others or "0",
            f"{self.recovery_p50:.2f} / {self.recovery_max:.2f}",
        ]


def rows_of(rounds: Sequence[Round], left_out: dict[str, str]) -> list[Row]:
    """A row for each fault, in the order of the catalogue.

    Args:
        rounds: those that were played.
        left_out: why others were not, by name.
    """
    rows = []
    for name in FAULTS:
        own = [each for each in rounds if each.fault == name]
        if own:
            rows.append(_row(name, own))
        elif name in left_out:
            rows.append(_left_out(name, left_out[name]))
    return rows


def rich_table(rows: Sequence[Row]) -> Table:
    """For the terminal."""
    table = Table(box=None, pad_edge=False)
    for index, head in enumerate(_HEADS):
        table.add_column(head, justify="right" if index else "left")
    for row in rows:
        table.add_row(*row.cells(), style=None if row.clean else "red")
    return table


def write_json(
    path: Path, rounds: Sequence[Round], rows: Sequence[Row], versions: dict[str, str]
) -> None:
    """Everything, for whoever wants to look closer."""
    document: dict[str, Any] = {
        "written": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": versions,
        "rows": [asdict(row) for row in rows],
        "rounds": [asdict(each) for each in rounds],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def fill_page(page: Path, rows: Sequence[Row], versions: dict[str, str]) -> None:
    """Renews the table between its markers, ``<!-- faults -->`` and ``<!-- end -->``."""
    lines = [
        _line(_HEADS),
        _line(["---", *(["--:"] * (len(_HEADS) - 1))]),
        *(_line(row.cells()) for row in rows),
    ]
    rounds = sum(row.rounds for row in rows)
    below = (
        f"{rounds} rounds, {datetime.now(UTC).date()}: "
        + ", ".join(f"{name} {version}" for name, version in versions.items())
        + "."
    )
    table = "\n".join([*lines, "", below])
    text = page.read_text(encoding="utf-8")
    made = _PLACE.sub(lambda place: f"{place['begin']}\n{table}\n\n{place['end']}", text)
    page.write_text(made, encoding="utf-8")


def versions_of(redis_version: str) -> dict[str, str]:
    """With what the rounds were played."""
    return {
        "Valkey": redis_version,
        "Python": platform.python_version(),
        platform.system(): platform.release(),
    }


def _row(name: str, rounds: Sequence[Round]) -> Row:
    flaws: Counter[str] = Counter()
    gaps: Counter[str] = Counter()
    for each in rounds:
        flaws.update(each.flaws)
        gaps.update(each.gaps)
        flaws["stack trace of an edge"] += len(each.traces)
    shown = (
        FlawKind.LOST,
        FlawKind.DOUBLED,
        FlawKind.OUT_OF_ORDER,
        FlawKind.GAP_WITHOUT_CAUSE,
    )
    recovery = [seconds for each in rounds for seconds in each.recovery_seconds]
    return Row(
        fault=name,
        rounds=len(rounds),
        runs=sum(each.runs for each in rounds),
        events=sum(each.events for each in rounds),
        viewers=sum(each.viewers for each in rounds),
        connections=sum(each.connections for each in rounds),
        delivered=sum(each.frames for each in rounds),
        lost=flaws[FlawKind.LOST],
        doubled=flaws[FlawKind.DOUBLED],
        out_of_order=flaws[FlawKind.OUT_OF_ORDER],
        gaps=dict(gaps),
        gaps_without_cause=flaws[FlawKind.GAP_WITHOUT_CAUSE],
        others={kind: count for kind, count in flaws.items() if count and kind not in shown},
        recovery_p50=statistics.median(recovery),
        recovery_max=max(recovery),
    )


def _left_out(name: str, reason: str) -> Row:
    return Row(name, 0, 0, 0, 0, 0, 0, 0, 0, 0, {}, 0, {}, 0.0, 0.0, reason)


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
