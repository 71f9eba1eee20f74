"""`runcast publish`: appends from flags and from lines, and what it says when it can't."""

import os
import pty
import re
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from tests.support.commands import run_command, running_command
from tests.support.producer import key_of
from tests.support.servers import RedisProcess
from tests.support.waiting import eventually


async def entries(client: Redis, run_id: str) -> list[tuple[str, dict[str, str]]]:
    """The run's entries: id and fields."""
    found: Any = await client.xrange(key_of(run_id))
    return list(found)


async def appended(client: Redis, run_id: str, after: str = "0-0") -> str:
    """Waits for an entry after this id; its id."""

    async def following() -> Any:
        return await client.xrange(key_of(run_id), f"({after}", count=1)

    # A command takes its time to start on a busy machine.
    entry_id: str = (await eventually(following, within=20))[0][0]
    return entry_id


@pytest.mark.parametrize(
    ("flags", "fields"),
    [
        (("--type", "chunk", "--data", '{"a": 1}'), {"type": "chunk", "data": '{"a": 1}'}),
        (("--type", "done"), {"type": "done", "data": "{}", "final": "1"}),
        (("--data", "é \n"), {"data": "é \n"}),
        (("--data", ""), {"data": ""}),
    ],
)
async def test_one_event_from_flags(
    redis_url: str, client: Redis, run_id: str, flags: tuple[str, ...], fields: dict[str, str]
) -> None:
    outcome = await run_command("publish", run_id, "--redis-url", redis_url, *flags)
    assert (outcome.code, outcome.err) == (0, "")
    assert await entries(client, run_id) == [(outcome.out.strip(), fields)]
    assert await client.ttl(key_of(run_id)) > 0


async def test_lines_in_order_and_the_last_id(redis_url: str, client: Redis, run_id: str) -> None:
    # A line longer than a pipe holds, and a last one without its line feed.
    long = "x" * 200_000
    lines = [b'{"type":"n","data":%d}' % number for number in range(500)]
    given = b"\n".join([*lines, b"", b'{"data":"%b"}' % long.encode(), b'{"type":"done"}'])
    outcome = await run_command("publish", run_id, "--redis-url", redis_url, given=given)
    found = await entries(client, run_id)
    assert [fields["data"] for _, fields in found] == [*map(str, range(500)), long, "{}"]
    assert outcome.code == 0
    assert outcome.out.strip() == found[-1][0]
    assert outcome.complaint.startswith("appended 502 events")


async def test_a_regular_file_is_read_too(
    redis_url: str, client: Redis, run_id: str, tmp_path: Path
) -> None:
    # Files can't be waited for, unlike pipes.
    path = tmp_path / "events.ndjson"
    path.write_bytes(b'{"n":1}\n{"n":2}\n')
    descriptor = os.open(path, os.O_RDONLY)
    try:
        outcome = await run_command("publish", run_id, "--redis-url", redis_url, stdin=descriptor)
    finally:
        os.close(descriptor)
    assert outcome.code == 0
    assert [fields["data"] for _, fields in await entries(client, run_id)] == ['{"n":1}', '{"n":2}']


async def test_a_slow_producers_line_is_appended_at_once(
    redis_url: str, client: Redis, run_id: str
) -> None:
    async with running_command("publish", run_id, "--redis-url", redis_url) as command:
        last = "0-0"
        for number in range(3):
            await command.write(b'{"n":%d}\n' % number)
            last = await appended(client, run_id, last)
        outcome = await command.finish()
    assert outcome.code == 0


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (b"nonsense", "runcast: line 4: not JSON"),
        (b"[]", "runcast: line 4: not a JSON object"),
        (b'{"type":"runcast.gap"}', "runcast: line 4: 'runcast.gap' can't be an event type"),
    ],
)
async def test_a_bad_line_stops_it_and_says_where(
    redis_url: str, client: Redis, run_id: str, bad: bytes, why: str
) -> None:
    given = b'{"n":1}\n\n{"n":2}\n' + bad + b'\n{"n":3}\n'
    outcome = await run_command("publish", run_id, "--redis-url", redis_url, given=given)
    last = (await entries(client, run_id))[-1][0]
    assert (outcome.code, outcome.out) == (1, "")
    assert outcome.complaint.startswith(why)
    assert outcome.complaint.endswith(f"2 events were appended before it, the last as {last}")
    assert await client.xlen(key_of(run_id)) == 2


async def test_when_redis_goes_away_it_says_what_is_certain_and_what_is_not(
    own_redis: RedisProcess, run_id: str
) -> None:
    async with running_command("publish", run_id, "--redis-url", own_redis.url) as command:
        async with Redis.from_url(own_redis.url, decode_responses=True) as client:
            await command.write(b'{"n":1}\n')
            first = await appended(client, run_id)
            # That the second one is there shows that the answer to the first was read.
            await command.write(b'{"n":2}\n')
            await appended(client, run_id, first)
        own_redis.kill()
        outcome = await command.finish(b'{"n":3}\n')
    assert (outcome.code, outcome.out) == (1, "")
    said = re.match(
        r"runcast: the event of line (2|3) may or may not be in the run \(.*\); "
        r"(1|2) events? (was|were) appended before it, the last as \d+-\d+$",
        outcome.complaint,
    )
    assert said is not None, outcome.complaint
    assert int(said[1]) == int(said[2]) + 1


async def test_a_redis_that_never_answered_leaves_no_doubt(run_id: str) -> None:
    url = "redis://someone:secret@127.0.0.1:1/0"
    outcome = await run_command("publish", run_id, "--redis-url", url, "--data", "1")
    assert outcome.code == 1
    assert "redis://127.0.0.1:1/0 can't be used, nothing was appended" in outcome.complaint
    assert "secret" not in outcome.err


async def test_a_refused_event_is_certainly_not_in_the_run(
    redis_url: str, client: Redis, run_id: str
) -> None:
    await client.set(key_of(run_id), "not a stream")
    outcome = await run_command("publish", run_id, "--redis-url", redis_url, "--data", "1")
    assert outcome.code == 1
    assert "the event was refused and is not in the run" in outcome.complaint


async def test_what_comes_after_the_end_is_refused(
    redis_url: str, client: Redis, run_id: str
) -> None:
    given = b'{"n":1}\n{"type":"done"}\n{"n":2}\n'
    outcome = await run_command("publish", run_id, "--redis-url", redis_url, given=given)
    last = (await entries(client, run_id))[-1][0]
    assert (outcome.code, outcome.out) == (1, "")
    assert outcome.complaint == (
        f"runcast: the event of line 3 is not in the run: the run has ended, with {last}; "
        f"2 events were appended before it, the last as {last}"
    )


async def test_ctrl_c_says_how_far_it_came(redis_url: str, client: Redis, run_id: str) -> None:
    async with running_command("publish", run_id, "--redis-url", redis_url) as command:
        await command.write(b'{"n":1}\n')
        first = await appended(client, run_id)
        # That the second one is there shows that the answer to the first was read.
        await command.write(b'{"n":2}\n')
        await appended(client, run_id, first)
        command.interrupt()
        # Its input stays open until it has ended.
        assert re.match(
            r"interrupted: [12] events? appended, the last as", await command.error_line()
        )
        outcome = await command.finish()
    assert (outcome.code, outcome.out, outcome.err) == (130, "", "")


@pytest.mark.parametrize("run_id", ["a b", "../x", "x" * 129])
async def test_a_bad_run_id_is_refused_before_anything_is_asked(run_id: str) -> None:
    outcome = await run_command("publish", "--data", "1", "--", run_id)
    assert outcome.code == 2
    assert "is not a run id" in outcome.complaint


async def test_a_bad_type_is_refused(redis_url: str, run_id: str) -> None:
    outcome = await run_command("publish", run_id, "--redis-url", redis_url, "--type", "a\nb")
    assert outcome.code == 2
    assert "can't be an event type" in outcome.complaint


async def test_at_a_terminal_it_says_how_to_use_it(redis_url: str, run_id: str) -> None:
    controller, terminal = pty.openpty()
    try:
        outcome = await run_command("publish", run_id, "--redis-url", redis_url, stdin=terminal)
    finally:
        os.close(controller)
        os.close(terminal)
    assert outcome.code == 2
    assert outcome.complaint.startswith("runcast: nothing to publish: give --type or --data")


async def test_without_a_redis_it_says_how_to_have_one(run_id: str) -> None:
    outcome = await run_command("publish", run_id, "--data", "1")
    assert outcome.code == 2
    assert outcome.complaint == (
        "runcast: no Redis URL given and no embedded server runs: "
        "start `runcast serve`, or give --redis-url"
    )


async def test_it_finds_the_embedded_server_that_runs(run_id: str) -> None:
    async with running_command("serve", "--port", "0", "--log-format", "json") as serve:
        while '"listening"' not in (line := await serve.error_line()):
            assert line, "the edge ended"
        directory = serve.directory / "valkey"
        flags = ("--embedded-directory", str(directory))
        outcome = await run_command("publish", run_id, "--type", "done", *flags)
        check = await run_command("check", *flags)
    assert (outcome.code, outcome.err) == (0, "")
    assert (check.code, check.err) == (0, "")
    assert "append-only file" in check.out


async def test_a_key_of_another_type_is_left_alone(
    redis_url: str, client: Redis, run_id: str
) -> None:
    await client.set(key_of(run_id), "somebody else's")
    outcome = await run_command(
        "publish", run_id, "--redis-url", redis_url, "--type", "chunk", "--data", "s3cret"
    )
    assert outcome.code == 1
    assert "WRONGTYPE" in outcome.complaint
    assert "s3cret" not in outcome.complaint
    assert await client.ttl(key_of(run_id)) == -1


async def test_the_address_of_an_edge_is_no_matter_of_a_publisher(
    redis_url: str, client: Redis, run_id: str
) -> None:
    given = b'{"type":"chunk"}\n'
    async with running_command(
        "publish", run_id, "--redis-url", redis_url, environment={"RUNCAST_HOST": "0.0.0.0"}
    ) as publish:
        await publish.write(given)
        await appended(client, run_id)
