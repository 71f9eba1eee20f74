"""Routes of one path become one, so that a 405 can name all of its methods."""

from starlette.types import Message, Receive, Scope, Send

from broker.edge.auth.gate import EdgeRoute, Public
from broker.edge.by_method import by_path


class Endpoint:
    """Takes note of what it served."""

    def __init__(self) -> None:
        self.served: list[str] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.served.append(scope["method"])


async def _receive() -> Message:
    raise AssertionError("nothing is read here")


async def _send(message: Message) -> None:
    raise AssertionError("nothing is sent here")


async def test_each_method_goes_to_who_serves_it() -> None:
    watch, publish, late, other = Endpoint(), Endpoint(), Endpoint(), Endpoint()
    routes = by_path(
        [
            EdgeRoute("/events", watch, dict.fromkeys(["GET"], Public("a test"))),
            EdgeRoute("/events", publish, dict.fromkeys(["POST"], Public("a test"))),
            EdgeRoute("/events", late, dict.fromkeys(["POST", "PUT"], Public("a test"))),
            EdgeRoute("/other", other, dict.fromkeys(["POST"], Public("a test"))),
        ]
    )
    assert [(route.path, route.methods) for route in routes] == [
        ("/events", {"GET", "HEAD", "POST", "PUT"}),
        ("/other", {"POST"}),
    ]
    for method in ("GET", "HEAD", "POST", "PUT"):
        await routes[0].app({"type": "http", "method": method}, _receive, _send)
    await routes[1].app({"type": "http", "method": "POST"}, _receive, _send)
    assert watch.served == ["GET", "HEAD"]
    # The earlier one has it.
    assert publish.served == ["POST"]
    assert late.served == ["PUT"]
    assert other.served == ["POST"]
