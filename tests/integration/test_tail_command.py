"""`runcast tail`: prints a run, comes back after cuts, and ends with the run."""

import asyncio
import json
import shlex
import sys
from collections.abc import Callable
from typing import Any

import pytest
from redis.asyncio import Redis

from tests.support.commands import run_command, running_command
from tests.support.edges import Edge
from tests.support.producer import append, key_of
from tests.support.waiting import eventually


def parsed(lines: str) -> list[dict[str, Any]]:
    """Lines of JSON."""
    return [json.loads(line) for line in lines.splitlines()]


async def test_prints_what_was_then_what_comes_and_ends_with_the_run(
    edge: Edge, client: Redis, run_id: str
) -> None:
    await append(client, run_id, '{"text":"before"}')
    async with running_command("tail", run_id, "--url", edge.url) as tail:
        assert (await tail.line()).endswith('  chunk         {"text":"before"}')
        assert await tail.line() == "--- caught up ---"
        await append(client, run_id, "two\nlines \x1b[31m")
        assert (await tail.line()).endswith("  chunk         two")
        assert await tail.line() == "  lines \\x1b[31m"
        await append(client, run_id, "{}", "done")
        outcome = await tail.finish()
    assert outcome.code == 0
    assert outcome.out.endswith("  done          {}\n")
    assert outcome.complaint == "the run is over: 3 events, no gap"


async def test_json_lines_are_whole_and_exact(edge: Edge, client: Redis, run_id: str) -> None:
    first = await append(client, run_id, '{"a": 1.0}')
    # Untyped and empty: an event all the same.
    second = await append(client, run_id, "", None)
    third = await append(client, run_id, "\N{GREEK SMALL LETTER ALPHA}\n", "done")
    outcome = await run_command("tail", run_id, "--url", edge.url, "--json")
    assert outcome.code == 0
    events = parsed(outcome.out)
    assert [list(event) for event in events] == [["id", "type", "data", "time"]] * 3
    assert [(event["id"], event["type"], event["data"]) for event in events] == [
        (first, "chunk", '{"a": 1.0}'),
        (second, "message", ""),
        (third, "done", "\N{GREEK SMALL LETTER ALPHA}\n"),
    ]


async def test_ids_that_producers_count_have_no_time(
    edge: Edge, client: Redis, run_id: str
) -> None:
    await append(client, run_id, "{}", "done", id="0-1")
    outcome = await run_command("tail", run_id, "--url", edge.url, "--json")
    assert parsed(outcome.out) == [{"id": "0-1", "type": "done", "data": "{}"}]


async def test_goes_on_with_the_next_event_after_its_edge_was_killed(
    start_edge: Callable[..., Edge], client: Redis, run_id: str
) -> None:
    edge = start_edge()
    first = await append(client, run_id, "1")
    async with running_command("tail", run_id, "--url", edge.url, "--json") as tail:
        assert json.loads(await tail.line())["id"] == first
        edge.process.kill()
        edge.process.wait()
        assert "trying again in" in await tail.error_line()
        second = await append(client, run_id, "2")
        start_edge(port=edge.port)
        assert json.loads(await tail.line())["id"] == second
        third = await append(client, run_id, "3", "done")
        outcome = await tail.finish()
    assert outcome.code == 0
    assert [event["id"] for event in parsed(outcome.out)] == [third]
    assert outcome.err.splitlines()[-1] == "the run is over: 3 events, no gap"


async def test_a_drained_edge_is_left_without_a_loss(
    start_edge: Callable[..., Edge], client: Redis, run_id: str
) -> None:
    edge = start_edge()
    arguments = ("tail", run_id, "--url", edge.url, "--json", "--from", "latest")
    async with running_command(*arguments) as tail:
        await eventually(lambda: edge.metric("runcast_live_subscribers") >= 1)
        # The tail has seen no event: only the place where it caught up says where it is.
        edge.stop()
        assert "trying again in" in await tail.error_line()
        first = await append(client, run_id, "1")
        start_edge(port=edge.port)
        assert json.loads(await tail.line())["id"] == first


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (("--from", "-2"), ["3", "4"]),
        (("--last-event-id", "5-1"), ["2", "3", "4"]),
        (("--types", "tool,done"), ["2", "4"]),
        (("--types", "tool"), ["2"]),
        (("--from", "-2", "--types", "tool"), []),
    ],
)
async def test_begins_and_filters_as_asked(
    edge: Edge, client: Redis, run_id: str, flags: tuple[str, ...], expected: list[str]
) -> None:
    for number, event_type in enumerate(("chunk", "tool", "chunk", "done"), 1):
        await append(client, run_id, str(number), event_type, id=f"5-{number}")
    outcome = await run_command("tail", run_id, "--url", edge.url, "--json", *flags)
    assert outcome.code == 0
    assert [event["data"] for event in parsed(outcome.out)] == expected


async def test_a_gap_is_printed_where_the_events_are_missing(
    edge: Edge, client: Redis, run_id: str
) -> None:
    ids = [await append(client, run_id, str(number)) for number in range(5)]
    await append(client, run_id, "{}", "done")
    await client.xtrim(key_of(run_id), maxlen=2, approximate=False)
    arguments = ("tail", run_id, "--url", edge.url, "--last-event-id", ids[0])
    gap = f"gap (trimmed): events after {ids[0]} are missing, the next one is {ids[4]}"
    outcome = await run_command(*arguments)
    assert outcome.out.splitlines()[0] == f"--- {gap} ---"
    assert outcome.complaint == "the run is over: 2 events, 1 gap"
    outcome = await run_command(*arguments, "--json")
    assert parsed(outcome.out)[0]["id"] == ids[4]
    assert outcome.err.splitlines() == [gap, "the run is over: 2 events, 1 gap"]


@pytest.mark.parametrize(
    ("flags", "title"),
    [
        (("--last-event-id", "nonsense"), "Not a cursor: "),
        (("--from", "yesterday"), "Bad query parameter: "),
    ],
)
async def test_a_problem_is_one_line(
    edge: Edge, run_id: str, flags: tuple[str, ...], title: str
) -> None:
    outcome = await run_command("tail", run_id, "--url", edge.url, *flags)
    assert (outcome.code, outcome.out) == (1, "")
    assert outcome.complaint.startswith(f"runcast: {title}")


async def test_a_server_that_is_no_edge_is_recognised(edge: Edge, run_id: str) -> None:
    outcome = await run_command("tail", run_id, "--url", f"{edge.url}/elsewhere")
    assert (outcome.code, outcome.out) == (1, "")
    assert outcome.complaint.startswith("runcast: Not Found: ")


@pytest.mark.parametrize("url", ["127.0.0.1:8080", "ftp://x", "http://", "http://[", "http://a:b"])
async def test_a_url_that_can_not_be_one_is_refused(run_id: str, url: str) -> None:
    outcome = await run_command("tail", run_id, "--url", url)
    assert outcome.code == 2
    assert outcome.complaint.startswith("runcast: --url is not that of an edge")


async def test_a_bad_run_id_is_refused(edge: Edge) -> None:
    outcome = await run_command("tail", "a/../b", "--url", edge.url)
    assert outcome.code == 2
    assert "is not a run id" in outcome.complaint


async def test_ctrl_c_ends_it_quietly(edge: Edge, run_id: str) -> None:
    async with running_command("tail", run_id, "--url", edge.url) as tail:
        assert await tail.line() == "--- caught up ---"
        tail.interrupt()
        outcome = await tail.finish()
    assert (outcome.code, outcome.out, outcome.err) == (130, "", "")


@pytest.mark.parametrize("flags", [(), ("--json",)])
async def test_ends_quietly_when_its_reader_has_gone_although_the_run_is_quiet(
    edge: Edge, client: Redis, run_id: str, flags: tuple[str, ...]
) -> None:
    await append(client, run_id, "1")
    words = (sys.executable, "-m", "broker", "tail", run_id, "--url", edge.url, *flags)
    shell = await asyncio.create_subprocess_shell(
        f"{{ {shlex.join(words)}; echo $? >&2; }} | head -1",
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(10):
        out, err = await shell.communicate()
    assert len(out.splitlines()) == 1
    assert err == b"141\n"
