"""One path, several methods, each served by an endpoint of its own.

As routes of their own, those that are looked at first would answer to a method that nobody serves,
and name only their own methods as the ones that are (RFC 9110, 15.5.6).
"""

from collections.abc import Mapping, Sequence

from starlette.types import ASGIApp, Receive, Scope, Send

from broker.edge.auth.gate import Decision, EdgeRoute

__all__ = ["by_path"]


def by_path(routes: Sequence[EdgeRoute]) -> list[EdgeRoute]:
    """The routes, those with the same path put into one.

    Where two serve the same method of a path, the earlier one has it.
    """
    endpoints: dict[str, dict[str, ASGIApp]] = {}
    decisions: dict[str, dict[str, Decision]] = {}
    for route in routes:
        served = endpoints.setdefault(route.path, {})
        for method in route.methods or ():
            served.setdefault(method, route.app)
        decided = decisions.setdefault(route.path, {})
        for method, decision in route.decisions.items():
            decided.setdefault(method, decision)
    return [
        EdgeRoute(path, _ByMethod(served), decisions[path]) for path, served in endpoints.items()
    ]


class _ByMethod:
    def __init__(self, endpoints: Mapping[str, ASGIApp]) -> None:
        self._endpoints = endpoints

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # The route lets no other method through.
        await self._endpoints[scope["method"]](scope, receive, send)
