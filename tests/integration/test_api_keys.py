"""API keys on a real edge: who is let in, and what a change of the file does to who is there."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import httpx
import pytest
from redis.asyncio import Redis

from broker.edge.auth.api_keys import hash_of
from tests.support.commands import run_command
from tests.support.edges import QUICK, Edge
from tests.support.producer import append
from tests.support.servers import available_kinds
from tests.support.viewer import Viewer, watch
from tests.support.waiting import eventually

_HEARTBEAT: Final[float] = QUICK["heartbeat_seconds"]
_STAYS: Final = "rck_stays"
"""A key that no test takes away."""


@pytest.fixture(scope="session")
def redis_kind() -> str:
    """Keys do not depend on the server."""
    return available_kinds()[0]


class KeysFile:
    """The file, by the keys that are in it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.entries: dict[str, str] = {}
        self.put(_STAYS, "stays")

    def put(self, key: str, name: str, rights: str = "watch:*", more: str = "") -> None:
        """Adds a key, or changes it."""
        self.entries[name] = (
            f'[[keys]]\nname = "{name}"\nhash = "{hash_of(key)}"\nrights = ["{rights}"]\n{more}\n'
        )
        self._write()

    def take_away(self, name: str) -> None:
        del self.entries[name]
        self._write()

    def text(self) -> str:
        return self.path.read_text()

    def _write(self) -> None:
        new = self.path.with_suffix(".new")
        new.write_text("".join(self.entries.values()))
        new.rename(self.path)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> KeysFile:
    return KeysFile(tmp_path_factory.mktemp("keys") / "keys.toml")


@pytest.fixture(scope="module")
def edge(redis_url: str, file: KeysFile) -> Iterator[Edge]:
    edge = Edge(redis_url, api_keys_file=file.path, missing_run="wait")
    yield edge
    assert not edge.traces()
    assert "rck_" not in edge.raw_log()
    edge.close()


async def status(edge: Edge, run_id: str, *headers: tuple[str, str], key: str = "") -> int:
    """What is answered to who shows these headers, or this key."""
    shown = [*headers, *([("x-api-key", key)] if key else [])]
    # Not for TLS, whose certificates take long to read.
    async with httpx.AsyncClient(verify=False, timeout=20) as http:
        response = await http.head(edge.events_url(run_id), headers=shown)
    return response.status_code


def watching(edge: Edge, run_id: str, key: str) -> Viewer:
    return watch(edge.events_url(run_id), headers={"x-api-key": key})


async def test_who_is_let_in(edge: Edge, run_id: str) -> None:
    good = [
        [("x-api-key", _STAYS)],
        [("X-API-KEY", f"{_STAYS}")],
        [("authorization", f"Bearer {_STAYS}")],
        [("authorization", f"bearer  {_STAYS}")],
        # What is shown on purpose decides.
        [("x-api-key", _STAYS), ("authorization", "Basic YTpi")],
    ]
    bad = [
        [],
        [("x-api-key", "")],
        [("x-api-key", "rck_wrong")],
        [("x-api-key", hash_of(_STAYS))],
        [("x-api-key", _STAYS), ("x-api-key", _STAYS)],
        [("x-api-key", "rck_wrong"), ("authorization", f"Bearer {_STAYS}")],
        [("x-api-key", "rck_" + "x" * 9000)],
        [("authorization", "Bearer")],
        [("authorization", _STAYS)],
        [("authorization", f"Basic {_STAYS}")],
        [("authorization", f"Bearer {_STAYS}"), ("authorization", f"Bearer {_STAYS}")],
        [("cookie", f"x-api-key={_STAYS}")],
    ]
    assert [await status(edge, run_id, *headers) for headers in good] == [200] * len(good)
    assert [await status(edge, run_id, *headers) for headers in bad] == [401] * len(bad)


async def test_what_is_said_to_who_is_not(edge: Edge, run_id: str) -> None:
    async with httpx.AsyncClient() as http:
        answer = await http.get(edge.events_url(run_id), headers={"x-api-key": "rck_wrong"})
    assert answer.status_code == 401
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["www-authenticate"].startswith("Bearer ")
    assert answer.headers["cache-control"] == "no-store"
    assert answer.json()["type"] == "urn:runcast:problem:not-authenticated"
    assert "rck_wrong" not in answer.text


async def test_a_key_is_added_used_changed_and_taken_away(
    edge: Edge, file: KeysFile, client: Redis, run_id: str
) -> None:
    key = f"rck_{run_id}"
    assert await status(edge, run_id, key=key) == 401
    file.put(key, run_id)
    await eventually(lambda: _is(edge, run_id, key, 200), within=_HEARTBEAT + 1)

    async with watching(edge, run_id, key) as viewer, watching(edge, run_id, _STAYS) as stays:
        first = await append(client, run_id)
        await viewer.until(1)
        file.put(key, run_id, rights="watch:other-*")
        await viewer.until_ended(within=_HEARTBEAT + 1)
        second = await append(client, run_id)
        await stays.until(2)
        assert viewer.ids == [first]
        assert stays.ids == [first, second]
        assert await status(edge, run_id, key=key) == 404
        assert await status(edge, f"other-{run_id}", key=key) == 200

        async with watching(edge, f"other-{run_id}", key) as viewer:
            file.take_away(run_id)
            await viewer.until_ended(within=_HEARTBEAT + 1)
        assert await status(edge, run_id, key=key) == 401
        assert not stays.ended.is_set()


async def test_a_stream_ends_with_its_key(edge: Edge, file: KeysFile, run_id: str) -> None:
    key = f"rck_{run_id}"
    ends = int(time.time()) + 3
    at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(ends))
    file.put(key, run_id, more=f"expires = {at}")
    await eventually(lambda: _is(edge, run_id, key, 200))
    async with watching(edge, run_id, key) as viewer:
        await viewer.until_ended(within=5)
        assert ends <= time.time() + 0.01 < ends + _HEARTBEAT + 0.5
    assert await status(edge, run_id, key=key) == 401


async def test_a_bad_file_is_said_and_leaves_who_is_there(
    edge: Edge, file: KeysFile, run_id: str
) -> None:
    async with watching(edge, run_id, _STAYS) as viewer:
        file.put("rck_bad", run_id, rights="nothing")
        await eventually(lambda: f"key '{run_id}': 'nothing' is not a right" in edge.raw_log())
        file.take_away(run_id)
        key = f"rck_{run_id}"
        file.put(key, f"{run_id}-2")
        await eventually(lambda: _is(edge, run_id, key, 200))
        assert not viewer.ended.is_set()


async def test_a_key_that_the_command_has_made(edge: Edge, file: KeysFile, run_id: str) -> None:
    made = await run_command("key", run_id, "--right", "watch:*", "--append", str(file.path))
    assert made.code == 0
    key = made.out.strip()
    assert len(key) == 47
    text = file.text()
    assert key not in made.err + text
    file.entries[run_id] = "[[keys]]" + text.rpartition("[[keys]]")[2]
    await eventually(lambda: _is(edge, run_id, key, 200))


async def _is(edge: Edge, run_id: str, key: str, expected: int) -> bool:
    return await status(edge, run_id, key=key) == expected


async def test_an_edge_with_a_bad_file_does_not_start(tmp_path: Path, redis_url: str) -> None:
    file = KeysFile(tmp_path / "keys.toml")
    file.entries["x"] = '[[keys]]\nname = "x"\nhash = "rck_the-key-itself"\nrights = []\n'
    file.take_away("stays")
    ended = await run_command(
        *("serve", "--port", "0", "--redis-url", redis_url, "--api-keys-file", str(file.path))
    )
    assert ended.code == 2
    (line,) = [line for line in ended.err.splitlines() if line.startswith("runcast: ")]
    assert line.startswith(f"runcast: api_keys_file: {file.path}: key 'x': hash must be sha256:")
    assert "the-key-itself" not in ended.err + ended.out
    assert "Traceback" not in ended.err
