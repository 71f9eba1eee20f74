"""run-agent's clients as its documentation has them, with only host and key changed: curl, Python's
`requests`, `fetch`, and npm's `eventsource`; the worker is a process of its own."""

import asyncio
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import httpx
import pytest

from tests.clients.run_agent.worker import words
from tests.support.edges import Edge
from tests.support.waiting import eventually

ROOT: Final = Path(__file__).parents[2]
NODE: Final = Path(__file__).parent / "node"

has_node = pytest.mark.skipif(
    shutil.which("node") is None or not (NODE / "node_modules" / "eventsource").is_dir(),
    reason="Node or npm's eventsource is not installed: run npm ci in tests/clients/node",
)
has_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")


async def output_of(*command: str | Path, within: float = 20) -> str:
    """What the command prints; it must succeed."""
    process = await asyncio.create_subprocess_exec(
        *command,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=ROOT,
    )
    try:
        async with asyncio.timeout(within):
            output, errors = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, errors.decode()
    return output.decode()


@pytest.fixture(scope="module")
def asked(redis_url: str) -> Iterator[Edge]:
    """An edge with a worker behind it."""
    requests_key = f"t:{uuid4().hex}:requests"
    edge = Edge(redis_url, profile="native,run-agent", publish=True, requests_key=requests_key)
    worker = subprocess.Popen(
        [sys.executable, "-m", "tests.clients.run_agent.worker", redis_url, requests_key], cwd=ROOT
    )
    try:
        yield edge
    finally:
        worker.kill()
        worker.wait()
        edge.close()


def agent_of_this_test() -> str:
    return f"agent-{uuid4().hex}"


async def test_requests(asked: Edge) -> None:
    output = await output_of(
        *(sys.executable, "-m", "tests.clients.run_agent.requests_client"),
        *(asked.url, agent_of_this_test(), "tell 20"),
    )
    assert output == "".join(words(20))


@has_curl
async def test_curl(asked: Edge) -> None:
    """The invoke endpoint's lines, on the stream's path; compressed or not."""
    for options in ([], ["--compressed"]):
        output = await output_of(
            *("curl", "-sSN", *options, "-X", "POST"),
            f"{asked.url}/v1/agents/{agent_of_this_test()}/stream",
            *("-H", "Authorization: Bearer YOUR_API_KEY"),
            *("-H", "Content-Type: application/json"),
            *("-d", '{"query": "tell 3"}'),
        )
        assert output.startswith("retry: ")
        blocks = [block.split("\n") for block in output.split("\n\n") if "event: " in block]
        names = [
            line.removeprefix("event: ")
            for block in blocks
            for line in block
            if line.startswith("event: ") and not line.startswith("event: runcast.")
        ]
        assert names == ["start", "chunk", "chunk", "chunk", "done"]
        done: dict[str, Any] = json.loads(blocks[-1][-1].removeprefix("data: "))
        assert done == {
            "message": "Stream complete",
            "usage": {"total_tokens": 3},
            "execution_time": 2.5,
        }


@has_node
async def test_fetch(asked: Edge) -> None:
    output = await output_of(
        *("node", NODE / "run_agent_fetch.mjs", asked.url, agent_of_this_test(), "tell 20")
    )
    assert output == "".join(words(20))


@has_node
async def test_fetch_is_told_what_is_wrong_in_the_words_that_it_reads(asked: Edge) -> None:
    with pytest.raises(AssertionError, match="field 'query' is required"):
        await output_of("node", NODE / "run_agent_fetch.mjs", asked.url, "agent-123", "")


@has_node
@pytest.mark.parametrize(
    ("query", "end"),
    [
        ("tell 30", {"message": "Stream complete", "usage": {"total_tokens": 30}}),
        ("overloaded", {"error": "Model overloaded", "code": "CAPACITY_ERROR"}),
    ],
)
async def test_eventsource_follows_what_the_agent_is_at(
    asked: Edge, query: str, end: dict[str, Any]
) -> None:
    """One request asks, and an EventSource of the same path sees the answer."""
    agent = agent_of_this_test()
    path = f"{asked.url}/v1/agents/{agent}/stream"
    async with httpx.AsyncClient(timeout=20) as http:
        asking = asyncio.create_task(http.post(path, json={"query": query}))

        async def is_at_it() -> bool:
            async with http.stream("GET", path) as following:
                return "event: " in await anext(following.aiter_text())

        try:
            await eventually(is_at_it)
            output = await output_of("node", NODE / "run_agent.mjs", asked.url, agent)
        finally:
            await asking
    *text, last = output.rstrip("\n").split("\n")
    assert end.items() <= json.loads(last).items()
    assert "".join(text) == ("".join(words(30)) if query == "tell 30" else "")
