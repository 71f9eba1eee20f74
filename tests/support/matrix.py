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
    # As it is not taken: the edge is to go on.
    "/admin/drain": {"seconds": 0},
}
"""Of what is posted."""
_SERVED: Final = frozenset({200, 201, 202, 204})
_SERVED_OTHERWISE: Final[Mapping[str, int]] = {
    "/admin/drain": 400,
    # Nobody is called so.
    "/admin/subscribers/{id}": 404,
}
"""The answer of what is behind the gate, where that is no success with what is sent here."""


@dataclass(frozen=True, slots=True)
class Wish:
    """A request that a route is there for."""

    method: str
    path: str
    decision: Decision

    @property
    def about_a_run(self) -> bool:
        """Whether it is about a run that is there already."""
        named = "{run_id}" in self.path or "{name}" in self.path
        return named and not self.makes_a_run

    @property
    def makes_a_run(self) -> bool:
        """Whether it asks for a new one."""
        return self.method == "POST" and self.path in ("/v1/runs", "/v1/agents/{name}/stream")

    @property
    def served(self) -> frozenset[int]:
        """The statuses that say that it was let in."""
        if self.path in _SERVED_OTHERWISE:
            return frozenset({_SERVED_OTHERWISE[self.path]})
        return _SERVED

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
