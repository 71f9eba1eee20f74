"""What browsers are told by a real edge, with every kind of answer."""

from collections.abc import Iterator
from typing import Any, Final

import httpx
import pytest
from redis.asyncio import Redis

from tests.support.edges import Edge
from tests.support.producer import append, key_of
from tests.support.servers import available_kinds
from tests.support.viewer import watch

_APP: Final = "https://app.example.com"
_OTHER: Final = "https://evil.example"
_SAFE: Final = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
}


@pytest.fixture(scope="session")
def redis_kind() -> str:
    """Browsers don't care which Redis an edge reads."""
    return available_kinds()[0]


@pytest.fixture(scope="module", params=[True, False], ids=["detached", "asgi"])
def cors_edge(redis_url: str, request: pytest.FixtureRequest) -> Iterator[Edge]:
    """An edge for the pages of one origin, with their cookies; each way out of it."""
    settings: dict[str, Any] = {"cors_origins": _APP, "cors_credentials": True, "publish": True}
    edge = Edge(redis_url, detach=request.param, tail="notify", **settings)
    yield edge
    assert edge.traces() == ""
    edge.close()


def assert_readable(headers: httpx.Headers | dict[str, str]) -> None:
    assert headers["access-control-allow-origin"] == _APP
    assert headers["access-control-allow-credentials"] == "true"
    assert "Runcast-Gap" in headers["access-control-expose-headers"]
    assert "origin" in headers["vary"].split(", ")
    assert headers.items() >= _SAFE.items()


def assert_not_readable(headers: httpx.Headers | dict[str, str]) -> None:
    assert not any(name.startswith("access-control-") for name in headers)
    assert "origin" in headers["vary"].split(", ")
    assert headers.items() >= _SAFE.items()


async def test_a_stream_is_readable_for_pages_on_the_list_alone(
    cors_edge: Edge, client: Redis, run_id: str
) -> None:
    await append(client, run_id)
    url = cors_edge.events_url(run_id)
    async with watch(url, headers={"origin": _APP}) as viewer:
        await viewer.until(1)
        assert_readable(viewer.response_headers)
    for stranger in ({"origin": _OTHER}, {"origin": "null"}, {}):
        async with watch(url, headers=stranger) as viewer:
            await viewer.until(1)
            assert_not_readable(viewer.response_headers)


async def test_what_an_answer_varies_by_besides_is_kept(cors_edge: Edge, run_id: str) -> None:
    headers = {"origin": _APP, "accept": "application/json"}
    async with httpx.AsyncClient(headers=headers) as http:
        page = await http.get(cors_edge.events_url(run_id, "wait=0"))
    assert page.headers["vary"] == "accept, origin"


async def test_so_is_every_other_answer(cors_edge: Edge, client: Redis, run_id: str) -> None:
    last = await append(client, run_id, "{}", "done")
    wrong = f"{run_id}-wrong"
    await client.set(key_of(wrong), "text")
    json = {"accept": "application/json"}
    asked: list[tuple[int, str, str, dict[str, str]]] = [
        (200, "GET", f"/v1/runs/{run_id}/events", json),
        (200, "HEAD", f"/v1/runs/{run_id}-new/events", {}),
        (204, "GET", f"/v1/runs/{run_id}/events", {"last-event-id": last}),
        (400, "GET", f"/v1/runs/{run_id}/events", {"last-event-id": "nonsense"}),
        (400, "GET", "/v1/runs/!/events", {}),
        (404, "GET", "/nothing", {}),
        (404, "GET", "/v1/runs/a%2F..%2Fb/events", {}),
        (405, "DELETE", f"/v1/runs/{run_id}/events", {}),
        (405, "OPTIONS", f"/v1/runs/{run_id}/events", {}),
        (409, "GET", f"/v1/runs/{wrong}/events", {}),
        (415, "POST", "/v1/runs", {"content-type": "text/plain"}),
        (200, "GET", "/healthz", {}),
        (200, "GET", "/metrics", {}),
        (200, "GET", "/openapi.json", {}),
    ]
    async with httpx.AsyncClient(base_url=cors_edge.url) as http:
        for status, method, path, headers in asked:
            answer = await http.request(method, path, headers={**headers, "origin": _APP})
            assert answer.status_code == status, (method, path)
            assert_readable(answer.headers)
            answer = await http.request(method, path, headers={**headers, "origin": _OTHER})
            assert answer.status_code == status, (method, path)
            assert_not_readable(answer.headers)


@pytest.mark.parametrize("path", ["/v1/runs/a/events", "/v1/runs", "/metrics", "/nothing"])
async def test_a_preflight_is_answered_for_pages_on_the_list_alone(
    cors_edge: Edge, path: str
) -> None:
    asks = {
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization,content-type,idempotency-key",
    }
    async with httpx.AsyncClient(base_url=cors_edge.url) as http:
        answer = await http.options(path, headers={"origin": _APP, **asks})
        assert answer.status_code == 204
        assert_readable(answer.headers)
        taken = answer.headers["access-control-allow-headers"].lower().split(", ")
        assert {"authorization", "content-type", "idempotency-key", "last-event-id"} <= set(taken)
        assert answer.headers["access-control-allow-methods"] == "GET, HEAD, POST"
        assert answer.headers["access-control-max-age"] == "7200"
        # The connection is good for what follows.
        assert (await http.get("/healthz")).status_code == 200

        answer = await http.options(path, headers={"origin": _OTHER, **asks})
        assert answer.status_code in (404, 405)
        assert_not_readable(answer.headers)


async def test_a_preflight_needs_no_credentials_and_what_follows_does(
    redis_url: str, run_id: str
) -> None:
    edge = Edge(
        redis_url,
        forward_auth_url="http://127.0.0.1:9/",
        cors_origins=_APP,
        tail="notify",
    )
    try:
        async with httpx.AsyncClient(headers={"origin": _APP}) as http:
            url = edge.events_url(run_id)
            asks = {"access-control-request-method": "GET"}
            assert (await http.options(url, headers=asks)).status_code == 204
            refused = await http.get(url)
        assert refused.status_code == 401
        # Pages may read why.
        assert refused.headers["access-control-allow-origin"] == _APP
        assert "access-control-allow-credentials" not in refused.headers
        assert refused.json()["title"] == "Not authenticated"
    finally:
        edge.close()


async def test_a_second_origin_is_none(cors_edge: Edge) -> None:
    async with httpx.AsyncClient() as http:
        both = [("origin", _APP), ("origin", _OTHER)]
        assert_not_readable((await http.get(f"{cors_edge.url}/healthz", headers=both)).headers)
