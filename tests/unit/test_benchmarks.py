"""The benchmarks' pure parts: results as files, medians, tables, plots, pacing, CPU time."""

import asyncio
import os
from collections.abc import Callable, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

pytest.importorskip("matplotlib", reason="the extra `bench` is not installed")

from benchmarks.processes import (
    CoreTimes,
    ProcessEnded,
    cpu_between,
    cpu_by_process,
    has_ended,
    memory_bytes,
    process_tree,
)
from benchmarks.report.publishing import publish
from benchmarks.report.results import Result, Round, Spread, SystemResult, load_results
from benchmarks.report.tables import replace_tables, table
from benchmarks.runner import prepare
from benchmarks.scenarios import SCENARIOS
from benchmarks.scenarios.producer import Producer
from benchmarks.scenarios.scenario import Chart, Quantity
from benchmarks.systems import OWN_SYSTEMS, PEERS
from benchmarks.systems.system import CantInstall, Requests, Running, Store
from tests.support.waiting import eventually


def measured(*rounds: dict[str, float], title: str, **more: Any) -> SystemResult:
    """A system with one case."""
    return SystemResult(
        title=title, store="redis", version="1", rounds=[Round({"": r}) for r in rounds], **more
    )


def a_result(chart: Chart = Chart.BARS) -> Result:
    failed = measured({"cpu": 90.0, "lost": 7.0}, title="Peer")
    failed.rounds.append(Round(error="TimeoutError: 3 of 10 | missing"))
    return Result(
        scenario="fan_out",
        title="Fan-out",
        question="What does it cost?",
        began="2026-01-02T03:04:05+00:00",
        quick=False,
        machine={"cpu": "A processor", "cores": 2, "kernel": "Linux 6"},
        versions={"redis server": "Valkey 9", "python": "3.11"},
        parameters={"viewers": 1000, "rates": (1, 2)},
        quantities=(
            Quantity("cpu", "CPU", "µs", 1, against_floor=True),
            Quantity("p99", "p99", "ms"),
        ),
        chart=chart,
        case_title="",
        systems={
            "runcast": measured({"cpu": 6.0}, {"cpu": 4.0}, {"cpu": 5.0}, title="Runcast"),
            "floor": measured({"cpu": 2.5}, title="Floor"),
            "peer": failed,
            "absent": SystemResult(title="Absent", store="none", left_out="not installed"),
        },
    )


def test_a_spread_is_the_median_and_the_extremes() -> None:
    assert Spread.of([3.0, 9.0, 1.0]) == Spread(3.0, 1.0, 9.0)


def test_a_value_missing_in_a_round_is_left_out_of_the_median() -> None:
    peer = a_result().systems["peer"]
    assert peer.spread("", "cpu") == Spread(90.0, 90.0, 90.0)
    assert peer.spread("", "p99") is None


def test_a_result_file_is_read_as_it_was_written(tmp_path: Path) -> None:
    result = a_result()
    path = result.save(tmp_path)
    assert [each.name for each in tmp_path.iterdir()] == [path.name]
    [loaded] = load_results(tmp_path)
    assert loaded.systems == result.systems
    assert loaded.quantities == result.quantities
    assert loaded.to_json() == result.to_json()


def test_a_result_file_has_the_medians_for_its_readers() -> None:
    assert '"median": 5.0' in a_result().to_json()


def test_the_table_has_medians_ratios_and_what_went_wrong() -> None:
    lines = table(a_result()).splitlines()
    assert lines[0] == "| system | CPU (µs) | p99 (ms) | ratio to floor | notes |"
    assert lines[1] == "| --- | --: | --: | --: | --- |"
    assert lines[2] == "| Runcast | 5.0 (4.0 to 6.0) | - | 2.00 |  |"
    assert "failed in 1 of 2 rounds: TimeoutError: 3 of 10 \\| missing" in lines[4]
    assert "lost up to 7 events" in lines[4]
    assert lines[5] == "| Absent | - | - | - | not measured: not installed |"
    assert "viewers 1,000, rates 1/2" in lines[-1]


def test_cases_have_a_row_each() -> None:
    result = a_result()
    result.case_title = "viewers"
    result.systems = {
        "runcast": SystemResult(
            "Runcast", "redis", rounds=[Round({"1": {"cpu": 1}, "10": {"cpu": 2}})]
        )
    }
    rows = table(result).splitlines()[2:4]
    assert [row.split("|")[2].strip() for row in rows] == ["1", "10"]


def test_a_load_without_cores_to_spare_is_told() -> None:
    result = a_result()
    result.systems["runcast"].rounds[0].cases[""]["others_busy_percent"] = 97.0
    assert table(result).endswith("more than 85 % of their cores with: Runcast.")


def test_tables_replace_what_is_between_their_markers_and_nothing_else() -> None:
    page = (
        "before\n<!-- results: fan_out -->\nold\n<!-- end -->\nbetween\n"
        "<!-- results: other -->\nkept\n<!-- end -->\nafter\n"
    )
    once = replace_tables(page, [a_result()])
    assert "old" not in once
    assert "| Runcast |" in once
    assert once.startswith("before\n")
    assert once.endswith("between\n<!-- results: other -->\nkept\n<!-- end -->\nafter\n")
    assert replace_tables(once, [a_result()]) == once


@pytest.mark.parametrize("chart", list(Chart))
def test_plots_are_made_from_the_files_alone(tmp_path: Path, chart: Chart) -> None:
    result = a_result(chart)
    if chart is Chart.LINES:
        result.case_title = "viewers"
        result.systems = {
            "runcast": SystemResult(
                "Runcast", "redis", rounds=[Round({"1": {"cpu": 1}, "9": {"cpu": 2}})]
            )
        }
    result.save(tmp_path)
    [plot] = publish(tmp_path, tmp_path / "no-page.md")
    text = plot.read_text()
    assert ElementTree.fromstring(text).tag.endswith("svg")
    assert "Runcast" in text
    publish(tmp_path, tmp_path / "no-page.md")
    assert plot.read_text() == text, "the same file gives the same plot"


def test_scenarios_and_systems_have_names_of_their_own() -> None:
    for named in (SCENARIOS, (*OWN_SYSTEMS, *PEERS)):
        names = [each.name for each in named]
        assert len(names) == len(set(names))


def test_quick_parameters_are_the_same_ones() -> None:
    for scenario in SCENARIOS:
        assert scenario.parameters(quick=True).keys() == scenario.parameters(quick=False).keys()


def test_a_scenario_on_redis_leaves_others_out() -> None:
    many_runs = next(each for each in SCENARIOS if each.name == "many_runs")
    suits = {system.name for system in (*OWN_SYSTEMS, *PEERS) if many_runs.suits(system)}
    assert "runcast" in suits
    assert "floor" not in suits
    assert all(s.store is Store.REDIS for s in (*OWN_SYSTEMS, *PEERS) if s.name in suits)


class Installable(type(OWN_SYSTEMS[0])):  # type: ignore[misc]
    """A system with an installation that does what it is told."""

    def __init__(self, install: Callable[[Callable[[str], None]], None]) -> None:
        self._install = install

    def install(self, say: Callable[[str], None]) -> None:
        self._install(say)


def test_what_is_missing_is_installed_only_where_that_was_asked_for() -> None:
    there = Installable(lambda say: None)
    missing = Installable(lambda say: say("building it"))
    said: list[str] = []
    without = prepare([there, missing], said.append, may_install=False)
    assert without.measured == (there,)
    assert without.left_out == ((missing, "not installed"),)
    assert said == []
    assert prepare([missing], said.append, may_install=True).measured == (missing,)
    assert said == ["building it"]


def test_what_cant_be_installed_is_left_out_with_its_reason() -> None:
    def fail(_say: Callable[[str], None]) -> None:
        raise CantInstall("no compiler\nhere")

    system = Installable(fail)
    assert prepare([system], print, may_install=True).left_out == ((system, "no compiler here"),)


class Recording(Running):
    """A system that keeps what it is given."""

    def __init__(self) -> None:
        self.batches: list[list[tuple[str, bytes]]] = []
        self.requests = Requests(0, b"", None)

    @property
    def pids(self) -> Sequence[int]:
        return []

    async def publish(self, events: Sequence[tuple[str, bytes]]) -> None:
        self.batches.append(list(events))


async def test_a_pace_publishes_so_many_events_of_that_size_numbered_by_run() -> None:
    running = Recording()
    producer = Producer(running, data_bytes=100)
    began = asyncio.get_running_loop().time()
    assert await producer.pace(cycle(["a", "b"]), per_second=1000, seconds=0.1) == 100
    took = asyncio.get_running_loop().time() - began
    events = [event for batch in running.batches for event in batch]
    assert took >= 0.09, "the last is due one event before the end"
    assert [run for run, _ in events[:3]] == ["a", "b", "a"]
    assert {len(data) for _, data in events} == {100}
    assert events[-1][1].startswith(b'{"n":49,"t":')
    assert producer.last("a") == 49
    assert len(running.batches) <= 21, "those due within a tick go together"


async def test_many_events_at_once_are_handed_over_in_batches() -> None:
    running = Recording()
    await Producer(running, 60).publish(["a"] * 1200)
    assert [len(batch) for batch in running.batches] == [500, 500, 200]


async def test_cpu_time_and_memory_of_a_process_are_told_until_it_ends() -> None:
    process = await asyncio.create_subprocess_exec(
        "sh", "-c", "while :; do :; done & wait", start_new_session=True
    )
    try:
        await eventually(lambda: len(process_tree(process.pid)) == 2)
        tree = process_tree(process.pid)
        before = cpu_by_process(tree)
        await eventually(lambda: cpu_between(before, cpu_by_process(tree)) > 0.05)
        assert memory_bytes(tree) > 0
        assert not has_ended(process.pid)
    finally:
        os.killpg(process.pid, 9)
        await process.wait()
    assert has_ended(process.pid)
    with pytest.raises(ProcessEnded):
        process_tree(process.pid)
    with pytest.raises(ProcessEnded):
        cpu_by_process([process.pid])
    with pytest.raises(ProcessEnded):
        memory_bytes([process.pid])


def test_a_process_that_began_meanwhile_counts_whole_and_one_that_ended_does_not_pass() -> None:
    assert cpu_between({1: 2.0}, {1: 3.0, 2: 0.5}) == 1.5
    with pytest.raises(ProcessEnded):
        cpu_between({1: 2.0}, {2: 0.5})


def test_cores_are_busy_between_none_and_all_of_the_time() -> None:
    cores = frozenset(os.sched_getaffinity(0))
    before = CoreTimes.read(cores)
    assert before.total > 0
    assert 0 <= CoreTimes.read(cores).busy_share_since(before) <= 1
