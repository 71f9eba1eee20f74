"""`?fold=text` on a real server: how small a long run becomes, and that any cursor resumes it."""

from typing import Any

import orjson
import pytest
from redis.asyncio import Redis

from tests.conftest import WAYS
from tests.support.edges import Edge
from tests.support.producer import append, key_of
from tests.support.servers import available_kinds
from tests.support.viewer import Viewer, watch

_TOKENS = 20_000


@pytest.fixture(scope="session")
def redis_kind() -> str:
    """Folding does not depend on the server."""
    return available_kinds()[0]


@pytest.fixture(scope="session")
def edge_settings() -> dict[str, Any]:
    """Nor on the way to the client."""
    return WAYS["detached-notify"]


def text_of(viewer: Viewer) -> str:
    return "".join(orjson.loads(event.data).get("text", "") for event in viewer.events)


async def write(client: Redis, run_id: str) -> list[str]:
    """A model's run, token by token; the ids."""
    ids: list[str] = []
    for start in range(0, _TOKENS, 1000):
        async with client.pipeline(transaction=False) as pipeline:
            for number in range(start, start + 1000):
                data = orjson.dumps({"text": f"w{number} "})
                pipeline.xadd(key_of(run_id), {"type": "chunk", "data": data})
            ids += await pipeline.execute()
    ids.append(await append(client, run_id, "{}", "done"))
    return ids


async def seen(url: str, last_event_id: str | None = None, **options: Any) -> Viewer:
    async with watch(url, last_event_id, **options) as viewer:
        await viewer.until_ended(within=30)
    assert viewer.whole
    assert viewer.gaps == []
    return viewer


async def test_a_long_run_is_a_small_replay_and_resumes_at_any_cursor(
    edge: Edge, client: Redis, run_id: str
) -> None:
    ids = await write(client, run_id)
    whole = "".join(f"w{number} " for number in range(_TOKENS))
    plain = await seen(edge.events_url(run_id))
    folded = await seen(edge.events_url(run_id, "fold=text"))
    assert text_of(plain) == text_of(folded) == whole
    assert len(plain.events) == _TOKENS + 1
    assert len(folded.events) <= 0.03 * len(plain.events)
    assert len(folded.body) <= 0.25 * len(plain.body)
    assert folded.ids[-1] == ids[-1]

    # Wherever it is cut, what is there and what follows are all of it.
    for index in range(0, len(folded.events) - 1, 40):
        before = "".join(orjson.loads(event.data)["text"] for event in folded.events[: index + 1])
        rest = await seen(edge.events_url(run_id, "fold=text"), folded.ids[index])
        assert before + text_of(rest) == whole
    # And so for who goes on unfolded, or has begun so.
    rest = await seen(edge.events_url(run_id), folded.ids[-20])
    before = "".join(orjson.loads(event.data)["text"] for event in folded.events[:-19])
    assert before + text_of(rest) == whole
    for index in range(1, _TOKENS, 6661):
        rest = await seen(edge.events_url(run_id, "fold=text"), ids[index])
        assert text_of(rest) == "".join(f"w{number} " for number in range(index + 1, _TOKENS))


async def test_what_comes_live_is_not_folded(edge: Edge, client: Redis, run_id: str) -> None:
    for number in range(10):
        await append(client, run_id, orjson.dumps({"text": f"{number} "}))
    async with watch(edge.events_url(run_id, "fold=text")) as viewer:
        await viewer.until_caught_up()
        assert text_of(viewer) == "0 1 2 3 4 5 6 7 8 9 "
        assert len(viewer.events) == 1
        for number in range(3):
            await append(client, run_id, orjson.dumps({"text": f"live {number} "}))
            await viewer.until(2 + number)
        assert len(viewer.events) == 4


async def test_other_events_stay_as_they_are_and_where_they_are(
    edge: Edge, client: Redis, run_id: str
) -> None:
    written = [
        ("chunk", '{ "text" : "a" }'),
        ("tool", '{ "name" : "x" }'),
        ("chunk", '{"text":"b"}'),
        ("chunk", '{"text":"c"}'),
        ("chunk", "no JSON"),
        ("chunk", '{"text":"d"}'),
        ("done", '{"text":"e"}'),
    ]
    for event_type, data in written:
        await append(client, run_id, data, event_type)
    viewer = await seen(edge.events_url(run_id, "fold=text"))
    assert [(event.type, event.data) for event in viewer.events] == [
        *written[:2],
        ("chunk", '{"text":"bc"}'),
        *written[4:],
    ]


async def test_without_fold_nothing_is_folded(edge: Edge, client: Redis, run_id: str) -> None:
    for _ in range(3):
        await append(client, run_id, '{"text":"a"}')
    await append(client, run_id, "{}", "done")
    viewer = await seen(edge.events_url(run_id, "fold=none"))
    assert len(viewer.events) == 4
    async with watch(edge.events_url(run_id, "fold=all")) as refused:
        assert refused.status == 400
