"""What happens on the lines: between viewers and edges, and between edges and Redis."""

import asyncio
from abc import abstractmethod
from typing import ClassVar, Final

from tests.faults.kinds.fault import INTERRUPTED, Fault
from tests.faults.line import GOOD, Line, Weather
from tests.faults.stage import Needs, Stage

__all__ = [
    "RedisLineDead",
    "RedisLineLatency",
    "RedisLineReset",
    "RedisLineSlices",
    "RedisLineThrottled",
    "ViewerLineDead",
    "ViewerLineLatency",
    "ViewerLineReset",
    "ViewerLineSlices",
    "ViewerLineThrottled",
]

_LATE: Final = Weather(latency_seconds=0.15)
_THROTTLED: Final = Weather(bytes_per_second=20_000, slice_bytes=2048)
_SLICED: Final = Weather(slice_bytes=1)
_TIMES: Final = 5


class _OnLines(Fault):
    """Something on lines."""

    @staticmethod
    @abstractmethod
    def lines(stage: Stage) -> list[Line]:
        """Those that it comes over."""


class _OnViewerLines(_OnLines):
    """Between viewers and edges."""

    @property
    def needs(self) -> Needs:
        return Needs(viewer_lines=True)

    @staticmethod
    def lines(stage: Stage) -> list[Line]:
        return stage.viewer_lines


class _OnRedisLine(_OnLines):
    """Between edges and Redis."""

    @property
    def needs(self) -> Needs:
        return Needs(redis_line=True)

    @staticmethod
    def lines(stage: Stage) -> list[Line]:
        assert stage.redis_line is not None
        return [stage.redis_line]


class _BadWeather(_OnLines):
    """Lines that carry badly for a while."""

    weather: ClassVar[Weather]

    async def strike(self, stage: Stage) -> None:
        lines = self.lines(stage)
        for line in lines:
            line.weather = self.weather
        try:
            await asyncio.sleep(stage.size.seconds)
        finally:
            for line in lines:
                line.weather = GOOD


class _Resets(_OnLines):
    """Connections that break."""

    async def strike(self, stage: Stage) -> None:
        for _ in range(_TIMES):
            for line in self.lines(stage):
                line.reset(stage.source.choice((0.3, 1.0)))
            await asyncio.sleep(stage.size.seconds / _TIMES)


class _Silence(_OnLines):
    """Connections that go dead without a word."""

    async def strike(self, stage: Stage) -> None:
        for line in self.lines(stage):
            line.go_dead(stage.source.choice((0.5, 1.0)))
        await asyncio.sleep(stage.size.seconds)


class ViewerLineLatency(_OnViewerLines, _BadWeather):
    """Latency before edges."""

    name = "viewer-latency"
    title = "viewers' lines are late by 150 ms a piece"
    weather = _LATE


class ViewerLineThrottled(_OnViewerLines, _BadWeather):
    """A narrow line before edges."""

    name = "viewer-throttle"
    title = "viewers' lines carry 20 kB a second"
    weather = _THROTTLED


class ViewerLineSlices(_OnViewerLines, _BadWeather):
    """Slices before edges."""

    name = "viewer-slices"
    title = "viewers' lines carry one byte at a time"
    weather = _SLICED


class ViewerLineReset(_OnViewerLines, _Resets):
    """Resets before edges."""

    name = "viewer-reset"
    title = "viewers' connections are reset, again and again"


class ViewerLineDead(_OnViewerLines, _Silence):
    """Half-open connections before edges."""

    name = "viewer-half-open"
    title = "viewers' connections go dead without a word"


class RedisLineLatency(_OnRedisLine, _BadWeather):
    """Latency behind edges."""

    name = "redis-latency"
    title = "the line between edges and Redis is late by 150 ms a piece"
    weather = _LATE


class RedisLineThrottled(_OnRedisLine, _BadWeather):
    """A narrow line behind edges."""

    name = "redis-throttle"
    title = "the line between edges and Redis carries 20 kB a second per connection"
    weather = _THROTTLED


class RedisLineSlices(_OnRedisLine, _BadWeather):
    """Slices behind edges."""

    name = "redis-slices"
    title = "the line between edges and Redis carries one byte at a time"
    weather = _SLICED


class RedisLineReset(_OnRedisLine, _Resets):
    """Resets behind edges."""

    name = "redis-reset"
    title = "connections between edges and Redis are reset, again and again"
    shows = INTERRUPTED


class RedisLineDead(_OnRedisLine, _Silence):
    """Half-open connections behind edges."""

    name = "redis-half-open"
    title = "connections between edges and Redis go dead without a word"
    shows = INTERRUPTED
