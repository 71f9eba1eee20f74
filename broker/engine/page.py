"""One read of a run's stream, with the proof that nothing before it was skipped."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from broker.engine.continuity import Hole, Verdict, judge
from broker.engine.delivery import Batch
from broker.engine.limits import Limits
from broker.engine.log import Failover, Log, StreamInfo
from broker.engine.stats import Stats
from broker.wire.event import Event
from broker.wire.frame import Frame, encode
from broker.wire.gap import Gap, GapReason
from broker.wire.ids import START, RunId, StreamId

__all__ = ["Page", "PageReader"]

_EVENTS_TOGETHER = 8
"""How many new events a run may have in a read of many runs; who has more is read alone."""
_ATTEMPTS = 3
"""How often a read is repeated when the stream changes under it, before a gap is said."""


@dataclass(frozen=True)
class Page:
    """Events that follow a position, without a hole that is not said."""

    after: StreamId
    """The position that was asked for."""
    start: StreamId
    """The position that the events follow: `after`, unless there is a gap."""
    events: tuple[Event, ...]
    gap: Gap | None = None
    more: bool = False
    """Whether the read was cut short by its count: there may be more right behind."""
    ended: bool = False
    """Whether `after` is at or past the terminal event."""
    headless: bool = False
    """Whether it is of a run that begins anew, and may lack its beginning."""

    @cached_property
    def frames(self) -> tuple[Frame, ...]:
        """The events framed; once, however many viewers share the page."""
        return tuple(encode(event) for event in self.events)

    @cached_property
    def batch(self) -> Batch | None:
        """The frames, to be joined once for all who get them; `None` if there are none."""
        return Batch(self.frames) if self.events else None

    @property
    def size(self) -> int:
        """The bytes of the events' data."""
        return sum(len(event.data) for event in self.events)

    @property
    def last(self) -> StreamId:
        """The position after the page."""
        return self.events[-1].id if self.events else self.start

    def joined(self, following: "Page") -> "Page":
        """This page and the one that was read from its last position, as one."""
        assert following.after == self.last
        return replace(self, events=self.events + following.events, more=following.more)

    @property
    def final(self) -> bool:
        """Whether the run ends within or before this page."""
        return self.ended or (bool(self.events) and self.events[-1].final)


class PageReader:
    """Reads pages. Holds no position; knows how large this run's events tend to be."""

    def __init__(self, log: Log, limits: Limits, stats: Stats) -> None:
        self._log = log
        self._limits = limits
        self._stats = stats
        self._event_bytes: dict[RunId, float] = {}

    async def read(
        self, run_id: RunId, after: StreamId, *, lenient: bool = False, limit: int | None = None
    ) -> Page:
        """The page that follows `after`.

        Args:
            run_id: the run.
            after: a position; its own entry, if it is there, proves that nothing is missing.
            lenient: from `0-0`, begin at whatever is first, without asking what was before.
            limit: at most so many events; fewer where they are large.

        Raises:
            LogUnavailable: Redis can't be read now.
            NotAStream: the key holds something else.
        """
        count = min(limit or self._limits.page_events, self._sized(run_id))
        events: Sequence[Event] = ()
        for _ in range(_ATTEMPTS):
            events = await self._fetch(run_id, after, count)
            if events and events[0].id == after:
                if events[0].final:
                    return Page(after, after, (), ended=True)
                return self._page(run_id, after, events[1:], count)
            if after == START and lenient:
                return self._page(run_id, after, events, count)
            info = await self._log.info(run_id)
            match judge(after, events[0].id if events else None, info):
                case Verdict.READ_AGAIN:
                    continue
                case Verdict.ENDED:
                    return Page(after, after, (), ended=True)
                case Verdict.CONTINUOUS:
                    return self._page(run_id, after, events, count)
                case Hole(reason, resume_after):
                    if resume_after == START and info is not None:
                        events = await self._fetch(run_id, START, count)
                    page = _page(after, resume_after, events, count, reason=reason)
                    return replace(page, headless=not _has_beginning(info, events))
        # Read and bookkeeping never fitted together: what was read is served, the doubt is said.
        start = events[0].id.predecessor() if events else after
        return _page(after, start, events, count, reason=GapReason.UNKNOWN)

    async def read_together(self, positions: Mapping[RunId, StreamId]) -> Mapping[RunId, Page]:
        """What is new in many runs, in one read; for runs that have a little news each.

        Returns:
            Pages, without those whose position's own entry was not there to prove them, and
            without those whose events may be too large to be read with others'.

        Raises:
            LogUnavailable: Redis can't be read now.
            NotAStream: one of the keys holds something else.
        """
        small = {
            run_id: after.predecessor()
            for run_id, after in positions.items()
            if after != START and self._sized(run_id) > _EVENTS_TOGETHER
        }
        pages: dict[RunId, Page] = {}
        if not small:
            return pages
        found = await self._log.read_many(small, _EVENTS_TOGETHER + 2)
        self._stats.pages_read += 1
        for run_id, events in found.items():
            after = positions[run_id]
            self._learn(run_id, events, after)
            if events and events[0].id == after and not events[0].final:
                pages[run_id] = self._page(run_id, after, events[1:], _EVENTS_TOGETHER)
        return pages

    def forget(self, run_id: RunId) -> None:
        """Drops what was learnt about the size of this run's events."""
        self._event_bytes.pop(run_id, None)

    async def _fetch(self, run_id: RunId, after: StreamId, count: int) -> Sequence[Event]:
        inclusive = after if after == START else after.predecessor()
        # One more for the position's own entry, one more to see whether there is a next page.
        events = await self._log.read(run_id, inclusive, count + 2)
        self._stats.pages_read += 1
        self._learn(run_id, events, after)
        return events

    def _page(self, run_id: RunId, after: StreamId, events: Sequence[Event], count: int) -> Page:
        page = _page(after, after, events, count)
        failovers = self._log.failovers(run_id)
        return _up_to_failover(page, failovers) if failovers else page

    def _sized(self, run_id: RunId) -> int:
        average = self._event_bytes.get(run_id)
        if average is None:
            return min(self._limits.first_page_events, self._limits.page_events)
        fitting = int(self._limits.page_bytes / max(average, 1.0))
        return max(1, min(fitting, self._limits.page_events))

    def _learn(self, run_id: RunId, events: Sequence[Event], after: StreamId) -> None:
        # XREAD is bounded by a count only, so bytes are bounded through the events' mean size.
        # Growth is believed at once, shrinkage slowly: large events often come in groups.
        if not events:
            return
        self._stats.events_repaired += sum(event.repaired for event in events if event.id != after)
        mean = sum(len(event.data) for event in events) / len(events)
        known = self._event_bytes.get(run_id, 0.0)
        self._event_bytes[run_id] = mean if mean > known else (3 * known + mean) / 4


def _has_beginning(info: StreamInfo | None, events: Sequence[Event]) -> bool:
    """Whether these begin with the first event that the stream ever had."""
    if info is None or not events:
        return not events
    first = info.first_event
    return info.whole is True and first is not None and first.id == events[0].id


def _up_to_failover(page: Page, failovers: Sequence[Failover]) -> Page:
    """The page, cut before the first event that may have come after a failover; if that is its
    first, it has a gap before it, and whatever else may be the place is told by that, too."""
    before, gap = page.start, page.gap
    told: list[Failover] = []
    for index, event in enumerate(page.events):
        here = [one for one in failovers if one not in told and one.between(before, event.id)]
        if here and index:
            return replace(page, events=page.events[:index], gap=gap, more=True)
        if here:
            gap = Gap(page.after, event.id, GapReason.FAILOVER)
            told = here
        before = event.id
    return replace(page, gap=gap)


def _until_final(events: Sequence[Event]) -> tuple[Event, ...]:
    """The events up to the terminal one; what a producer appends after it is not the run's."""
    for index, event in enumerate(events):
        if event.final:
            return tuple(events[: index + 1])
    return tuple(events)


def _page(
    after: StreamId,
    start: StreamId,
    events: Sequence[Event],
    count: int,
    *,
    reason: GapReason | None = None,
) -> Page:
    kept = _until_final(events[:count])
    more = len(events) > count and not (kept and kept[-1].final)
    gap = None if reason is None else Gap(after, kept[0].id if kept else None, reason)
    return Page(after, start, kept, gap, more)
