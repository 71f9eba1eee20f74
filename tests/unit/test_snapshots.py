"""Sums of metrics over processes."""

from collections.abc import Callable
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, generate_latest
from prometheus_client.registry import Collector

from broker.server.snapshots import Snapshot


def registry(*, viewers: float, events: float, seconds: float, started: float) -> CollectorRegistry:
    made = CollectorRegistry()
    Gauge("runcast_subscribers", "Viewers.", registry=made).set(viewers)
    Gauge("runcast_draining", "Leaving.", registry=made).set(1)
    Gauge("process_start_time_seconds", "Start.", registry=made).set(started)
    Counter("runcast_gaps", "Gaps.", ["reason"], registry=made).labels("trimmed").inc(events)
    Histogram("runcast_seconds", "Delay.", buckets=(1, 10), registry=made).observe(seconds)
    Info("runcast_build", "Versions.", registry=made).info({"version": "1"})
    return made


ONE: Final = registry(viewers=2, events=5, seconds=0.5, started=200)
OTHER: Final = registry(viewers=3, events=7, seconds=20, started=100)


class Shown(Collector):
    def __init__(self, snapshot: Snapshot) -> None:
        self.collect: Callable[[], object] = snapshot.metrics  # type: ignore[assignment]


def value(snapshot: Snapshot, name: str, **labels: str) -> float | None:
    return next(
        (
            sample.value
            for metric in snapshot.metrics()
            for sample in metric.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        ),
        None,
    )


def test_what_was_taken_is_shown_as_it_was() -> None:
    snapshot = Snapshot.of(ONE.collect())
    assert generate_latest(Shown(snapshot)) == generate_latest(ONE)
    assert generate_latest(Shown(Snapshot.load(snapshot.dump()))) == generate_latest(ONE)


def test_a_total() -> None:
    total = Snapshot.total([Snapshot.of(ONE.collect()), Snapshot.of(OTHER.collect())])
    assert value(total, "runcast_subscribers") == 5
    assert value(total, "runcast_gaps_total", reason="trimmed") == 12
    assert value(total, "runcast_seconds_bucket", le="1.0") == 1
    assert value(total, "runcast_seconds_bucket", le="+Inf") == 2
    assert value(total, "runcast_seconds_sum") == 20.5


def test_what_is_no_amount_is_not_summed() -> None:
    total = Snapshot.total([Snapshot.of(ONE.collect()), Snapshot.of(OTHER.collect())])
    assert value(total, "runcast_draining") == 1
    assert value(total, "runcast_build_info") == 1
    assert value(total, "process_start_time_seconds") == 100


def test_series_that_only_one_has() -> None:
    some = CollectorRegistry()
    Counter("runcast_gaps", "Gaps.", ["reason"], registry=some).labels("reset").inc()
    total = Snapshot.total([Snapshot.of(ONE.collect()), Snapshot.of(some.collect())])
    assert value(total, "runcast_gaps_total", reason="trimmed") == 5
    assert value(total, "runcast_gaps_total", reason="reset") == 1


def test_of_one_that_has_ended_only_its_counters_stay() -> None:
    left = Snapshot.of(ONE.collect()).counted()
    assert {metric.name for metric in left.metrics()} == {"runcast_gaps", "runcast_seconds"}
    assert value(left, "runcast_gaps_total", reason="trimmed") == 5


def test_a_total_leaves_its_parts_alone() -> None:
    part = Snapshot.of(ONE.collect())
    Snapshot.total([part, part])
    assert value(part, "runcast_subscribers") == 2
