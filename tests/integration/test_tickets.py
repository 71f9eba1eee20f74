"""`POST /v1/runs/{run_id}/tickets`, `runcast ticket`, and what a ticket opens, at a real edge."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import uuid4

import httpx
import jwt
import pytest
from click.testing import CliRunner
from redis.asyncio import Redis

from broker.app import make_edge
from broker.cli import cli
from broker.commands.failure import CommandFailed
from broker.settings import load_settings
from tests.support.commands import run_command
from tests.support.edges import Edge
from tests.support.keys_file import KeysFile
from tests.support.producer import append
from tests.support.servers import available_kinds
from tests.support.viewer import watch
from tests.support.waiting import eventually

SECRET: Final = "of-the-edges-of-this-test-and-of-32-bytes"
TICKET_SECRET: Final = "RUNCAST_TICKET_SECRET"
HEARTBEAT_SECONDS: Final = 1


@pytest.fixture(scope="session")
def redis_kind() -> str:
    """No ticket is kept in Redis."""
    return available_kinds()[0]


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> KeysFile:
    file = KeysFile(tmp_path_factory.mktemp("keys") / "keys.toml")
    file.add("viewer", "watch:*", "metrics")
    file.add("ada", "watch:@own", subject="ada")
    file.add("worker", "publish:*")
    file.add("brief", "watch:*", expires=datetime.now(UTC) + timedelta(seconds=200))
    return file


@pytest.fixture(scope="module")
def edge(redis_url: str, keys: KeysFile) -> Iterator[Edge]:
    """An edge to which nothing is published: tickets need not that."""
    edge = Edge(
        redis_url,
        api_keys_file=keys.path,
        ticket_secret=SECRET,
        revocations_key=f"revoked-{uuid4().hex}",
        heartbeat_seconds=HEARTBEAT_SECONDS,
    )
    yield edge
    edge.close()


async def ask(
    edge: Edge, run_id: str, headers: dict[str, str], document: Any = None, query: str = ""
) -> httpx.Response:
    """The answer to who asks for a ticket."""
    async with httpx.AsyncClient() as http:
        url = f"{edge.url}/v1/runs/{run_id}/tickets{query}"
        if document is None:
            return await http.post(url, headers=headers)
        return await http.post(url, headers=headers, json=document)


async def ticket(edge: Edge, run_id: str, headers: dict[str, str], document: Any = None) -> Any:
    """What is answered to who gets one."""
    answer = await ask(edge, run_id, headers, document)
    assert answer.status_code == 201, answer.text
    return answer.json()


def problem(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["type"].rpartition(":")[2]


async def test_a_ticket_opens_the_run_and_no_other(
    edge: Edge, keys: KeysFile, client: Redis, run_id: str
) -> None:
    first = await append(client, run_id)
    answer = await ask(edge, run_id, keys.headers("viewer"), {"rights": ["watch"], "seconds": 60})
    assert (answer.status_code, answer.headers["cache-control"]) == (201, "no-store")
    made = answer.json()
    text = made["ticket"]
    assert made == {
        "ticket": text,
        "expires_at": made["expires_at"],
        "run_id": run_id,
        "rights": ["watch"],
        "events_url": f"/v1/runs/{run_id}/events?ticket={text}",
    }
    claims = jwt.decode(text, SECRET, ["HS256"], audience="runcast")
    assert datetime.fromisoformat(made["expires_at"]).timestamp() == claims["exp"]
    assert time.time() + 58 < claims["exp"] <= time.time() + 61
    async with watch(f"{edge.url}{made['events_url']}") as viewer:
        await viewer.until_caught_up()
        second = await append(client, run_id)
        await viewer.until(2)
        assert viewer.ids == [first, second]
    json = {"accept": "application/json"}
    async with httpx.AsyncClient(headers=json, params={"ticket": text}) as http:
        page = await http.get(edge.events_url(run_id))
        assert [event["id"] for event in page.json()["events"]] == [first, second]
        assert (await http.head(edge.events_url(run_id))).status_code == 200
        other = await http.get(edge.events_url(f"{run_id}-2"))
        assert problem(other) == (404, "run-not-found")
        assert (await http.get(f"{edge.url}/metrics")).status_code == 403
    async with httpx.AsyncClient(headers=json) as http:
        assert problem(await http.get(edge.events_url(run_id, f"ticket={text}x")))[0] == 401
        # What is shown on purpose counts, and is not tried in vain.
        wrong = await http.get(edge.events_url(run_id, "ticket=x"), headers=keys.headers("viewer"))
        assert problem(wrong) == (401, "not-authenticated")
    [line] = [line for line in edge.log() if line.get("token") == claims["jti"]]
    assert (line["event"], line["run"]) == ("ticket made", run_id)
    assert text not in edge.raw_log()


async def test_it_is_good_for_reconnects_until_it_ends(
    edge: Edge, keys: KeysFile, client: Redis, run_id: str
) -> None:
    ids = [await append(client, run_id)]
    made = await ticket(edge, run_id, keys.headers("viewer"), {"seconds": 2})
    ends_at = datetime.fromisoformat(made["expires_at"]).timestamp()
    url = f"{edge.url}{made['events_url']}"
    async with watch(url) as viewer:
        await viewer.until(1)
    ids.append(await append(client, run_id))
    async with watch(url, ids[0]) as viewer:
        await viewer.until(1)
        assert (viewer.ids, viewer.gaps) == ([ids[1]], [])
        await viewer.until_ended(within=5)
        ended_at = time.time()
    assert viewer.whole
    assert -0.3 < ended_at - ends_at < 1
    # What comes after it is not theirs.
    await append(client, run_id)
    async with watch(url, ids[1]) as viewer:
        await viewer.until_ended()
        assert (viewer.status, viewer.json()["title"]) == (401, "Not authenticated")
    [line] = [
        line
        for line in edge.log()
        if (line["event"], line.get("run")) == ("stream ended", run_id)
        and line["reason"] == "right_ended"
    ]
    assert line["events"] == 1


async def test_one_may_give_what_one_has(
    edge: Edge, keys: KeysFile, client: Redis, run_id: str
) -> None:
    await append(client, run_id)
    viewer, ada = keys.headers("viewer"), keys.headers("ada")
    assert problem(await ask(edge, run_id, {})) == (401, "not-authenticated")
    # They know that the run is there: they may watch it.
    refused = await ask(edge, run_id, viewer, {"rights": ["watch", "publish"]})
    assert problem(refused) == (403, "forbidden")
    assert problem(await ask(edge, run_id, keys.headers("worker"))) == (404, "run-not-found")
    foreign = await ask(edge, run_id, ada)
    unknown = await ask(edge, f"{run_id}-none", ada)
    assert problem(foreign) == (404, "run-not-found")
    assert foreign.content == unknown.content
    await client.hset(f"{{run:{run_id}}}:meta", "owner", "ada")
    made = await ticket(edge, run_id, ada)
    claims = jwt.decode(made["ticket"], SECRET, ["HS256"], audience="runcast")
    assert (claims["sub"], claims["run"]) == ("ada", run_id)


async def test_no_ticket_makes_another(
    edge: Edge, keys: KeysFile, client: Redis, run_id: str
) -> None:
    made = await ticket(edge, run_id, keys.headers("viewer"))
    answer = await ask(edge, run_id, {}, query=f"?ticket={made['ticket']}")
    assert problem(answer) == (401, "not-authenticated")


async def test_it_lasts_no_longer_than_the_key(edge: Edge, keys: KeysFile, run_id: str) -> None:
    made = await ticket(edge, run_id, keys.headers("brief"))
    assert datetime.fromisoformat(made["expires_at"]).timestamp() <= time.time() + 200
    made = await ticket(edge, run_id, keys.headers("viewer"), {"seconds": 10**9})
    assert datetime.fromisoformat(made["expires_at"]).timestamp() <= time.time() + 301


NO_REQUESTS: Final[list[Any]] = [
    [],
    {"right": "watch"},
    {"rights": []},
    {"rights": "watch"},
    {"rights": ["admin"]},
    {"rights": [["watch"]]},
    {"rights": None},
    {"seconds": 0},
    {"seconds": -1},
    {"seconds": 1.5},
    {"seconds": "60"},
    {"seconds": True},
]
REQUESTS: Final[list[Any]] = [
    None,
    {},
    {"seconds": None},
    {"seconds": 1.0},
    {"rights": ["watch", "watch"]},
]


async def test_what_is_no_request(edge: Edge, keys: KeysFile, run_id: str) -> None:
    headers = keys.headers("viewer")
    for document in NO_REQUESTS:
        assert problem(await ask(edge, run_id, headers, document)) == (400, "bad-body"), document
    large = await ask(edge, run_id, headers, {"rights": ["watch"] * 1000})
    assert problem(large) == (413, "too-large")
    form = await ask(edge, run_id, headers | {"content-type": "text/plain"}, {})
    assert problem(form) == (415, "unsupported-media-type")
    assert problem(await ask(edge, "a%20b", headers)) == (400, "bad-run-id")
    for document in REQUESTS:
        assert (await ticket(edge, run_id, headers, document))["rights"] == ["watch"]


async def test_it_ends_with_the_key_that_it_was_made_with(
    edge: Edge, keys: KeysFile, client: Redis, run_id: str
) -> None:
    keys.add("leaver", "watch:*")
    async with httpx.AsyncClient(headers=keys.headers("leaver")) as http:

        async def known() -> bool:
            return (await http.post(f"{edge.url}/v1/runs/{run_id}/tickets")).status_code == 201

        await eventually(known)
    made = await ticket(edge, run_id, keys.headers("leaver"))
    url = f"{edge.url}{made['events_url']}"
    async with (
        watch(url) as viewer,
        watch(edge.events_url(run_id), headers=keys.headers("viewer")) as other,
    ):
        await viewer.until_caught_up()
        await other.until_caught_up()
        keys.remove("leaver")
        await viewer.until_ended(within=HEARTBEAT_SECONDS + 0.5)
        await append(client, run_id)
        await other.until(1)
    async with watch(url) as viewer:
        await viewer.until_ended()
        assert viewer.status == 401


async def test_by_hand(edge: Edge, client: Redis, run_id: str) -> None:
    secret = {TICKET_SECRET: SECRET}
    event = await append(client, run_id)
    outcome = await run_command(
        "ticket", run_id, "--seconds", "60", "--url", f"{edge.url}/", environment=secret
    )
    assert outcome.code == 0
    text, url = outcome.out.splitlines()
    assert url == edge.events_url(run_id, f"ticket={text}")
    assert outcome.complaint.startswith("good until ")
    async with watch(url) as viewer:
        await viewer.until(1)
        assert viewer.ids == [event]
    outcome = await run_command(
        *("ticket", run_id, "--subject", "ada", "--right", "command", "--right", "watch"),
        environment=secret,
    )
    claims = jwt.decode(outcome.out.strip(), SECRET, ["HS256"], audience="runcast")
    assert (claims["sub"], claims["rights"]) == ("ada", ["command", "watch"])


@pytest.mark.parametrize(
    ("arguments", "secret", "said"),
    [
        (["a b"], SECRET, "not a run id"),
        (["run", "--subject", ""], SECRET, "--subject"),
        (["run", "--url", "here"], SECRET, "--url"),
        (["run", "--url", "http://[x"], SECRET, "--url"),
        (["run", "--url", "http://x/?ticket=y"], SECRET, "--url"),
        (["run"], None, "no secret"),
    ],
)
def test_by_hand_with_what_can_not_be_used(
    arguments: list[str], secret: str | None, said: str
) -> None:
    outcome = CliRunner().invoke(cli, ["ticket", *arguments], env={TICKET_SECRET: secret})
    assert isinstance(outcome.exception, CommandFailed)
    assert outcome.exception.exit_code == 2
    assert said in str(outcome.exception)
    assert outcome.output == ""


def test_there_is_no_route_without_a_secret(keys: KeysFile) -> None:
    for secret, count in ((SECRET, 1), (None, 0)):
        settings = load_settings({"api_keys_file": str(keys.path), "ticket_secret": secret})
        paths = [route.path for route in make_edge(settings, "redis://localhost").routes]
        assert paths.count("/v1/runs/{run_id}/tickets") == count
