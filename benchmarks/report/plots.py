"""Results as SVG: one plot per scenario, readable on light and on dark pages."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from benchmarks.report.results import Result, Spread
from benchmarks.report.tables import heading, shown
from benchmarks.scenarios.scenario import Chart

__all__ = ["draw"]

_OURS: Final = "runcast"
_FLOOR: Final = "floor"
_OUR_COLOURS: Final = ("#0b6e99", "#6db3cf")
_PEER_GREY: Final = "#9a9a9a"
_FLOOR_GREY: Final = "#e4e4e4"
_TEXT: Final = "#222222"
_PEER_MARKERS: Final = "os^vDP*X<>"
_WIDTH: Final = 8.0
_PANEL_BASE: Final = 0.75
_BAR_HEIGHT: Final = 0.32
_TITLE_HEIGHT: Final = 0.3
_LINES_HEIGHT: Final = 4.8

# Reproducible files: names of parts, and no date.
matplotlib.rcParams.update(
    {
        "svg.hashsalt": "benchmarks",
        "svg.fonttype": "none",
        "font.family": "sans-serif",
        "font.size": 9,
        "hatch.linewidth": 0.6,
        "text.color": _TEXT,
        "axes.labelcolor": _TEXT,
        "xtick.color": _TEXT,
        "ytick.color": _TEXT,
    }
)


def draw(result: Result, directory: Path) -> Path:
    """Draws the first quantity of the result; says where."""
    figure = _lines(result) if result.chart is Chart.LINES else _bars(result)
    path = directory / f"{result.scenario}.svg"
    # A white ground of its own: dark pages would swallow the text.
    figure.savefig(path, facecolor="white", metadata={"Date": None})
    return path


@dataclass(frozen=True, slots=True)
class _Bar:
    name: str
    title: str
    spread: Spread | None
    """`None` where there is none; `missing` then says why."""
    missing: str


def _bars(result: Result) -> Figure:
    quantity = result.quantities[0]
    cases = result.cases or [""]
    count = len(result.systems)
    height = _PANEL_BASE + _BAR_HEIGHT * count
    figure = Figure(figsize=(_WIDTH, height * len(cases) + _TITLE_HEIGHT), layout="constrained")
    panels = figure.subplots(len(cases), 1, squeeze=False, sharex=True)[:, 0]
    for case, axes in zip(cases, panels, strict=True):
        _panel(axes, _bars_of(result, case), quantity.digits)
        axes.set_title(case, loc="left", fontsize=9)
    better = "more is better" if quantity.more_is_better else "less is better"
    panels[-1].set_xlabel(f"{heading(quantity)}; {better}")
    figure.suptitle(result.title, x=0.01, ha="left", fontsize=11, fontweight="bold")
    return figure


def _bars_of(result: Result, case: str) -> list[_Bar]:
    """From the bottom to the top: those without a value, then from the worst to the best."""
    quantity = result.quantities[0]
    bars = [
        _Bar(
            name,
            system.title,
            system.spread(case, quantity.key),
            "not measured" if system.left_out else "failed",
        )
        for name, system in result.systems.items()
    ]
    worst_first = 1 if quantity.more_is_better else -1

    def place(bar: _Bar) -> tuple[bool, float]:
        return bar.spread is not None, worst_first * bar.spread.median if bar.spread else 0.0

    return sorted(bars, key=place)


def _panel(axes: Axes, bars: list[_Bar], digits: int) -> None:
    for place, bar in enumerate(bars):
        if bar.spread is None:
            _write(axes, bar.missing, 0.0, place)
        else:
            _draw_bar(axes, bar.name, bar.spread, place)
            _write(axes, shown(bar.spread.median, digits), max(bar.spread.high, 0.0), place)
    axes.set_yticks(range(len(bars)), [bar.title for bar in bars])
    axes.set_ylim(-0.6, len(bars) - 0.4)
    axes.margins(x=0.12)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.tick_params(axis="x", labelbottom=True)


def _draw_bar(axes: Axes, name: str, spread: Spread, place: int) -> None:
    is_floor = name == _FLOOR
    axes.barh(
        place,
        spread.median,
        color=_colour(name),
        hatch="////" if is_floor else None,
        edgecolor="#777777" if is_floor else "none",
        linewidth=0.6 if is_floor else 0,
        height=0.66,
    )
    if spread.low != spread.high:
        axes.errorbar(
            spread.median,
            place,
            xerr=[[spread.median - spread.low], [spread.high - spread.median]],
            color="#444444",
            linewidth=0.8,
            capsize=2,
        )


def _write(axes: Axes, text: str, right_of: float, place: int) -> None:
    axes.annotate(text, (right_of, place), xytext=(4, 0), textcoords="offset points", va="center")


def _lines(result: Result) -> Figure:
    quantity = result.quantities[0]
    figure = Figure(figsize=(_WIDTH, _LINES_HEIGHT), layout="constrained")
    axes = figure.subplots()
    markers = iter(_PEER_MARKERS * len(result.systems))
    for name, system in result.systems.items():
        points = [
            (float(case), spread.median)
            for case in result.cases
            if (spread := system.spread(case, quantity.key)) is not None
        ]
        if points:
            ours = name.startswith(_OURS)
            axes.plot(
                *zip(*points, strict=True),
                label=system.title,
                color=_colour(name) if name != _FLOOR else "#777777",
                linestyle=":" if name == _FLOOR else "-",
                linewidth=2.2 if ours else 1.0,
                marker=next(markers),
                markersize=5,
                zorder=3 if ours else 2,
            )
    axes.set_xscale("log")
    axes.set_yscale("log")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
    axes.set_xlabel(result.case_title)
    axes.set_ylabel(heading(quantity))
    axes.grid(which="major", color="#dddddd", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    if axes.lines:
        figure.legend(loc="outside right upper", frameon=False)
    figure.suptitle(result.title, x=0.01, ha="left", fontsize=11, fontweight="bold")
    return figure


def _colour(name: str) -> str:
    if name == _FLOOR:
        return _FLOOR_GREY
    if name.startswith(_OURS):
        return _OUR_COLOURS[name != _OURS]
    return _PEER_GREY
