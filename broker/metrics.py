"""The metrics page: what the engine, the tail and Redis reads have counted, in Prometheus' terms.

The hot path counts in plain numbers; this collector reads them when it is asked.
"""

import platform
from collections.abc import Iterable, Iterator

import redis as redis_py
import starlette
import uvicorn
from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
)
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from broker import __version__
from broker.edge.publishing.stats import PublishingStats
from broker.edge.refusals import ConnectionRefusal, Refusals, RequestRefusal, StreamLimit
from broker.engine.ending import Ending
from broker.engine.hub import Hub
from broker.engine.stats import LATENCY_BUCKETS
from broker.redis.streams import RedisLog
from broker.redis.tail import RedisTail
from broker.wire.gap import GapReason

__all__ = ["EdgeCollector", "make_registry"]


def make_registry(
    hub: Hub, tail: RedisTail, log: RedisLog, writing: PublishingStats, refusals: Refusals
) -> CollectorRegistry:
    """A registry of its own for one edge, so that two in a process don't mix."""
    registry = CollectorRegistry(auto_describe=True)
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
    registry.register(EdgeCollector(hub, tail, log, writing, refusals))
    return registry


class EdgeCollector(Collector):
    def __init__(
        self,
        hub: Hub,
        tail: RedisTail,
        log: RedisLog,
        writing: PublishingStats,
        refusals: Refusals,
    ) -> None:
        self._hub = hub
        self._tail = tail
        self._log = log
        self._writing = writing
        self._refusals = refusals

    def collect(self) -> Iterator[Metric]:
        yield from self._gauges()
        yield from self._counters()
        yield from self._writes()
        yield from self._refused()
        yield self._latency()
        yield InfoMetricFamily(
            "runcast_build",
            "The versions that this edge is made of.",
            value={
                "version": __version__,
                "python": platform.python_version(),
                "starlette": starlette.__version__,
                "uvicorn": uvicorn.__version__,
                "redis_py": redis_py.__version__,
            },
        )

    def _gauges(self) -> Iterator[Metric]:
        yield GaugeMetricFamily(
            "runcast_subscribers",
            "Viewers connected now, those that are being sent their last bytes included.",
            self._hub.subscriber_count,
        )
        yield GaugeMetricFamily(
            "runcast_live_subscribers",
            "Viewers at the end of their run, who get events as they happen; the others replay.",
            self._hub.live_count,
        )
        yield GaugeMetricFamily(
            "runcast_runs_watched",
            "Runs with a viewer now, or until lately; each worker counts its own.",
            self._hub.feed_count,
        )
        yield GaugeMetricFamily(
            "runcast_tail_connections",
            "Redis connections that wait for new events.",
            self._tail.connection_count,
        )
        strategy = GaugeMetricFamily(
            "runcast_tail_strategy",
            "1 for the way in which new events are noticed now.",
            labels=["strategy"],
        )
        for name in ("block", "notify"):
            strategy.add_metric([name], int(self._tail.strategy == name))
        yield strategy
        yield GaugeMetricFamily(
            "runcast_draining",
            "1 while this edge or a worker of it is leaving, else 0.",
            int(self._hub.draining),
        )
        yield GaugeMetricFamily("runcast_workers", "Processes that this edge is made of now.", 1)

    def _counters(self) -> Iterator[Metric]:
        stats = self._hub.stats
        for name, help_text, value in (
            ("subscriptions", "Streams begun.", stats.subscribed),
            (
                "events_read",
                "Events that the tail took from Redis, once per run.",
                stats.events_read,
            ),
            (
                "events_repaired",
                "Events read whose type or data had to be changed to be sent "
                "(not UTF-8; CR, LF or NUL in the type): a producer writes what it should not.",
                stats.events_repaired,
            ),
            ("frames_delivered", "Events written to viewers.", stats.frames_delivered),
            ("delivered_bytes", "Bytes of streams written to viewers.", stats.bytes_delivered),
            (
                "pages_read",
                "Reads of runs' streams, by the tail and for replays.",
                stats.pages_read,
            ),
            ("pages_shared", "Replay reads saved: read for someone else.", stats.pages_shared),
            (
                "redis_failovers",
                "Times that another Redis was found to have taken over.",
                stats.failovers,
            ),
            (
                "memory_hits",
                "Replay reads saved: served from memory.",
                stats.memory_hits,
            ),
            (
                "slow_subscribers",
                "Times that a live viewer fell behind its connection and went back to pulling.",
                stats.slow,
            ),
            (
                "stalled_subscribers",
                "Viewers dropped because they took no byte for the stall timeout.",
                stats.endings[Ending.STALLED],
            ),
            (
                "tail_wakeups",
                "Times that Redis said there is something new.",
                self._tail.stats.wakeups,
            ),
            (
                "redis_reconnects",
                "Times that a tail's connection to Redis was made again.",
                self._tail.stats.reconnects,
            ),
            (
                "tail_interruptions",
                "Times that a tail's connection to Redis failed.",
                self._tail.stats.interruptions,
            ),
        ):
            yield CounterMetricFamily(f"runcast_{name}", help_text, value)
        yield _labelled(
            "runcast_gaps",
            "Gaps said to viewers: events they asked for that could not be served.",
            "reason",
            ((reason.value, stats.gaps[reason]) for reason in GapReason),
        )
        yield _labelled(
            "runcast_disconnects",
            "Streams ended, by reason.",
            "reason",
            ((ending.value, stats.endings[ending]) for ending in Ending),
        )
        yield _labelled(
            "runcast_redis_errors",
            "Commands to Redis that failed, by kind of error.",
            "error",
            sorted(self._log.errors.items()),
        )

    def _writes(self) -> Iterator[Metric]:
        writing = self._writing
        yield GaugeMetricFamily(
            "runcast_publishing_requests",
            "Requests to publish, to command or to create a run that are under way now.",
            writing.requests,
        )
        for name, help_text, value in (
            ("published_events", "Events appended for clients over HTTP.", writing.appended),
            (
                "published_duplicates",
                "Events sent over HTTP that were in their run already, and not appended again.",
                writing.duplicates,
            ),
            (
                "published_bytes",
                "Bytes of the JSON that the appended events were sent as.",
                writing.appended_bytes,
            ),
            (
                "published_abandoned",
                "Bodies whose client left in their midst; their complete lines were appended.",
                writing.abandoned,
            ),
            ("commands", "Commands appended for clients over HTTP.", writing.commands),
            ("runs_created", "Runs asked for over HTTP, each once.", writing.runs),
            (
                "lost_runs",
                "Runs that this edge has ended because their worker was gone.",
                writing.lost_runs,
            ),
        ):
            yield CounterMetricFamily(f"runcast_{name}", help_text, value)
        yield _labelled(
            "runcast_publishing_refusals",
            "Requests to publish, to command or to create a run that were refused, by problem.",
            "problem",
            sorted(writing.refused.items()),
        )

    def _refused(self) -> Iterator[Metric]:
        refusals = self._refusals
        yield _labelled(
            "runcast_refused_connections",
            "Connections turned away before anything was read, by what they were too many for.",
            "reason",
            ((reason.value, refusals.connections[reason]) for reason in ConnectionRefusal),
        )
        yield _labelled(
            "runcast_refused_requests",
            "Requests refused before they were whole, by reason.",
            "reason",
            ((reason.value, refusals.requests[reason]) for reason in RequestRefusal),
        )
        yield _labelled(
            "runcast_refused_streams",
            "Streams and long polls refused, by what they were too many for.",
            "limit",
            ((limit.value, refusals.streams[limit]) for limit in StreamLimit),
        )

    def _latency(self) -> Metric:
        latency = self._hub.stats.latency
        buckets: list[tuple[str, float]] = []
        so_far = 0
        for bound, count in zip(LATENCY_BUCKETS, latency.counts, strict=False):
            so_far += count
            buckets.append((str(bound), so_far))
        buckets.append(("+Inf", so_far + latency.counts[-1]))
        return HistogramMetricFamily(
            "runcast_event_to_socket_seconds",
            "From an event's id (Redis' clock) to its write to a live viewer.",
            buckets=buckets,
            sum_value=latency.total,
        )


def _labelled(
    name: str, help_text: str, label: str, values: Iterable[tuple[str, int]]
) -> CounterMetricFamily:
    family = CounterMetricFamily(name, help_text, labels=[label])
    for value, count in values:
        family.add_metric([value], count)
    return family
