"""How long a proxy keeps what an edge sends."""

import time
from dataclasses import dataclass
from statistics import median

import httpx
from redis.asyncio import Redis

from tests.proxies.watching import watch
from tests.support.producer import append
from tests.support.waiting import eventually

__all__ = ["Figures", "measure"]


@dataclass(frozen=True, slots=True)
class Figures:
    """What a viewer saw, in seconds."""

    http_version: str
    content_encoding: str | None
    first_byte: float
    """From the request to the first byte of the greeting, before there is any event."""
    delays: list[float]
    """From an append to the event's arrival; each was there before the next was appended."""

    @property
    def median(self) -> float:
        return median(self.delays)


async def measure(
    viewer: httpx.AsyncClient, url: str, worker: Redis, run_id: str, *, events: int
) -> Figures:
    """Watches a run that has not begun, and appends events one by one."""
    async with watch(viewer, url) as stream:
        assert stream.response.status_code == 200
        await eventually(lambda: stream.first_byte_after is not None)
        assert stream.first_byte_after is not None
        delays = []
        for number in range(events):
            appended_at = time.monotonic()
            event_id = await append(worker, run_id, f"event {number}")
            delays.append(await stream.until(event_id) - appended_at)
        return Figures(
            stream.response.http_version,
            stream.response.headers.get("content-encoding"),
            stream.first_byte_after,
            delays,
        )
