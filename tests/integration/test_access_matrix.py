"""Every route, every kind of credential, and: none, wrong, expired, other run, right, revoked.

The routes are the edge's own table, so that a new one can't be forgotten; what is expected follows
from what was decided about each.
"""

import base64
import hashlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import httpx
import jwt
import pytest
from redis import Redis

from broker.edge.auth.gate import Public
from broker.edge.auth.identity import CredentialKind
from tests.support.edges import Edge
from tests.support.matrix import Wish, wishes
from tests.support.servers import available_kinds

pytestmark = pytest.mark.timeout(120)

SECRET: Final = base64.b64encode(hashlib.sha256(b"tokens").digest()).decode()
TICKETS: Final = base64.b64encode(hashlib.sha256(b"tickets").digest()).decode()
OTHERS: Final = base64.b64encode(hashlib.sha256(b"somebody else's").digest()).decode()
PRIVATE: Final = "nobody else may read this"
CONDITIONS: Final = ("none", "wrong", "expired", "other run", "right", "revoked")
PROFILES: Final = ("native,ag-ui,cortex,middesk,travelmode,run-agent", "coasty")
SUBJECT: Final = "alice"


@dataclass(frozen=True)
class Place:
    """An edge, the run that it is about, and who may what."""

    edge: Edge
    settings: dict[str, Any]
    run_id: str
    name: str
    ids: Mapping[str, str]
    """The ids of revocable tokens, by kind."""

    def rights(self, condition: str) -> list[str]:
        if condition == "other run":
            return [f"{action}:another-run" for action in ("watch", "publish", "command")]
        run_id = self.run_id
        return [f"watch:{run_id}", f"publish:{run_id}", "command:*", "metrics", "admin"]


@pytest.fixture(scope="session")
def redis_kind() -> str:
    """Who may what does not depend on the kind of Redis."""
    return available_kinds()[0]


def key_of(condition: str) -> str:
    return f"rck_{hashlib.sha256(condition.encode()).hexdigest()}"


def keys_file(place_rights: Mapping[str, list[str]]) -> str:
    lines = []
    for condition, rights in place_rights.items():
        digest = hashlib.sha256(key_of(condition).encode()).hexdigest()
        lines += [
            "[[keys]]",
            f'name = "{condition.replace(" ", "-")}"',
            f'hash = "sha256:{digest}"',
            f"rights = {json.dumps(rights)}",
            f'subject = "{SUBJECT}"',
        ]
        if condition == "expired":
            lines.append("expires = 2020-01-01T00:00:00Z")
    return "\n".join(lines)


def settings_of(profile: str, keys: Path, secret: Path) -> dict[str, Any]:
    return {
        "profile": profile,
        "publish": True,
        "api_keys_file": keys,
        "jwt_algorithms": "HS256",
        "jwt_key_file": secret,
        "jwt_audience": "runcast",
        "jwt_leeway_seconds": 0,
        "jwt_rights_claim": "rights",
        "session_cookie": "session",
        "ticket_secret": TICKETS,
        "requests_key": f"requests-{uuid4().hex}",
        "revocations_key": f"revoked-{uuid4().hex}",
    }


@pytest.fixture(scope="module", params=PROFILES)
def place(
    request: pytest.FixtureRequest, redis_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Place]:
    """Built once for all kinds of credentials."""
    directory = tmp_path_factory.mktemp("access")
    keys, secret = directory / "keys.toml", directory / "secret"
    secret.write_text(SECRET)
    keys.write_text("")
    run_id, name = f"t-{uuid4().hex}", f"n-{uuid4().hex}"
    settings = settings_of(request.param, keys, secret)
    ids = {kind: uuid4().hex for kind in ("bearer", "session", "ticket")}
    revoked = [word for token in ids.values() for word in ("--token", token)]
    subprocess.run(
        [
            *(sys.executable, "-m", "broker", "revoke", "--key", "revoked", *revoked),
            *("--redis-url", redis_url, "--revocations-key", settings["revocations_key"]),
        ],
        check=True,
        cwd=directory,
        timeout=30,
        capture_output=True,
    )
    with Redis.from_url(redis_url) as client:
        client.xadd(f"run:{run_id}", {"type": "chunk", "data": json.dumps({"text": PRIVATE})})
        client.hset(f"{{run:{run_id}}}:meta", "owner", SUBJECT)
        client.set(f"agent:{name}:current", run_id)
        # Not the run that the credentials of others are for.
        client.xadd("run:another-run", {"type": "chunk", "data": "{}"})
    edge = Edge(redis_url, **settings)
    place = Place(edge, settings, run_id, name, ids)
    try:
        conditions = ("expired", "other run", "right", "revoked")
        keys.write_text(keys_file({each: place.rights(each) for each in conditions}))
        yield place
    finally:
        edge.close()


def token(place: Place, kind: str, condition: str) -> str:
    now = int(time.time())
    claims: dict[str, Any] = {
        "sub": SUBJECT,
        "aud": "runcast",
        "rights": place.rights(condition),
        "iat": now - 60,
        "exp": now - 1 if condition == "expired" else now + 60,
        "jti": place.ids[kind] if condition == "revoked" else uuid4().hex,
    }
    return jwt.encode(claims, OTHERS if condition == "wrong" else SECRET, "HS256")


def ticket(place: Place, condition: str) -> str:
    now = int(time.time())
    claims = {
        "iss": "runcast",
        "aud": "runcast",
        "sub": SUBJECT,
        "run": "another-run" if condition == "other run" else place.run_id,
        "rights": ["watch", "publish", "command"],
        "iat": now - 60,
        "exp": now - 1 if condition == "expired" else now + 60,
        "jti": place.ids["ticket"] if condition == "revoked" else uuid4().hex,
        "marks": [],
    }
    secret = OTHERS if condition == "wrong" else TICKETS
    return jwt.encode(claims, secret, "HS256", headers={"typ": "runcast-ticket+jwt"})


def shown(place: Place, kind: CredentialKind, condition: str) -> dict[str, dict[str, str]]:
    """The credential, as httpx takes it."""
    if condition == "none":
        return {}
    match kind:
        case CredentialKind.API_KEY:
            return {"headers": {"x-api-key": key_of(condition)}}
        case CredentialKind.BEARER:
            return {"headers": {"authorization": f"Bearer {token(place, 'bearer', condition)}"}}
        case CredentialKind.SESSION:
            return {"headers": {"cookie": f"session={token(place, 'session', condition)}"}}
        case CredentialKind.TICKET:
            return {"params": {"ticket": ticket(place, condition)}}


def expected(wish: Wish, kind: CredentialKind, condition: str) -> set[int]:
    """The statuses that are right; of what is served, any that is no refusal."""
    served = set(wish.served)
    if isinstance(wish.decision, Public):
        return served
    kinds = wish.decision.kinds
    if (kinds and kind not in kinds) or condition in ("none", "wrong", "expired", "revoked"):
        return {401}
    of_one_run = kind is CredentialKind.TICKET or condition == "other run"
    if not wish.about_a_run:
        # Nothing else is a run's to begin with.
        return {403} if of_one_run else served
    return {404} if condition == "other run" else served


def ask(
    client: httpx.Client, place: Place, wish: Wish, shown: dict[str, dict[str, str]]
) -> tuple[int, bytes]:
    """The status, and of the body what comes at once."""
    # A page where there is one; what is a stream by its nature stays one.
    headers = {"accept": "application/json", **shown.get("headers", {})}
    request = client.build_request(
        wish.method,
        wish.target(place.run_id, place.name),
        json=wish.body,
        headers=headers,
        params=shown.get("params"),
    )
    answer = client.send(request, stream=True)
    try:
        if answer.headers.get("content-type", "").startswith("text/event-stream"):
            first = next(answer.iter_raw(), b"")
        else:
            first = answer.read()
    finally:
        answer.close()
    return answer.status_code, first


@pytest.mark.parametrize("kind", list(CredentialKind))
def test_each_route_lets_in_who_may_and_nobody_else(place: Place, kind: CredentialKind) -> None:
    table = list(wishes(place.settings))
    assert {wish.path for wish in table} >= {"/v1/runs", "/metrics", "/healthz", "/admin/drain"}
    wrong = []
    with httpx.Client(base_url=place.edge.url, timeout=10) as client:
        _await_keys(client, place)
        for wish in table:
            for condition in CONDITIONS:
                status, body = ask(client, place, wish, shown(place, kind, condition))
                right = expected(wish, kind, condition)
                if status not in right:
                    wrong.append((wish.method, wish.path, condition, status, sorted(right), body))
                if status >= 400:
                    assert PRIVATE.encode() not in body
                    assert wish.method == "HEAD" or json.loads(body)["status"] == status
    assert wrong == []
    assert place.edge.traces() == ""


def _await_keys(client: httpx.Client, place: Place) -> None:
    """The file was written after the edge began: it looks at it within a heartbeat."""
    deadline = time.monotonic() + 5
    headers = {"x-api-key": key_of("right")}
    while client.get("/metrics", headers=headers).status_code != 200:
        assert time.monotonic() < deadline, place.edge.raw_log()


def test_every_kind_has_a_route_that_takes_it(place: Place) -> None:
    """So that no column of the matrix is all refusals."""
    table = list(wishes(place.settings))
    taken = {
        kind
        for wish in table
        for kind in CredentialKind
        if not isinstance(wish.decision, Public)
        if not wish.decision.kinds or kind in wish.decision.kinds
    }
    assert taken == set(CredentialKind)
