"""An edge's answers, its refusals among them, reach the client as they are."""

from typing import Final
from uuid import uuid4

import httpx
import pytest

from tests.proxies.proxy import Proxy
from tests.support.edges import Edge

_ITS_OWN: Final = {
    *("date", "server", "via", "connection", "keep-alive", "transfer-encoding", "alt-svc"),
    *("content-length", "vary"),
}
"""Headers of a connection, or that a proxy may add."""
_JSON: Final = {"accept": "application/json"}


@pytest.mark.parametrize(
    ("method", "path", "headers"),
    [
        ("GET", "/v1/runs/{run_id}/events?last_event_id=nonsense", {}),
        ("GET", "/v1/runs/not%20a%20run/events", {}),
        ("GET", "/nowhere", _JSON),
        ("DELETE", "/v1/runs/{run_id}/events", {}),
        ("GET", "/v1/runs/{run_id}/events?limit=10", _JSON),
        ("GET", "/openapi.json", {}),
    ],
    ids=["bad-cursor", "bad-run", "unknown-path", "wrong-method", "page", "large"],
)
def test_an_answer_is_the_edges_own(
    proxy: Proxy, edges: tuple[Edge, Edge], method: str, path: str, headers: dict[str, str]
) -> None:
    target = path.format(run_id=f"t-{uuid4().hex}")
    direct = httpx.request(method, f"{edges[0].url}{target}", headers=headers)
    with httpx.Client(http2=True, verify=proxy.trust()) as client:
        proxied = client.request(method, f"{proxy.url}{target}", headers=headers)
    assert proxied.status_code == direct.status_code
    assert proxied.content == direct.content
    assert _of_the_edge(proxied) == _of_the_edge(direct)


def _of_the_edge(response: httpx.Response) -> dict[str, list[str]]:
    # The members of Allow come in any order, another one in each process.
    return {
        name: sorted(text.split(", "))
        for name, text in response.headers.items()
        if name not in _ITS_OWN
    }
