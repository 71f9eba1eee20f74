"""`python -m benchmarks`: measures, and makes the report."""

import sys
from pathlib import Path
from typing import Any, Final

import click
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks.processes import TooFewCores, raise_open_files, split_cores
from benchmarks.report.publishing import publish
from benchmarks.report.results import Round
from benchmarks.report.tables import BUSY_PERCENT, shown
from benchmarks.runner import Runner, Selection, prepare
from benchmarks.scenarios import SCENARIOS
from benchmarks.scenarios.scenario import Scenario
from benchmarks.systems import OWN_SYSTEMS, PEERS
from benchmarks.systems.system import System

_ROOT: Final = Path(__file__).resolve().parent.parent
_RESULTS: Final = _ROOT / "benchmarks" / "results"
_QUICK_RESULTS: Final = _ROOT / ".benchmarks" / "quick"
_PAGE: Final = _ROOT / "docs" / "performance.md"
_SCENARIOS: Final = {scenario.name: scenario for scenario in SCENARIOS}
_ROUNDS: Final = 5
_UNUSABLE: Final = 2


@click.group(
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option(
    "--scenario",
    "names",
    multiple=True,
    type=click.Choice(list(_SCENARIOS)),
    help="Measure only this one; may be repeated.",
)
@click.option(
    "--peers",
    metavar="all|none|NAME,NAME",
    help="Other systems to measure. all and names install what is missing.  "
    "[default: those that are installed]",
)
@click.option("--rounds", type=click.IntRange(min=1), help=f"Rounds.  [default: {_ROUNDS}]")
@click.option(
    "--quick",
    is_flag=True,
    help="One round, with a fraction of the viewers and of the time: to see that all works. "
    "The results go to .benchmarks/quick.",
)
@click.option(
    "--results",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where result files go.  [default: benchmarks/results]",
)
@click.option("--list", "only_list", is_flag=True, help="List scenarios and systems.")
@click.pass_context
def main(
    context: click.Context,
    names: tuple[str, ...],
    peers: str | None,
    rounds: int | None,
    quick: bool,
    results: Path | None,
    only_list: bool,
) -> None:
    """Measures Runcast and its peers under the same load."""
    if context.invoked_subcommand is not None:
        return
    console = Console()
    if only_list:
        _list(console)
        return
    chosen = [_SCENARIOS[name] for name in names] or list(SCENARIOS)
    directory = results or (_QUICK_RESULTS if quick else _RESULTS)
    directory.mkdir(parents=True, exist_ok=True)
    try:
        cores = split_cores()
    except TooFewCores as error:
        console.print(f"[red]{error}[/]")
        sys.exit(_UNUSABLE)
    raise_open_files()
    selection = prepare(
        [*OWN_SYSTEMS, *_peers(peers)],
        lambda text: console.print(text, markup=False),
        may_install=peers is not None,
    )
    _say_left_out(console, selection)
    with _progress(console) as progress:
        task = progress.add_task("measuring")

        def on_round(scenario: Scenario[Any], system: System, round_: Round) -> None:
            progress.advance(task)
            _say_round(console, scenario, system, round_)

        runner = Runner(
            selection, cores, rounds or (1 if quick else _ROUNDS), quick, directory, on_round
        )
        progress.update(task, total=sum(runner.runs(scenario) for scenario in chosen))
        for scenario in chosen:
            progress.update(task, description=scenario.name)
            runner.run(scenario)
    console.print(f"results are in {directory}", markup=False)


@main.command("plot")
@click.option(
    "--results",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    default=_RESULTS,
    help="Where the result files are.  [default: benchmarks/results]",
)
@click.option(
    "--page",
    type=click.Path(path_type=Path, dir_okay=False),
    default=_PAGE,
    help="The page whose tables are renewed, if it is there.  [default: docs/performance.md]",
)
def plot(results: Path, page: Path) -> None:
    """Makes plots and tables anew from the result files."""
    for path in publish(results, page):
        click.echo(path)


def _peers(asked: str | None) -> list[System]:
    if asked is None or asked == "all":
        return list(PEERS)
    if asked == "none":
        return []
    known = {system.name: system for system in PEERS}
    unknown = sorted(set(asked.split(",")) - known.keys())
    if unknown:
        raise click.BadParameter(
            f"there is no {unknown[0]}; there are {', '.join(known)}", param_hint="--peers"
        )
    return [known[name] for name in asked.split(",")]


def _list(console: Console) -> None:
    for scenario in SCENARIOS:
        console.print(f"[bold]{scenario.name}[/]  {scenario.question}")
    for system in (*OWN_SYSTEMS, *PEERS):
        console.print(f"[bold]{system.name}[/]  {system.title}", highlight=False)


def _say_left_out(console: Console, selection: Selection) -> None:
    for system, reason in selection.left_out:
        console.print(f"[yellow]without {system.name}: {escape(reason)}[/]")


def _say_round(console: Console, scenario: Scenario[Any], system: System, round_: Round) -> None:
    for case, values in round_.cases.items():
        told = ", ".join(
            f"{quantity.title} {shown(values[quantity.key], quantity.digits)} {quantity.unit}"
            for quantity in scenario.quantities
            if quantity.key in values
        )
        console.print(
            f"{scenario.name} [bold]{system.name}[/] {case}: {told}",
            highlight=False,
            soft_wrap=True,
        )
        for key in ("lost", "doubled"):
            if values.get(key):
                console.print(f"  [red]{key}: {values[key]:,.0f} events[/]")
        for key, what in (
            ("load_busy_percent", "the load program"),
            ("others_busy_percent", "all but the server's core"),
        ):
            if values.get(key, 0.0) > BUSY_PERCENT:
                console.print(f"  [yellow]{what}: {values[key]:.0f} % busy[/]")
    if round_.error is not None:
        console.print(
            f"{scenario.name} [bold]{system.name}[/]: [red]{escape(round_.error)}[/]",
            soft_wrap=True,
        )


def _progress(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
    )


if __name__ == "__main__":
    main(prog_name="python -m benchmarks")
