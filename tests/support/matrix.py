"""Every route of an edge, from its own table, with a request that would be served.

A test that goes by this can't forget a route: one that is not known here fails it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from broker.app import make_edge
from broker.edge.auth.gate import Decision
from broker.settings import load_settings

__all__ = ["Wish", "wishes"]

_BODIES: Final[Mapping[str, Any]] = {
    "/v1/runs": {"input": {}},
    "/v1/runs/{run_id}/commands": {"type": "pause"},
    "/v1/runs/{run_id}/events": {"type": "chunk", "data": "x"},
    "/v1/runs/{run_id}/tickets": {"seconds": 5},
    "/v1/agents/{name}/stream": {"query": "Hi"},
    # AG-UI's clients send a body that is not looked at.
    "/v1/runs/{run_id}/ag-ui": {},
    "/v1/runs/{run_id}/stream": {},
}
"""Of what is posted."""


@dataclass(frozen=True, slots=True)
class Wish:
    """A request that a route is there for."""

    method: str
    path: str
    decision: Decision

    @property
    def about_a_run(self) -> bool:
        """Whether it is about a run that is there already."""
        return "{" in self.path and not self.makes_a_run

    @property
    def makes_a_run(self) -> bool:
        """Whether it asks for a new one."""
        return self.method == "POST" and self.path in ("/v1/runs", "/v1/agents/{name}/stream")

    @property
    def body(self) -> Any:
        """What is sent with it."""
        return _BODIES[self.path] if self.method == "POST" else None

    def target(self, run_id: str, name: str) -> str:
        """Its path, for a run, or for a name that points to it."""
        return self.path.replace("{run_id}", run_id).replace("{name}", name)


def wishes(settings: Mapping[str, Any]) -> Iterator[Wish]:
    """One for each method of each route that an edge with these settings has."""
    for route in make_edge(load_settings(dict(settings)), "redis://localhost").routes:
        for method in route.methods or ():
            decided_as = "GET" if method == "HEAD" else method
            yield Wish(method, route.path, route.decisions[decided_as])
