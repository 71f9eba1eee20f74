"""Whose runs are: recorded when they begin, and what their owners alone may do with them."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any, Final
from uuid import uuid4

import httpx
import pytest
from redis.asyncio import Redis

from broker.engine.cancelling import cancel
from broker.publishing import (
    BlockingRunPublisher,
    OtherOwner,
    PublishingSettings,
    Request,
    Run,
    RunEnded,
    RunPublisher,
    worker,
)
from broker.redis.appending import NewEvent
from broker.redis.meta import meta_key
from broker.wire.ids import RunId
from tests.support.edges import Edge
from tests.support.keys_file import KeysFile
from tests.support.producer import append, key_of
from tests.support.servers import available_kinds
from tests.support.viewer import watch
from tests.support.waiting import eventually

OWN: Final = ("watch:@own", "publish:@own", "command:@own")
REQUESTS: Final = f"requests-{uuid4().hex}"
SETTINGS: Final = PublishingSettings(requests_key=REQUESTS)
JSON: Final = {"accept": "application/json"}


@pytest.fixture(scope="session")
def redis_kind() -> str:
    """The scripts are tested on each kind elsewhere."""
    return available_kinds()[0]


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> KeysFile:
    file = KeysFile(tmp_path_factory.mktemp("keys") / "keys.toml")
    file.add("ada", *OWN, subject="ada")
    file.add("bob", *OWN, subject="bob")
    file.add("ada b", *OWN, subject="ada b")
    file.add("back-end", "command:*", subject="back-end")
    file.add("nobody", "command:*", "watch:*")
    file.add("team", "command:team-*", subject="team")
    return file


@pytest.fixture(scope="module")
def edge(redis_url: str, keys: KeysFile) -> Iterator[Edge]:
    edge = Edge(
        redis_url,
        publish=True,
        profile="native,run-agent",
        api_keys_file=keys.path,
        requests_key=REQUESTS,
        revocations_key=f"revoked-{uuid4().hex}",
    )
    yield edge
    edge.close()


@pytest.fixture
async def publisher(redis_url: str) -> AsyncIterator[RunPublisher]:
    async with RunPublisher(redis_url, SETTINGS) as opened:
        yield opened


def as_(name: str) -> dict[str, str]:
    """What the owner of a key sends."""
    return KeysFile.headers(name)


async def create(edge: Edge, name: str, document: Any, key: str | None = None) -> httpx.Response:
    headers = as_(name) if key is None else {**as_(name), "Idempotency-Key": key}
    async with httpx.AsyncClient() as http:
        return await http.post(f"{edge.url}/v1/runs", json=document, headers=headers)


async def created(edge: Edge, name: str, document: Any, key: str | None = None) -> str:
    answer = await create(edge, name, document, key)
    assert answer.status_code == 201, answer.text
    run_id: str = answer.json()["run_id"]
    return run_id


async def owner_of(client: Redis, run_id: str) -> str | None:
    found: Any = await client.hget(meta_key(key_of(run_id)), "owner")
    return None if found is None else str(found)


async def requests_for(client: Redis, run_id: str) -> list[dict[str, str]]:
    found: Any = await client.xrange(REQUESTS)
    return [fields for _, fields in found if fields["run_id"] == run_id]


async def field_of_each(client: Redis, run_id: str, name: str) -> list[str]:
    """This field of each of the run's entries."""
    found: Any = await client.xrange(key_of(run_id))
    return [fields[name] for _, fields in found]


def problem(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["type"].rpartition(":")[2]


# ---- what owners may do


async def test_it_is_theirs_to_whom_the_asker_belongs(edge: Edge, client: Redis) -> None:
    run_id = await created(edge, "ada", {"input": 1})
    assert await owner_of(client, run_id) == "ada"
    [request] = await requests_for(client, run_id)
    assert request["owner"] == "ada"
    async with watch(edge.events_url(run_id), headers=as_("ada")) as viewer:
        await viewer.until_caught_up()
        live = await append(client, run_id)
        await viewer.until(2)
        queued = viewer.ids[0]
    async with watch(edge.events_url(run_id), queued, headers=as_("ada")) as viewer:
        await viewer.until(1)
        assert viewer.ids == [live]
    async with httpx.AsyncClient(headers=as_("ada")) as http:
        page = await http.get(edge.events_url(run_id), headers=JSON)
        assert [event["id"] for event in page.json()["events"]] == [queued, live]
        assert (await http.head(edge.events_url(run_id))).status_code == 200
        posted = await http.post(edge.events_url(run_id), json={"type": "chunk"})
        assert posted.status_code == 200
        said = await http.post(f"{edge.url}/v1/runs/{run_id}/commands", json={"type": "stop"})
        assert said.status_code == 202


async def test_a_run_of_another_and_none_are_answered_alike(edge: Edge, client: Redis) -> None:
    run_id = await created(edge, "ada", {})
    unowned = uuid4().hex
    await append(client, unowned)
    length = await client.xlen(key_of(run_id))
    wishes: list[tuple[str, str, dict[str, Any]]] = [
        ("GET", "events", {}),
        ("GET", "events", {"headers": JSON}),
        ("GET", "events?wait=1", {"headers": JSON}),
        ("GET", "events", {"headers": {"last-event-id": "1-1"}}),
        ("HEAD", "events", {}),
        ("POST", "events", {"json": {"type": "chunk"}}),
        ("POST", "commands", {"json": {"type": "stop"}}),
        ("POST", "commands", {"content": b"no JSON"}),
    ]
    async with httpx.AsyncClient() as http:
        for method, place, options in wishes:
            seen = set()
            for target in (run_id, unowned, uuid4().hex):
                answer = await http.request(
                    method,
                    f"{edge.url}/v1/runs/{target}/{place}",
                    **{**options, "headers": {**options.get("headers", {}), **as_("bob")}},
                )
                headers = {n: value for n, value in answer.headers.items() if n != "date"}
                seen.add((answer.status_code, answer.content, json.dumps(headers)))
            [(status, body, _)] = seen
            assert status == 404, (method, place)
            assert method == "HEAD" or json.loads(body)["type"].endswith(":run-not-found")
    assert await client.xlen(key_of(run_id)) == length
    assert not await client.exists(f"{key_of(run_id)}:commands")


async def test_a_viewer_of_ones_own_does_not_see_anothers_that_takes_its_place(
    edge: Edge, client: Redis, publisher: RunPublisher, run_id: str
) -> None:
    secret = "of bob's alone"
    ada = publisher.run(run_id, owner="ada")
    async with stopped_by_another_owner(ada):
        await ada.emit("chunk", "of ada's")
        await ada.flush()
        async with watch(edge.events_url(run_id), headers=as_("ada")) as viewer:
            await viewer.until_caught_up()
            await client.delete(key_of(run_id))
            async with publisher.run(run_id, owner="bob") as bob:
                await bob.emit("chunk", secret)
                await bob.flush()
                await viewer.until_ended()
                assert secret.encode() not in viewer.body
                assert await owner_of(client, run_id) == "bob"
                async with watch(edge.events_url(run_id), headers=as_("ada")) as again:
                    assert again.status == 404
                async with watch(edge.events_url(run_id), headers=as_("bob")) as theirs:
                    await theirs.until(1)
                # Nor is ada's worker, which goes on, heard in bob's run.
                await ada.emit("chunk", "of ada's")
                with pytest.raises(OtherOwner):
                    await ada.flush()
    assert await field_of_each(client, run_id, "data") == [secret, "{}"]


async def test_nor_does_who_waits_for_a_run_to_begin(
    edge: Edge, client: Redis, publisher: RunPublisher, run_id: str
) -> None:
    secret = "of bob's alone"
    ada = publisher.run(run_id, owner="ada")
    async with stopped_by_another_owner(ada), httpx.AsyncClient(headers=as_("ada")) as http:
        await ada.emit("chunk", "of ada's")
        await ada.flush()
        await client.delete(key_of(run_id))
        # Whose the run was is known still. Nobody here has seen that it was there.
        async with watch(edge.events_url(run_id), headers=as_("ada")) as viewer:
            await viewer.until_caught_up()
            waiting = asyncio.create_task(
                http.get(edge.events_url(run_id, "wait=10"), headers=JSON, timeout=15)
            )
            # Nothing tells that it waits; if it does not yet, it is refused all the same.
            await asyncio.sleep(0.2)
            async with publisher.run(run_id, owner="bob") as bob:
                await bob.emit("chunk", secret)
                await bob.flush()
                await viewer.until_ended()
                assert secret.encode() not in viewer.body
                assert problem(await waiting) == (404, "run-not-found")


@asynccontextmanager
async def stopped_by_another_owner(run: Run) -> AsyncIterator[None]:
    """Enters a run that can't be left in order, since another's has its place by then."""
    await run.__aenter__()
    try:
        yield
    finally:
        with pytest.raises((OtherOwner, RunEnded)):
            await run.__aexit__(None, None, None)


# ---- in whose name runs are asked for


async def test_a_back_end_asks_in_a_users_name(edge: Edge, client: Redis) -> None:
    run_id = await created(edge, "back-end", {"owner": "ada", "input": 1})
    assert await owner_of(client, run_id) == "ada"
    assert [request["owner"] for request in await requests_for(client, run_id)] == ["ada"]
    async with watch(edge.events_url(run_id), headers=as_("ada")) as viewer:
        await viewer.until(1)
    of_its_own = await created(edge, "back-end", {})
    assert await owner_of(client, of_its_own) == "back-end"
    of_nobody = await created(edge, "nobody", {})
    assert await owner_of(client, of_nobody) is None
    assert ["owner" in request for request in await requests_for(client, of_nobody)] == [False]


async def test_users_ask_in_their_own_name_only(edge: Edge, client: Redis) -> None:
    run_id = await created(edge, "ada", {"owner": "ada"})
    assert await owner_of(client, run_id) == "ada"
    before = await client.xlen(REQUESTS)
    assert problem(await create(edge, "ada", {"owner": "bob"})) == (403, "forbidden")
    for owner in ("", "x" * 257, 1, ["ada"]):
        answer = await create(edge, "back-end", {"owner": owner})
        assert problem(answer) == (400, "bad-body")
    assert await client.xlen(REQUESTS) == before


async def test_users_do_not_choose_ids(edge: Edge, client: Redis) -> None:
    run_id = await created(edge, "ada", {})
    foreign = await create(edge, "bob", {"run_id": run_id})
    unknown = await create(edge, "bob", {"run_id": uuid4().hex})
    assert problem(foreign) == (403, "forbidden")
    assert foreign.content == unknown.content
    assert len(await requests_for(client, run_id)) == 1


async def test_whoever_chooses_ids_does_not_get_a_run_of_another(
    edge: Edge, client: Redis, publisher: RunPublisher, run_id: str
) -> None:
    asked = f"{run_id}-asked"
    for owner, status in (("ada", 201), ("ada", 201), ("bob", 409)):
        answer = await create(edge, "back-end", {"run_id": asked, "owner": owner})
        assert answer.status_code == status
    async with publisher.run(run_id, owner="ada") as run:
        await run.emit("chunk")
        await run.flush()
        for other in ("bob", None):
            answer = await create(edge, "back-end", {"run_id": run_id, "owner": other})
            assert problem(answer) == (409, "run-exists")
        assert await client.xlen(key_of(run_id)) == 1
        assert await owner_of(client, run_id) == "ada"
    assert await requests_for(client, run_id) == []


async def test_a_key_is_of_who_asks(edge: Edge, run_id: str) -> None:
    document = {"input": 1}
    first = await created(edge, "ada", document, run_id)
    second = await created(edge, "bob", document, run_id)
    third = await created(edge, "nobody", document, run_id)
    assert len({first, second, third}) == 3
    for name, made in (("ada", first), ("bob", second), ("nobody", third)):
        assert await created(edge, name, document, run_id) == made
    # Names and keys, put together, may look alike.
    of_ada = await created(edge, "ada", document, f"b {run_id}")
    assert await created(edge, "ada b", document, run_id) != of_ada
    # In another user's name it is another request.
    in_name = await created(edge, "back-end", {**document, "owner": "ada"}, run_id)
    assert in_name not in (first, second, third)
    other = await create(edge, "back-end", {**document, "owner": "bob"}, run_id)
    assert problem(other) == (422, "idempotency-key-reused")


# ---- the library


async def test_workers_begin_runs_for_somebody(
    edge: Edge, client: Redis, publisher: RunPublisher, redis_url: str, run_id: str
) -> None:
    async with publisher.run(run_id, owner="ada") as run:
        # Nothing has been said, but whose it is is known. When it begins that is asked once more.
        async with watch(edge.events_url(run_id), headers=as_("ada")) as viewer:
            await viewer.until_caught_up()
            await run.emit("chunk")
            await viewer.until_ended()
            assert viewer.whole
        async with watch(edge.events_url(run_id), headers=as_("ada")) as viewer:
            await viewer.until(1)
        async with watch(edge.events_url(run_id), headers=as_("bob")) as viewer:
            assert viewer.status == 404
        # It stays whose it is, whoever goes on with it.
        with pytest.raises(OtherOwner):
            async with publisher.run(run_id, owner="bob"):
                pass
        with pytest.raises(OtherOwner):
            await publisher.appender.append(
                run.run_id, [NewEvent("x", "")], producer="p", sequence=1, owner="bob"
            )
        for owner in ("ada", None):
            await publisher.appender.append(
                run.run_id, [NewEvent("y", "")], producer=f"p-{owner}", sequence=1, owner=owner
            )
        assert await owner_of(client, run_id) == "ada"
    types = await field_of_each(client, run_id, "type")
    assert types == ["chunk", "y", "y", "succeeded"]
    with pytest.raises(ValueError, match="owner"):
        publisher.run(owner="")
    with pytest.raises(ValueError, match="owner"):
        await publisher.appender.touch(RunId(run_id), owner="x" * 1025)
    blocking = f"{run_id}-blocking"

    def begin() -> None:
        opened = BlockingRunPublisher(redis_url, SETTINGS)
        with opened, opened.run(blocking, owner="bob"):
            pass

    await asyncio.to_thread(begin)
    assert await owner_of(client, blocking) == "bob"


async def test_a_run_that_begins_anew_is_whose_it_is_then(
    client: Redis, publisher: RunPublisher, run_id: str
) -> None:
    events, appender = [NewEvent("x", "")], publisher.appender
    run = RunId(run_id)
    # Announced, and not begun: it keeps its owner when the first event comes.
    await appender.touch(run, owner="ada")
    await appender.append(run, events, producer="p", sequence=1)
    assert await owner_of(client, run_id) == "ada"
    await client.delete(key_of(run_id))
    await appender.append(run, events, producer="p", sequence=1)
    assert await owner_of(client, run_id) is None
    # The first one who says it.
    await appender.append(run, events, producer="p", sequence=2, owner="bob")
    assert await owner_of(client, run_id) == "bob"
    await client.delete(key_of(run_id))
    await appender.append(run, events, producer="p", sequence=1, owner="ada")
    assert await owner_of(client, run_id) == "ada"
    await client.delete(key_of(run_id))
    assert await appender.ended(run) is None
    assert await owner_of(client, run_id) is None


async def test_a_worker_knows_for_whom_it_works(edge: Edge, client: Redis, redis_url: str) -> None:
    owners: dict[str, str | None] = {}

    async def handler(request: Request, run: Run) -> None:
        owners[request.run_id] = request.owner

    of_ada = await created(edge, "ada", {})
    of_nobody = await created(edge, "nobody", {})
    gone = await created(edge, "bob", {})
    # It was not begun in time: all that is left is the request.
    await client.delete(key_of(gone), meta_key(key_of(gone)))
    task = asyncio.create_task(
        worker(redis_url, handler, settings=SETTINGS, handle_signals=False, group=uuid4().hex)
    )
    try:
        await eventually(lambda: {of_ada, of_nobody, gone} <= owners.keys())
    finally:
        await cancel([task])
    assert [owners[one] for one in (of_ada, of_nobody, gone)] == ["ada", None, "bob"]
    assert [await owner_of(client, one) for one in (of_ada, of_nobody, gone)] == [
        "ada",
        None,
        "bob",
    ]


# ---- sessions of agents


async def test_everyone_has_sessions_of_their_own(edge: Edge, client: Redis, run_id: str) -> None:
    runs: dict[str, str] = {}
    async with httpx.AsyncClient(timeout=10) as http:

        async def ask(name: str, **parameters: Any) -> tuple[int, str]:
            request = http.build_request(
                "POST",
                f"{edge.url}/v1/agents/thinker/stream",
                json={"query": "why?", "session_id": run_id, "parameters": parameters},
                headers={"authorization": f"Bearer {KeysFile.key(name)}"},
            )
            answer = await http.send(request, stream=True)
            try:
                return answer.status_code, answer.headers.get("runcast-run", "")
            finally:
                await answer.aclose()

        for name in ("ada", "bob", "nobody"):
            assert (await ask(name, resume_from_index=0))[0] == 404
            status, runs[name] = await ask(name)
            assert status == 200
        for name in ("ada", "bob", "nobody"):
            assert await ask(name, resume_from_index=0) == (200, runs[name])
    assert len(set(runs.values())) == 3
    assert [await owner_of(client, one) for one in runs.values()] == ["ada", "bob", None]
    assert await client.get(f"session:{run_id}:run") == runs["nobody"]


async def test_who_has_a_prefix_names_a_run_that_begins_so(edge: Edge) -> None:
    mine = f"team-{uuid4().hex}"
    assert await created(edge, "team", {"run_id": mine}) == mine
    for document in ({}, {"run_id": f"other-{uuid4().hex}"}):
        answer = await create(edge, "team", document)
        assert answer.status_code == 403
        assert answer.json()["detail"].endswith(("is one.", "another run_id."))


async def test_one_persons_idempotency_key_is_not_anothers(edge: Edge, client: Redis) -> None:
    run_id = await created(edge, "ada", {})
    ids = set()
    async with httpx.AsyncClient() as http:
        for name in ("back-end", "nobody", "ada"):
            answer = await http.post(
                f"{edge.url}/v1/runs/{run_id}/commands",
                json={"type": "pause"},
                headers={**as_(name), "Idempotency-Key": "the same"},
            )
            assert answer.status_code == 202, answer.text
            ids.add(answer.json()["id"])
    assert len(ids) == 3
