"""Results as Markdown tables: medians, with the lowest and highest of the rounds."""

import re
from collections.abc import Iterable
from typing import Final

from benchmarks.report.results import Result, Spread, SystemResult
from benchmarks.scenarios.scenario import Quantity

__all__ = ["BUSY_PERCENT", "heading", "replace_tables", "shown", "table"]

BUSY_PERCENT: Final = 85.0
"""From here on, what shared cores with the load may have been measured instead of the system."""

_FLOOR: Final = "floor"
_NOTHING: Final = "-"
_PLACE: Final = re.compile(
    r"(?P<begin><!-- results: (?P<name>[a-z_]+) -->\n).*?(?P<end><!-- end -->)", re.DOTALL
)


def shown(value: float, digits: int) -> str:
    """A value as it is written everywhere: rounded, thousands apart."""
    # Adding 0 makes a 0 of a -0.
    return f"{round(value, digits) + 0.0:,.{digits}f}"


def heading(quantity: Quantity) -> str:
    """What a value is, and its unit."""
    return f"{quantity.title} ({quantity.unit})" if quantity.unit else quantity.title


def table(result: Result) -> str:
    """The result's table, with what there is to know about it below."""
    by_case = bool(result.case_title)
    ratio = next((each for each in result.quantities if each.against_floor), None)
    heads = ["system", *([result.case_title] if by_case else [])]
    heads += [heading(quantity) for quantity in result.quantities]
    heads += ["ratio to floor"] if ratio else []
    texts = 2 if by_case else 1
    rule = ["---"] * texts + ["--:"] * (len(heads) - texts) + ["---"]
    lines = [_row([*heads, "notes"]), _row(rule)]
    for system in result.systems.values():
        measured = [case for case in result.cases if any(case in r.cases for r in system.rounds)]
        for case in measured or [""]:
            cells = [system.title, *([case] if by_case else [])]
            cells += [
                _cell(system.spread(case, quantity.key), quantity) for quantity in result.quantities
            ]
            cells += [_ratio(result, system, case, ratio)] if ratio else []
            lines.append(_row([*cells, "; ".join(_notes(system))]))
    return "\n".join([*lines, "", _below(result)])


def replace_tables(page: str, results: Iterable[Result]) -> str:
    """The page with the table of each result between its markers, where it has them:
    ``<!-- results: fan_out -->`` and ``<!-- end -->``."""
    tables = {result.scenario: table(result) for result in results}

    def replaced(place: re.Match[str]) -> str:
        made = tables.get(place["name"])
        return place[0] if made is None else f"{place['begin']}\n{made}\n\n{place['end']}"

    return _PLACE.sub(replaced, page)


def _cell(spread: Spread | None, quantity: Quantity) -> str:
    if spread is None:
        return _NOTHING
    middle, low, high = (
        shown(value, quantity.digits) for value in (spread.median, spread.low, spread.high)
    )
    return middle if low == high else f"{middle} ({low} to {high})"


def _ratio(result: Result, system: SystemResult, case: str, quantity: Quantity) -> str:
    floor = result.systems.get(_FLOOR)
    of_floor = None if floor is None else floor.spread(case, quantity.key)
    own = system.spread(case, quantity.key)
    if of_floor is None or own is None or of_floor.median == 0:
        return _NOTHING
    return shown(own.median / of_floor.median, 2)


def _notes(system: SystemResult) -> list[str]:
    notes = []
    if system.left_out is not None:
        notes.append(f"not measured: {system.left_out}")
    if system.errors:
        rounds = f"{len(system.errors)} of {len(system.rounds)} rounds"
        notes.append(f"failed in {rounds}: {system.errors[0]}")
    for key, what in (("lost", "lost"), ("doubled", "doubled")):
        if worst := system.worst(key):
            notes.append(f"{what} up to {worst:,.0f} events")
    return [note.replace("|", "\\|") for note in notes]


def _below(result: Result) -> str:
    rounds = max((len(system.rounds) for system in result.systems.values()), default=0)
    machine = result.machine
    parameters = ", ".join(
        f"{name} {_parameter(value)}" for name, value in result.parameters.items()
    )
    return (
        f"{result.question} Medians of {rounds} rounds (lowest to highest). "
        f"{result.began[:10]}, {machine['cpu']}, {machine['cores']} cores, {machine['kernel']}, "
        f"{result.versions['redis server']}, Python {result.versions['python']}. "
        f"Parameters: {parameters.replace('_', ' ')}.{_busy(result)}"
    )


def _busy(result: Result) -> str:
    """Whom the load may have held up: their CPU time is right, their latency may be the load's."""
    names = [
        system.title
        for system in result.systems.values()
        if system.worst("others_busy_percent") > BUSY_PERCENT
    ]
    if not names:
        return ""
    return (
        f" Redis, viewers and publisher together used more than {BUSY_PERCENT:.0f} % of their "
        f"cores with: {', '.join(names)}."
    )


def _parameter(value: object) -> str:
    if isinstance(value, (list, tuple)):
        return "/".join(_parameter(each) for each in value)
    return f"{value:,}" if isinstance(value, (int, float)) else str(value)


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"
