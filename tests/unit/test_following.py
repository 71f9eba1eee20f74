"""Following a run: what each answer and each block of it means, how long it waits, and when."""

import random
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from broker.commands.following import (
    Following,
    Refused,
    SeenEvent,
    Target,
    reconnect_seconds,
)
from broker.commands.watching import time_of

OVER = httpx.Response(204)


def stream(*blocks: str) -> httpx.Response:
    """An event stream that ends well."""
    return httpx.Response(
        200,
        headers={"content-type": "text/event-stream; charset=utf-8"},
        content="".join(blocks).encode(),
    )


class Log:
    """A listener that writes down what it is told."""

    def __init__(self) -> None:
        self.events: list[SeenEvent] = []
        self.said: list[str] = []

    def event(self, event: SeenEvent) -> None:
        self.events.append(event)

    def gap(self, gap: dict[str, Any]) -> None:
        self.said.append(f"gap {gap['reason']}")

    def caught_up(self) -> None:
        self.said.append("caught up")

    def waiting(self, why: str, seconds: float) -> None:
        self.said.append(f"waiting: {why}")


class Followed:
    """A following of a server that gives these answers in turn."""

    def __init__(self, answers: Sequence[httpx.Response | Exception]) -> None:
        self.log = Log()
        self.requests: list[httpx.Request] = []
        self.waits: list[float] = []
        self._answers = iter(answers)

    async def run(self, *, cursor: str | None = None, types: str | None = None) -> None:
        transport = httpx.MockTransport(self._answer)
        async with httpx.AsyncClient(transport=transport) as client:
            await Following(
                client,
                Target("http://edge/v1/runs/r/events", types=types),
                self.log,
                cursor=cursor,
                random_source=random.Random(1),
                sleep=self._sleep,
            ).run()

    @property
    def cursors(self) -> list[str | None]:
        """What each request asked to go on after."""
        return [request.headers.get("last-event-id") for request in self.requests]

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        answer = next(self._answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def _sleep(self, seconds: float) -> None:
        self.waits.append(seconds)


async def test_an_event_moves_the_cursor_and_the_end_after_it_is_asked_about_at_once() -> None:
    first = stream("retry: 3000\n\n", "id: 5-1\nevent: chunk\ndata: a\ndata: b\n\n")
    followed = Followed([first, OVER])
    await followed.run(cursor="5-0")
    assert followed.log.events == [SeenEvent("5-1", "chunk", "a\nb")]
    assert followed.cursors == ["5-0", "5-1"]
    assert followed.waits == [0]


async def test_a_block_with_only_an_id_moves_the_cursor_where_types_are_filtered() -> None:
    followed = Followed(
        [stream("id: 5-1\nevent: a\ndata: 1\n\n", ": heartbeat\nid: 5-7\n\n"), OVER]
    )
    await followed.run(types="a")
    assert [event.id for event in followed.log.events] == ["5-1"]
    assert followed.cursors == [None, "5-7"]


async def test_an_event_without_type_and_data_is_one() -> None:
    followed = Followed([stream("id: 5-1\ndata: \n\n", "id: 5-2\nevent: a\ndata: \n\n"), OVER])
    await followed.run()
    assert followed.log.events == [SeenEvent("5-1", "message", ""), SeenEvent("5-2", "a", "")]


async def test_a_block_cut_short_is_not_taken() -> None:
    followed = Followed([stream("id: 5-1\ndata: 1\n\n", "id: 5-2\ndata: {"), OVER])
    await followed.run()
    assert followed.cursors == [None, "5-1"]
    assert len(followed.log.events) == 1


async def test_where_it_caught_up_is_the_cursor_until_an_event_comes() -> None:
    caught_up = 'event: runcast.caught-up\ndata: {"id":"5-9"}\n\n'
    followed = Followed([stream("retry: 2000\n\n", caught_up), OVER])
    await followed.run()
    assert followed.log.said == ["caught up"]
    assert followed.cursors == [None, "5-9"]
    assert 2 <= followed.waits[0] <= 3


async def test_control_events_are_no_events_even_with_an_id_or_an_unknown_name() -> None:
    gap = 'event: runcast.gap\ndata: {"requested":"5-0","resumed_at":null,"reason":"reset"}\n\n'
    news = "event: runcast.news\ndata: {}\n\n"
    followed = Followed([stream("retry: 1000\nid: 5-0\n", gap, news), OVER])
    await followed.run()
    assert followed.log.said == ["gap reset"]
    assert followed.log.events == []
    assert followed.cursors == [None, "5-0"]


@pytest.mark.parametrize(
    "answer",
    [
        lambda: httpx.ConnectError("refused"),
        lambda: httpx.ReadTimeout("silent"),
        lambda: httpx.Response(503),
        lambda: httpx.Response(502, text="bad gateway"),
        lambda: httpx.Response(429),
    ],
)
async def test_what_may_pass_is_waited_out_longer_each_time(
    answer: Callable[[], httpx.Response | Exception],
) -> None:
    followed = Followed([answer(), answer(), answer(), OVER])
    await followed.run(cursor="5-1")
    assert followed.cursors == ["5-1"] * 4
    assert [text.partition(":")[0] for text in followed.log.said] == ["waiting"] * 3
    assert followed.waits == sorted(followed.waits)
    assert followed.waits[2] >= 3


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (
            httpx.Response(
                400,
                headers={"content-type": "application/problem+json"},
                content=b'{"title": "Not a cursor", "detail": "Send\\nanother."}',
            ),
            "Not a cursor: Send another.",
        ),
        (httpx.Response(403, text="no"), "http://edge/v1/runs/r/events answered 403 Forbidden"),
        (httpx.Response(301), "http://edge/v1/runs/r/events answered 301 Moved Permanently"),
        (httpx.Response(200, html="<p>"), "http://edge/v1/runs/r/events is not an event stream"),
        (
            stream("event: runcast.gap\ndata: nonsense\n\n"),
            "the server's runcast.gap is not a JSON object",
        ),
    ],
)
async def test_what_will_not_pass_ends_it(answer: httpx.Response, text: str) -> None:
    followed = Followed([answer])
    with pytest.raises(Refused) as caught:
        await followed.run()
    assert str(caught.value).startswith(text)
    assert followed.waits == []


@pytest.mark.parametrize(
    ("retry", "failures", "least", "most"),
    [
        (3.0, 0, 3.0, 4.5),
        (1.0, 1, 1.5, 3.0),
        (1.0, 3, 6.0, 12.0),
        (1.0, 50, 15.0, 30.0),
        (60.0, 0, 60.0, 60.0),
        (60.0, 9, 60.0, 60.0),
        (0.0, 0, 0.1, 0.15),
    ],
)
def test_the_wait_is_what_the_server_asks_for_and_doubles_with_jitter(
    retry: float, failures: int, least: float, most: float
) -> None:
    source = random.Random(1)
    waits = [reconnect_seconds(retry, failures, source) for _ in range(200)]
    assert least <= min(waits)
    assert max(waits) <= most
    if least < most:
        assert max(waits) - min(waits) > (most - least) / 2


@pytest.mark.parametrize(
    ("event_id", "moment"),
    [
        ("1767225600123-0", datetime(2026, 1, 1, 0, 0, 0, 123_000, UTC)),
        ("0-7", None),
        ("18446744073709551615-0", None),
        ("abc", None),
        ("", None),
    ],
)
def test_an_id_has_a_time_where_its_first_part_is_one(
    event_id: str, moment: datetime | None
) -> None:
    assert time_of(event_id) == moment
