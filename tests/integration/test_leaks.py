"""No secret leaves an edge: not in its log, its metrics or its answers, whatever goes wrong.

An edge at the log level `debug` is sent every kind of credential, right and wrong, in each place
where one belongs and where people put it by mistake; and everything that can fail, fails. Then all
that it has said is searched for each piece of each secret.
"""

import asyncio
import base64
import hashlib
import itertools
import os
import re
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx
import jwt
import pytest
import redis
from redis.asyncio import Redis

from tests.support.auth_endpoint import AuthEndpoint, Question, Says
from tests.support.edge_with_defect import DEFECT_PATH
from tests.support.edges import QUICK
from tests.support.producer import append, key_of
from tests.support.servers import RedisProcess, available_kinds, binary_of, free_port
from tests.support.viewer import watch
from tests.support.waiting import eventually_sync

_AUDIENCE: Final = "runcast-test"
_PIECE: Final = 12
"""Characters of a secret that must not be seen in a row."""
_SECONDS: Final = 20


def _random() -> str:
    return base64.urlsafe_b64encode(secrets.token_bytes(36)).decode()


def _token(key: str, **claims: Any) -> str:
    told = {"aud": _AUDIENCE, "sub": "ann", "exp": time.time() + 600, "jti": _random(), **claims}
    return jwt.encode(told, key, algorithm="HS256")


@dataclass
class _Secrets:
    """What nobody may see."""

    redis_password: str
    jwt_secret: str
    ticket_secret: str
    api_key: str
    session: str
    token: str
    wrong: list[str]
    """Of every kind, which nobody accepts; their owners may have meant another's server."""
    handed_out: list[str]
    """Tickets that the edge itself has made."""

    @property
    def presented(self) -> list[str]:
        """What clients show."""
        return [self.api_key, self.session, self.token, *self.wrong, *self.handed_out]

    @property
    def all(self) -> list[str]:
        return [self.redis_password, self.jwt_secret, self.ticket_secret, *self.presented]


def _make_secrets() -> _Secrets:
    jwt_secret = _random()
    return _Secrets(
        redis_password=_random(),
        jwt_secret=jwt_secret,
        ticket_secret=_random(),
        api_key=_random(),
        session=_random(),
        token=_token(jwt_secret),
        wrong=[
            _random(),
            _token(_random()),
            _token(jwt_secret, exp=time.time() - 3600),
            _token(jwt_secret, aud="others"),
        ],
        handed_out=[],
    )


def _pieces(texts: Iterable[str]) -> dict[str, str]:
    """All pieces of these, and what each is of."""
    return {
        text[start : start + _PIECE]: text
        for text in texts
        for start in range(len(text) - _PIECE + 1)
    }


def _leak(said: str, pieces: dict[str, str]) -> str:
    """The first place where `said` has a piece, with a little around it; empty if there is none."""
    for start in range(len(said) - _PIECE + 1):
        if said[start : start + _PIECE] in pieces:
            return said[max(0, start - 80) : start + 80]
    return ""


class _Running:
    """The edge, and what it has written."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self.process = process
        self._log = log
        self.url = eventually_sync(self._listening, within=_SECONDS)

    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def _listening(self) -> str:
        assert self.process.poll() is None, self.log()
        found = re.search(r"listening\b.*?(http://127\.0\.0\.1:\d+)", self.log())
        # The console's has the fields after the event, JSON's in any order.
        found = found or re.search(r"(http://127\.0\.0\.1:\d+).*\blistening\b", self.log())
        return "" if found is None else found[1]


@contextmanager
def _running(directory: Path, **settings: Any) -> Iterator[_Running]:
    log = directory / "log"
    chosen = {**QUICK, "port": free_port(), "log_level": "debug", **settings}
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.edge_with_defect"],
            stdout=output,
            stderr=subprocess.STDOUT,
            env={
                **os.environ,
                **{f"RUNCAST_{name.upper()}": str(value) for name, value in chosen.items()},
                "PYTHONPATH": str(Path(__file__).parents[2]),
            },
            cwd=directory,
        )
    try:
        yield _Running(process, log)
    finally:
        process.kill()
        process.wait()


_Place = tuple[dict[str, str], dict[str, str]]
"""Headers and query."""


def _right_places(secret: str) -> list[_Place]:
    """Where a secret of some kind belongs, and all of them at once."""
    return [
        ({}, {"ticket": secret}),
        ({"X-API-Key": secret}, {}),
        ({"Authorization": f"Bearer {secret}"}, {}),
        ({"Cookie": f"session={secret}"}, {}),
        ({"Authorization": f"Bearer {secret}", "Cookie": secret}, {"ticket": secret}),
    ]


def _all_places(secret: str) -> list[_Place]:
    """And where it is put by mistake."""
    queries = ("token", "access_token", "api_key", "key", "jwt", "session")
    headers = {
        "Authorization": secret,
        "authorization": f"Basic {secret}",
        "Api-Key": secret,
        "Proxy-Authorization": secret,
        "Origin": f"https://{secret}.example",
    }
    return [
        *_right_places(secret),
        *(({}, {name: secret}) for name in queries),
        *(({name: text}, {}) for name, text in headers.items()),
    ]


_WISHES: Final[tuple[tuple[str, str, dict[str, str]], ...]] = (
    ("GET", "/v1/runs/{run}/events", {"accept": "application/json"}),
    ("HEAD", "/v1/runs/{run}/events", {}),
    ("GET", "/v1/runs/{run}/events", {"last-event-id": "nonsense"}),
    ("GET", "/v1/runs/{wrong}/events", {}),
    ("GET", "/v1/runs/!/events", {}),
    ("POST", "/v1/runs", {"content-type": "text/plain"}),
    ("DELETE", "/v1/runs/{run}/events", {}),
    ("GET", "/nothing", {}),
    ("GET", "/metrics", {}),
    ("GET", DEFECT_PATH, {"connection": "close"}),
)


async def _ask_all(url: str, run_id: str, known: _Secrets) -> AsyncIterator[httpx.Response]:
    """The answers to every wish with every secret in every place."""
    runs = {"run": run_id, "wrong": f"{run_id}-wrong"}
    async with httpx.AsyncClient(base_url=url, timeout=_SECONDS) as http:
        for secret, wish in itertools.product(known.presented, _WISHES):
            method, path, more = wish
            everywhere = wish in (_WISHES[0], _WISHES[-1])
            for headers, query in (_all_places if everywhere else _right_places)(secret):
                yield await http.request(
                    method, path.format(**runs), headers={**headers, **more}, params=query
                )


async def _bad_http(port: int, secret: str) -> str:
    """What is answered to bytes that are no HTTP, and to too many of them."""
    said = b""
    for request in (
        f"GET /v1/runs/a/events?ticket={secret} HTTP/9\r\n\r\n",
        f"GET /?ticket={secret} HTTP/1.1\r\nX-API-Key: {secret}\r\nno header {secret}\r\n\r\n",
        f"GET /?ticket={secret}&a={'a' * 70_000} HTTP/1.1\r\nhost: a\r\n\r\n",
        f"GET / HTTP/1.1\r\nhost: a\r\ncookie: {secret}{'a' * 70_000}\r\n\r\n",
        f"GET / HTTP/1.1\r\nhost: a\r\nupgrade: h2c\r\nconnection: upgrade\r\nx-api-key: {secret}"
        "\r\n\r\n",
        f"{secret}\r\n\r\n",
    ):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(request.encode())
            writer.write_eof()
            async with asyncio.timeout(_SECONDS):
                said += await reader.read()
        except ConnectionResetError:
            # It did not care for the rest.
            continue
        finally:
            writer.close()
    return said.decode("latin-1")


@pytest.fixture
def locked_redis() -> Iterator[tuple[RedisProcess, str]]:
    """A server that the test may kill, and its password."""
    server, password = RedisProcess(binary_of(available_kinds()[0])), _random()
    server.start()
    with redis.Redis.from_url(server.url) as client:
        client.config_set("requirepass", password)
    yield server, password
    server.close()


@pytest.mark.timeout(180)
@pytest.mark.parametrize("log_format", ["json", "console"])
async def test_no_piece_of_a_secret_is_ever_said(
    log_format: str, locked_redis: tuple[RedisProcess, str], run_id: str, tmp_path: Path
) -> None:
    server, password = locked_redis
    known = _make_secrets()
    known.redis_password = password
    redis_url = server.url.replace("//", f"//:{password}@")
    keys = tmp_path / "keys.toml"
    digest = hashlib.sha256(known.api_key.encode()).hexdigest()
    keys.write_text(
        f'[[keys]]\nname = "a"\nhash = "sha256:{digest}"\n'
        'rights = ["watch:*", "publish:*", "command:@own", "metrics"]\n'
    )
    secret_file = tmp_path / "jwt"
    secret_file.write_text(known.jwt_secret)

    def says(question: Question) -> Says:
        good = known.session in question.headers.get("cookie", "")
        return Says(204 if good else 401, {"Set-Cookie": f"renewed={known.session}"})

    answers: list[str] = []
    with AuthEndpoint() as endpoint:
        endpoint.says = says
        with _running(
            tmp_path,
            redis_url=redis_url,
            log_format=log_format,
            api_keys_file=keys,
            jwt_key_file=secret_file,
            jwt_algorithms="HS256",
            jwt_audience=_AUDIENCE,
            jwt_rights="watch:* command:@own",
            ticket_secret=known.ticket_secret,
            forward_auth_url=endpoint.url,
            forward_auth_timeout_seconds=1,
            publish=True,
            cors_origins="https://app.example.com",
            cors_credentials=True,
        ) as edge:
            async with Redis.from_url(redis_url, decode_responses=True) as client:
                await append(client, run_id)
                await client.set(key_of(f"{run_id}-wrong"), "text")
            events = f"{edge.url}/v1/runs/{run_id}/events"
            async with httpx.AsyncClient(headers={"X-API-Key": known.api_key}) as http:
                made = await http.post(f"{edge.url}/v1/runs/{run_id}/tickets")
                assert made.status_code == 201
                known.handed_out.append(made.json()["ticket"])
                known.wrong.append(f"{known.handed_out[0][:-8]}AAAAAAAA")

            # What is right is let in, so that its way is gone to the end.
            shown: list[_Place] = [
                ({}, {"ticket": known.handed_out[0]}),
                ({"X-API-Key": known.api_key}, {}),
                ({"Authorization": f"Bearer {known.token}"}, {}),
                ({"Cookie": f"a=b; session={known.session}"}, {}),
            ]
            for headers, query in shown:
                url = str(httpx.URL(events, params=query))
                async with watch(url, headers=headers) as viewer:
                    await viewer.until(1)
                    answers.append(f"{viewer.response_headers} {bytes(viewer.body)!r}")

            statuses = set()
            async for answer in _ask_all(edge.url, run_id, known):
                statuses.add(answer.status_code)
                answers.append(f"{answer.headers} {answer.text}")
            assert {200, 400, 401, 404, 405, 409, 415, 500} <= statuses

            # Then all that it needs is away.
            endpoint.stop()
            server.kill()
            statuses.clear()
            async with httpx.AsyncClient(timeout=_SECONDS) as http:
                for secret in known.presented:
                    for headers, query in _right_places(secret):
                        json = {**headers, "accept": "application/json"}
                        answer = await http.get(events, headers=json, params=query)
                        statuses.add(answer.status_code)
                        answers.append(f"{answer.headers} {answer.text}")
            assert 503 in statuses
            port = int(edge.url.rpartition(":")[2])
            answers += [await _bad_http(port, secret) for secret in known.presented]
            assert "bad-http" in answers[-1]

            edge.process.send_signal(signal.SIGTERM)
            edge.process.wait(_SECONDS)
            log = edge.log()

    pieces = _pieces(known.all)
    assert _leak(log, pieces) == ""
    assert _leak("\n".join(answers), pieces) == ""
    # It did speak: of the defect with its trace, of the streams and of what was away.
    for said in ("Traceback", "ZeroDivisionError: a defect", "stream ended", "forward auth gives"):
        assert said in log
    assert "runcast_subscribers" in "\n".join(answers)


def test_the_search_finds_a_piece() -> None:
    pieces = _pieces(["0123456789abcdef"])
    assert _leak("x 3456789abcde y", pieces)
    assert not _leak("x 3456789abcd y", pieces)
