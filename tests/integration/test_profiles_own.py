"""Profiles of one's own: the examples of docs/profiles.md, served as it says."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from redis.asyncio import Redis

from tests.support.commands import run_command
from tests.support.edges import Edge
from tests.support.producer import append, key_of
from tests.support.servers import available_kinds
from tests.support.viewer import Viewer, watch
from tests.support.waiting import eventually

_ROOT = Path(__file__).parents[2]
_EXAMPLES = _ROOT / "examples" / "profiles"


@pytest.fixture(scope="session")
def redis_kind() -> str:
    """What is said in which words does not depend on the kind of Redis, nor on the way to it."""
    return available_kinds()[0]


@pytest.fixture(scope="module")
def edge(redis_url: str) -> Iterator[Edge]:
    """An edge with Runcast's own profile and both examples."""
    profiles = ("native", str(_EXAMPLES / "chat.toml"), str(_EXAMPLES / "completions.toml"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(_EXAMPLES), prepend=":")
        edge = Edge(redis_url, profile=",".join(profiles))
    yield edge
    edge.close()


def told(viewer: Viewer) -> list[dict[str, Any]]:
    """What its messages say."""
    return [json.loads(message.data) for message in viewer.messages]


async def test_the_worked_example_serves_its_clients(
    edge: Edge, client: Redis, run_id: str
) -> None:
    await append(client, run_id, "{}", "queued", id="0-*")
    await append(client, run_id, '{"text": "Hel"}', "token", id="0-*")
    await append(client, run_id, "lo", "token", id="0-*")
    url = f"{edge.url}/chats/{run_id}/stream?after=0"
    async with watch(url) as viewer:
        await eventually(lambda: {"kind": "ping"} in told(viewer))
        await append(client, run_id, '{"sources": ["a", "b"]}', "sources", id="0-*")
        await append(client, run_id, '{"message": "too long"}', "failed", id="0-*")
        await viewer.until_ended()
    frames = [frame for frame in told(viewer) if frame != {"kind": "ping"}]
    assert frames == [
        {"kind": "hello", "chat": run_id, "is": "running"},
        {"kind": "token", "number": 2, "text": "Hel"},
        {"kind": "token", "number": 3, "text": "lo"},
        {"kind": "live"},
        {"kind": "sources", "number": 4, "sources": ["a", "b"]},
        {"kind": "end", "number": 5, "how": "failed", "error": "too long"},
    ]
    assert {message.type for message in viewer.messages} == {"message"}
    async with watch(f"{edge.url}/chats/{run_id}/stream?after=4") as viewer:
        await viewer.until_ended()
        assert [frame["kind"] for frame in told(viewer)] == ["hello", "end"]
    async with watch(f"{edge.url}/chats/{run_id}/stream?after=5") as viewer:
        assert viewer.status == httpx.codes.NO_CONTENT


async def test_its_page_and_its_folding(edge: Edge, client: Redis, run_id: str) -> None:
    for number in range(1, 6):
        await append(client, run_id, f'{{"text": "{number}"}}', "token", id="0-*")
    await append(client, run_id, "{}", "answered", id="0-*")
    async with httpx.AsyncClient(base_url=edge.url) as http:
        page = (await http.get(f"/chats/{run_id}/messages?after=3")).json()
        assert page == {
            "chat": run_id,
            "is": "answered",
            "messages": [
                {"kind": "token", "number": 4, "text": "4"},
                {"kind": "token", "number": 5, "text": "5"},
                {"kind": "answered", "number": 6},
            ],
            "more": False,
            "missing": None,
        }
        folded = (await http.get(f"/chats/{run_id}/messages?fold=text")).json()
        assert folded["messages"][0] == {"kind": "token", "number": 5, "text": "12345"}
    async with watch(f"{edge.url}/chats/{run_id}/stream?fold=text&after=2") as viewer:
        await viewer.until_ended()
        assert told(viewer)[1] == {"kind": "token", "number": 5, "text": "345"}


async def test_a_gap_is_said_in_its_words(edge: Edge, client: Redis, run_id: str) -> None:
    for _ in range(4):
        await append(client, run_id, "{}", "token", id="0-*")
    await client.xtrim(key_of(run_id), maxlen=1, approximate=False)
    async with watch(f"{edge.url}/chats/{run_id}/stream?after=1") as viewer:
        missing = {"kind": "missing", "why": "trimmed", "from": "1", "to": "4"}
        await eventually(lambda: missing in told(viewer))
        assert "runcast-gap" not in viewer.response_headers


async def test_an_encoder_of_your_own_adds_what_no_section_can(
    edge: Edge, client: Redis, run_id: str
) -> None:
    await append(client, run_id, '{"text": "Hi"}', "chunk")
    async with watch(f"{edge.url}/v1/completions/{run_id}") as viewer:
        await eventually(lambda: len(viewer.messages) == 1)
        await append(client, run_id, "{}", "done")
        await viewer.until_ended()
    assert [message.data for message in viewer.messages] == [
        f'{{"id":"{run_id}","choices":[{{"index":0,"delta":{{"content":"Hi"}}}}]}}',
        f'{{"id":"{run_id}","choices":[{{"index":0,"delta":{{"content":""}}}}]}}',
        "[DONE]",
    ]
    assert bytes(viewer.body).endswith(b"data: [DONE]\n\n")


async def test_the_same_run_in_every_profile_at_once(
    edge: Edge, client: Redis, run_id: str
) -> None:
    paths = (f"/v1/runs/{run_id}/events", f"/chats/{run_id}/stream", f"/v1/completions/{run_id}")
    await append(client, run_id, '{"text": "Hi"}', "token")
    bodies = []
    for path in paths:
        async with watch(edge.url + path) as viewer:
            await viewer.until(1)
            bodies.append(bytes(viewer.body))
    assert len(set(bodies)) == len(paths)


async def test_a_profile_that_can_not_be_used_is_one_line(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.toml"
    wrong.write_text('title = "Wrong"\n[event]\ndata = "{$x}"\n[[routes]]\npath = "/x/{run_id}"\n')
    outcome = await run_command(
        "serve", "--port", "0", "--profile", "native", "--profile", str(wrong)
    )
    assert outcome.code != 0
    assert f"profile {wrong}: event.data: $x is not known here" in outcome.complaint
    outcome = await run_command("serve", "--profile", "native", "--profile", "coasty")
    assert outcome.code != 0
    assert "profiles native and coasty both have GET /v1/runs/{run_id}/events" in outcome.complaint


def test_the_guide_shows_the_examples_as_they_are() -> None:
    guide = (_ROOT / "docs" / "profiles.md").read_text(encoding="utf-8")
    shown = re.findall(r"^```(?:toml|python)\n(.*?)^```$", guide, re.MULTILINE | re.DOTALL)
    for name in ("chat.toml", "completions.toml", "completions.py"):
        text = (_EXAMPLES / name).read_text(encoding="utf-8")
        assert any(block in text for block in shown if len(block.splitlines()) > 4), name
