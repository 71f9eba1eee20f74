"""`python -m tests.faults`: plays faults under load, and says what was lost."""

import asyncio
import random
import subprocess
import sys
from pathlib import Path
from typing import Final

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from tests.faults.kinds import FAULTS
from tests.faults.report import fill_page, rich_table, rows_of, versions_of, write_json
from tests.faults.round import FULL, QUICK, Round, play
from tests.faults.soak import Soak
from tests.support.servers import binary_of

_ROOT: Final = Path(__file__).resolve().parents[2]
_RESULTS: Final = _ROOT / "tests" / "faults" / "results"
_PAGE: Final = _ROOT / "docs" / "reliability.md"
_ROUNDS: Final = 5


@click.group(
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option(
    "--fault",
    "names",
    multiple=True,
    type=click.Choice(list(FAULTS)),
    help="Play only this one; may be repeated.",
)
@click.option("--rounds", type=click.IntRange(min=1), help=f"Of each.  [default: {_ROUNDS}]")
@click.option("--seed", type=int, help="Of the first round.  [default: by chance]")
@click.option(
    "--quick",
    is_flag=True,
    help="One round of each, with fewer viewers and less time: to see that all works. "
    "Changes neither docs/reliability.md nor the results.",
)
@click.option("--list", "only_list", is_flag=True, help="List the faults.")
@click.pass_context
def main(
    context: click.Context,
    names: tuple[str, ...],
    rounds: int | None,
    seed: int | None,
    quick: bool,
    only_list: bool,
) -> None:
    """Plays faults under load and checks each viewer's history. Exit code 1, if one has a flaw."""
    if context.invoked_subcommand is not None:
        return
    console = Console()
    if only_list:
        for fault in FAULTS.values():
            console.print(f"[bold]{fault.name}[/]  {fault.title}", soft_wrap=True)
        return
    first_seed = random.randrange(1 << 30) if seed is None else seed
    count = rounds or (1 if quick else _ROUNDS)
    chosen = [FAULTS[name] for name in names] or list(FAULTS.values())
    left_out = {fault.name: fault.missing for fault in chosen if fault.missing is not None}
    for name, reason in left_out.items():
        console.print(f"[yellow]without {name}: {reason}[/]")
    played: list[Round] = []
    with _progress(console) as progress:
        task = progress.add_task("", total=count * (len(chosen) - len(left_out)))
        for fault in chosen:
            if fault.name in left_out:
                continue
            progress.update(task, description=fault.name)
            for number in range(count):
                each = asyncio.run(play(fault, first_seed + number, QUICK if quick else FULL))
                played.append(each)
                _say_flaws(console, each)
                progress.advance(task)
    rows = rows_of(played, {name: str(reason) for name, reason in left_out.items()})
    console.print(rich_table(rows))
    console.print(f"seeds {first_seed} to {first_seed + count - 1}")
    if not quick:
        versions = versions_of(_redis_version())
        report = _RESULTS / ("faults.json" if not names else f"{'+'.join(sorted(names))}.json")
        write_json(report, played, rows, versions)
        console.print(f"the report is {report}", markup=False, soft_wrap=True)
        if not names:
            fill_page(_PAGE, rows, versions)
    if not all(each.clean for each in played):
        sys.exit(1)


@main.command("soak")
@click.option("--minutes", type=click.FloatRange(min=0.5), default=10.0, show_default=True)
@click.option("--seed", type=int, help="Of all chance.  [default: by chance]")
def soak(minutes: float, seed: int | None) -> None:
    """Mixed load and churn for so long: what an edge holds must not climb. Exit code 1, if it
    does, or if a viewer's history has a flaw."""
    console = Console()
    chosen = random.randrange(1 << 30) if seed is None else seed
    with _progress(console) as progress:
        task = progress.add_task("soaking", total=round(minutes * 60))
        outcome = asyncio.run(
            Soak(chosen, minutes * 60, lambda done: progress.update(task, completed=done)).run()
        )
    console.print(outcome.table())
    for flaw in outcome.flaws[:3]:
        console.print(flaw, markup=False, soft_wrap=True)
    console.print(outcome.summary(), markup=False, soft_wrap=True)
    console.print(f"seed {chosen}")
    if not outcome.clean:
        sys.exit(1)


def _say_flaws(console: Console, played: Round) -> None:
    for text in (*played.counterexamples, *played.traces):
        console.print(text, markup=False, highlight=False, soft_wrap=True)


def _redis_version() -> str:
    outcome = subprocess.run(
        [binary_of("valkey"), "--version"], capture_output=True, text=True, check=True
    )
    words = dict(word.partition("=")[::2] for word in outcome.stdout.split())
    return words["v"]


def _progress(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
    )


if __name__ == "__main__":
    main(prog_name="python -m tests.faults")
