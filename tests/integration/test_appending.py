"""Appending through us: exactly once, in one step with what is known of the run."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import pytest
from redis.asyncio import Redis

from broker.redis.appending import Appender, NewEvent, NotAppended, RunEnded
from broker.redis.deployment import Deployment
from broker.redis.meta import meta_key
from broker.redis.opening import make_deployment
from broker.redis.streams import KeyTemplate
from broker.wire.event import EventFormat, TerminalRule
from broker.wire.ids import RunId, StreamId
from tests.support.producer import append, key_of

EVENTS = EventFormat(
    terminal_types=frozenset({"done"}), terminal_rule=TerminalRule.parse("state in failed")
)
KEYS = KeyTemplate("run:{run_id}")


@pytest.fixture
async def deployment(redis_url: str) -> AsyncIterator[Deployment]:
    """The shared server."""
    async with make_deployment(redis_url, connections=2, timeout_seconds=5) as opened:
        yield opened


@pytest.fixture
def appender(deployment: Deployment) -> Appender:
    """An appender over it."""
    return Appender(deployment, KEYS, EVENTS)


def chunks(*texts: str) -> list[NewEvent]:
    """Events with these data."""
    return [NewEvent("chunk", text) for text in texts]


async def entries(client: Redis, run_id: str) -> list[tuple[str, dict[str, str]]]:
    """The run's entries: id and fields."""
    found: Any = await client.xrange(key_of(run_id))
    return list(found)


async def data(client: Redis, run_id: str) -> list[str]:
    """The data of the run's entries."""
    return [fields["data"] for _, fields in await entries(client, run_id)]


async def meta(client: Redis, run_id: str) -> dict[str, str]:
    """The run's meta hash."""
    found: Any = await client.hgetall(meta_key(key_of(run_id)))
    return dict(found)


async def test_events_are_appended_in_order_with_their_ids(
    appender: Appender, client: Redis, run_id: str
) -> None:
    first = await appender.append(RunId(run_id), chunks("1", "2"), producer="p", sequence=1)
    second = await appender.append(
        RunId(run_id), [NewEvent("", "é\n")], producer="p", sequence=3, status="running"
    )
    assert [(str(one.id), one.duplicate) for one in (*first, *second)] == [
        (entry_id, False) for entry_id, _ in await entries(client, run_id)
    ]
    assert [fields for _, fields in await entries(client, run_id)] == [
        {"type": "chunk", "data": "1"},
        {"type": "chunk", "data": "2"},
        {"data": "é\n"},
    ]
    assert 0 < await client.ttl(key_of(run_id)) <= 24 * 3600
    assert 0 < await client.ttl(meta_key(key_of(run_id))) <= 24 * 3600
    assert (await meta(client, run_id))["status"] == "running"


async def test_what_is_sent_again_is_not_appended_again_and_keeps_its_ids(
    appender: Appender, client: Redis, run_id: str
) -> None:
    run = RunId(run_id)
    await appender.append(run, chunks("0"), producer="p", sequence=1)
    first = await appender.append(run, chunks("1", "2", "3"), producer="p", sequence=2)
    again = await appender.append(run, chunks("1", "2", "3", "4"), producer="p", sequence=2)
    assert [one.id for one in again[:3]] == [one.id for one in first]
    assert [one.duplicate for one in again] == [True, True, True, False]
    # Of calls before the newest nothing is kept.
    old = await appender.append(run, chunks("3", "4"), producer="p", sequence=4)
    assert old == [(None, True), (again[3].id, True)]
    assert await data(client, run_id) == ["0", "1", "2", "3", "4"]


async def test_ids_that_can_not_be_told_for_certain_are_not_told(
    appender: Appender, client: Redis, run_id: str
) -> None:
    run = RunId(run_id)
    first = await appender.append(run, chunks("1", "2", "3"), producer="p", sequence=1)
    await client.xdel(key_of(run_id), str(first[1].id))
    again = await appender.append(run, chunks("1", "2", "3"), producer="p", sequence=1)
    assert [one.id for one in again] == [None, None, first[2].id]


async def test_producers_do_not_know_of_each_other(
    appender: Appender, client: Redis, run_id: str
) -> None:
    async def produce(name: str) -> None:
        for sequence in range(1, 31):
            for _ in range(2):
                await appender.append(
                    RunId(run_id),
                    chunks(f"{name}{sequence}"),
                    producer=name,
                    sequence=sequence,
                )

    await asyncio.gather(*map(produce, "abc"))
    found = await data(client, run_id)
    for name in "abc":
        assert [one for one in found if one[0] == name] == [f"{name}{n}" for n in range(1, 31)]


@pytest.mark.parametrize(
    "end",
    [
        NewEvent("done", "{}"),
        NewEvent("chunk", '{"state":"failed"}'),
        NewEvent("chunk", "{}", final=True),
    ],
)
async def test_nothing_comes_after_the_end(
    appender: Appender, client: Redis, run_id: str, end: NewEvent
) -> None:
    run = RunId(run_id)
    appended = await appender.append(run, [*chunks("1"), end], producer="p", sequence=1)
    assert await client.ttl(key_of(run_id)) <= 3600
    assert (await entries(client, run_id))[-1][1]["final"] == "1"
    final = appended[-1].id
    for producer, sequence in (("p", 3), ("q", 1)):
        with pytest.raises(RunEnded) as caught:
            await appender.append(run, chunks("2"), producer=producer, sequence=sequence)
        assert caught.value.final == final
    with pytest.raises(RunEnded):
        await appender.touch(run, lease_seconds=5)
    # What was appended before the end may be sent again, though.
    again = await appender.append(run, [*chunks("1"), end], producer="p", sequence=1)
    assert [one.id for one in again] == [one.id for one in appended]
    assert await client.xlen(key_of(run_id)) == 2
    assert await appender.ended(run) == final


@pytest.mark.parametrize(
    ("event_type", "content", "fields", "ends"),
    [
        ("done", "{}", {}, True),
        ("chunk", "{}", {"final": "1"}, True),
        ("chunk", "{}", {"final": "0"}, False),
        ("chunk", '{"a": 1, "state": "failed"}', {}, True),
        ("chunk", '{"state": "running"}', {}, False),
        ("chunk", '{"state": ["failed"]}', {}, False),
        ("chunk", '["state", "failed"]', {}, False),
        ("chunk", 'state: "failed"', {}, False),
        ("chunk", "null", {}, False),
    ],
)
async def test_the_end_by_a_plain_xadd_counts_as_on_the_edge(
    appender: Appender,
    client: Redis,
    run_id: str,
    event_type: str,
    content: str,
    fields: dict[str, str],
    ends: bool,
) -> None:
    entry_id = await append(client, run_id, content, event_type, **fields)
    raw = {b"type": event_type.encode(), b"data": content.encode()}
    raw |= {name.encode(): value.encode() for name, value in fields.items()}
    assert EVENTS.decode(StreamId(0, 1), raw).final is ends
    if ends:
        assert str(await appender.ended(RunId(run_id))) == entry_id
        with pytest.raises(RunEnded):
            await appender.append(RunId(run_id), chunks("1"), producer="p", sequence=1)
    else:
        assert await appender.ended(RunId(run_id)) is None
        await appender.append(RunId(run_id), chunks("1"), producer="p", sequence=1)


async def test_an_entry_without_data_is_judged_by_its_fields(
    appender: Appender, client: Redis, run_id: str
) -> None:
    await client.xadd(key_of(run_id), {"state": "failed"})
    assert await appender.ended(RunId(run_id)) is not None


async def test_dense_ids_count_from_one_or_from_where_they_are_told(
    appender: Appender, client: Redis, run_id: str
) -> None:
    for run, above, expected in ((run_id, 0, [1, 2, 3]), (f"{run_id}-2", 41, [42, 43, 44])):
        for sequence in (1, 2):
            events = chunks("1", "2")[: 3 - sequence]
            await appender.append(
                RunId(run),
                events,
                producer=f"{sequence}",
                sequence=1,
                dense=True,
                above=above,
            )
        assert [entry_id for entry_id, _ in await entries(client, run)] == [
            f"0-{number}" for number in expected
        ]
        # Numbers are not given twice, though the newest entry is deleted.
        await client.xdel(key_of(run), f"0-{expected[-1]}")
        again = await appender.append(RunId(run), chunks("3"), producer="3", sequence=1, dense=True)
        assert again[0].id == (0, expected[-1] + 1)


async def test_dense_ids_are_refused_where_the_others_have_a_time(
    appender: Appender, client: Redis, run_id: str
) -> None:
    await append(client, run_id)
    with pytest.raises(NotAppended, match="begin with a time"):
        await appender.append(RunId(run_id), chunks("1"), producer="p", sequence=1, dense=True)
    assert await client.xlen(key_of(run_id)) == 1


async def test_a_run_that_was_deleted_begins_anew(
    appender: Appender, client: Redis, run_id: str
) -> None:
    run = RunId(run_id)
    await appender.append(run, [NewEvent("done", "1")], producer="p", sequence=7)
    await client.delete(key_of(run_id))
    assert await appender.ended(run) is None
    appended = await appender.append(run, chunks("2"), producer="p", sequence=1)
    assert not appended[0].duplicate
    assert await data(client, run_id) == ["2"]


async def test_a_key_of_another_type_is_left_alone(
    appender: Appender, client: Redis, run_id: str
) -> None:
    for key in (key_of(run_id), meta_key(key_of(run_id))):
        await client.set(key, "somebody else's")
        with pytest.raises(NotAppended, match="WRONGTYPE"):
            await appender.append(RunId(run_id), chunks("s3cret"), producer="p", sequence=1)
        assert await client.ttl(key) == -1
        await client.delete(key)
        assert await client.exists(key_of(run_id), meta_key(key_of(run_id))) == 0


async def test_a_server_that_forgot_the_scripts_is_given_them_again(
    appender: Appender, client: Redis, run_id: str
) -> None:
    run = RunId(run_id)
    await appender.append(run, chunks("1"), producer="p", sequence=1)
    await client.script_flush()
    await appender.append(run, chunks("2"), producer="p", sequence=2)
    assert await data(client, run_id) == ["1", "2"]


@pytest.mark.parametrize(
    ("events", "producer", "sequence"),
    [
        (chunks("1"), "", 1),
        (chunks("1"), "p" * 257, 1),
        (chunks("1"), "p", 0),
        (chunks("1"), "p", 2**53),
        (chunks(*"1" * 1001), "p", 1),
        ([NewEvent("a\nb", "1")], "p", 1),
        ([NewEvent("runcast.gap", "1")], "p", 1),
        ([NewEvent("done", "1"), *chunks("2")], "p", 1),
        (chunks("\ud800"), "p", 1),
    ],
)
async def test_what_has_no_sense_is_refused_before_anything_is_asked(
    appender: Appender,
    client: Redis,
    run_id: str,
    events: list[NewEvent],
    producer: str,
    sequence: int,
) -> None:
    with pytest.raises(ValueError):
        await appender.append(RunId(run_id), events, producer=producer, sequence=sequence)
    assert await client.exists(key_of(run_id)) == 0


async def test_a_redis_that_is_not_there_is_asked_again_until_the_time_is_over() -> None:
    async with make_deployment(
        "redis://127.0.0.1:1", connections=1, timeout_seconds=1
    ) as deployment:
        appender = Appender(deployment, KEYS, EVENTS, retry_seconds=0.3)
        async with asyncio.timeout(3):
            with pytest.raises(Exception, match="may or may not have happened"):
                await appender.append(RunId(uuid4().hex), chunks("1"), producer="p", sequence=1)
