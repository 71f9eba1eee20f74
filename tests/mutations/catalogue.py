"""The bugs. Each is one that could be made: an off-by-one, a check left out, a step too early."""

from dataclasses import dataclass
from typing import Final

__all__ = ["MUTATIONS", "Mutation"]


@dataclass(frozen=True)
class Mutation:
    """One bug."""

    name: str
    breaks: str
    """What goes wrong, as a viewer would see it."""
    path: str
    before: str
    """The right text; exactly once in the file."""
    after: str
    tests: tuple[str, ...]
    """What is to catch it, the quickest first."""


_SUBSCRIBER: Final = "tests/unit/test_subscriber.py"
_HUB: Final = "tests/unit/test_hub.py"
_WINDOW: Final = "tests/unit/test_window.py"
_FINDINGS: Final = "tests/unit/test_model_findings.py"
_SERVER: Final = "tests/integration/test_server.py"
_TAILS: Final = "tests/integration/test_tails.py"
_MODEL: Final = "tests/model"
_MODEL_OF: Final = "tests/model/test_model.py::test_every_viewer_is_told_the_list[{}]"
_ENGINE: Final = (_SUBSCRIBER, _HUB, _WINDOW, _FINDINGS, _MODEL)

MUTATIONS: Final = (
    Mutation(
        "handoff-too-early",
        "live before its position is the feed's end: what lies between is skipped",
        "broker/engine/subscriber.py",
        "if self.state is not State.REPLAYING or self._position != self.feed.end:",
        "if self.state is not State.REPLAYING or self._position < self.feed.window.head:",
        _ENGINE,
    ),
    Mutation(
        "handoff-after-an-await",
        "placed by where the feed stood before an await: what came meanwhile is skipped",
        "broker/engine/hub.py",
        "        if page.gap is not None or (ahead and position <= feed.end):\n",
        "        if page.gap is None and ahead:\n"
        "            subscriber.rewind()\n"
        "            return\n"
        "        if page.gap is not None:\n",
        _ENGINE,
    ),
    Mutation(
        "caught-up-too-early",
        "the replay is said to be done before it has begun",
        "broker/engine/subscriber.py",
        "        self._surroundings.stats.subscribed += 1\n",
        "        self._surroundings.stats.subscribed += 1\n"
        "        self._caught_up_said = True\n"
        "        self._write(caught_up_block(self._position))\n",
        _ENGINE,
    ),
    Mutation(
        "cursor-comparison",
        "<= for <: the event at the cursor comes again",
        "broker/engine/window.py",
        "start = bisect_right(self._frames, after, lo=self._gone, key=_ID)",
        "start = bisect_left(self._frames, after, lo=self._gone, key=_ID)",
        _ENGINE,
    ),
    Mutation(
        "window-evicts-one-too-many",
        "the head is one id too low: what was let go right after it is skipped",
        "broker/engine/window.py",
        "self.head = self._frames[gone - 1].id",
        "self.head = self._frames[max(0, gone - 2)].id",
        _ENGINE,
    ),
    Mutation(
        "window-covers-everything",
        "a position below the window is served from it: what lies between is skipped",
        "broker/engine/window.py",
        "return index < len(self._frames) and self._frames[index].id == position",
        "return index < len(self._frames)",
        _ENGINE,
    ),
    Mutation(
        "page-boundary",
        "a read that is one too short looks like the last page",
        "broker/engine/page.py",
        "events = await self._log.read(run_id, inclusive, count + 2)",
        "events = await self._log.read(run_id, inclusive, count + 1)",
        (_HUB, _MODEL),
    ),
    Mutation(
        "own-entry-not-dropped",
        "the event that proves continuity is sent again",
        "broker/engine/page.py",
        "events[1:], count)",
        "events, count)",
        (_HUB, _MODEL),
    ),
    Mutation(
        "short-page-hides-what-the-window-lets-go",
        "what left the window during a read is taken for deleted",
        "broker/engine/subscriber.py",
        "reached = page.last if page.more else max(page.last, head)",
        "reached = page.last if page.more else max(page.last, window.head)",
        _ENGINE,
    ),
    Mutation(
        "gap-suppressed",
        "the hole is found, and not said",
        "broker/engine/subscriber.py",
        "        self._write(view.dialect.gap(gap))\n",
        "",
        _ENGINE,
    ),
    Mutation(
        "trim-taken-for-nothing",
        "a position whose entry was trimmed is believed",
        "broker/engine/continuity.py",
        "        return Hole(GapReason.TRIMMED, first.predecessor())",
        "        return Verdict.CONTINUOUS",
        ("tests/unit/test_continuity.py", _MODEL),
    ),
    Mutation(
        "future-cursor-believed",
        "who has seen more than there is waits for ids that were given to others",
        "broker/engine/continuity.py",
        "    if position > info.last_generated:\n        return Hole(GapReason.RESET, START)",
        "    if position > info.last_generated:\n        return Verdict.CONTINUOUS",
        ("tests/unit/test_continuity.py", _MODEL),
    ),
    Mutation(
        "feed-skips-in-silence",
        "the tail moves past a hole, and who is live is not told",
        "broker/engine/feed.py",
        "            subscriber.skip(gap)",
        "            pass",
        _ENGINE,
    ),
    Mutation(
        "terminal-swallowed",
        "the page ends before the terminal event",
        "broker/engine/page.py",
        "return tuple(events[: index + 1])",
        "return tuple(events[:index])",
        (_HUB, _MODEL),
    ),
    Mutation(
        "slow-viewer-skipped",
        "who has drained goes on at the end, not where they were",
        "broker/engine/subscriber.py",
        "        if self.state is State.LAGGING:\n            self.state = State.REPLAYING\n",
        "        if self.state is State.LAGGING:\n            self.state = State.REPLAYING\n"
        "            self._position = self.feed.end\n",
        _ENGINE,
    ),
    Mutation(
        "slow-viewer-still-pushed-to",
        "who lags is pushed to, and then pulls the same",
        "broker/engine/live.py",
        "        self._fan.discard(subscriber.sink)",
        "        pass",
        _ENGINE,
    ),
    Mutation(
        "heartbeat-carries-an-id",
        "heartbeats are no comments any more: they end blocks and move cursors",
        "broker/engine/subscriber.py",
        "if self._view.types is None or self.position == START:",
        "if self.position == START:",
        (_SUBSCRIBER, _FINDINGS),
    ),
    Mutation(
        "stale-page",
        "a page that was read once is served for ever to who asks for the same",
        "broker/engine/flight.py",
        "        if self._running.get(key) is task:\n",
        "        if self._running.get(key) is not task:\n",
        (_HUB, _MODEL),
    ),
    Mutation(
        "stale-look",
        "a look at the run that began before it changed counts as one after",
        "broker/engine/flight.py",
        "wanted = self._started + 1",
        "wanted = self._started",
        (_HUB, _FINDINGS),
    ),
    Mutation(
        "wrong-run",
        "who asks for the same ids of another run at the same moment gets this one's",
        "broker/engine/replay.py",
        "key = (run_id, after, epoch, lenient, limit)",
        'key = (RunId(""), after, 0, lenient, limit)',
        (_HUB, _FINDINGS),
    ),
    Mutation(
        "old-pages-of-a-new-run",
        "pages that were kept outlive the stream that they were read from",
        "broker/engine/feed.py",
        "        self.epoch = next(_EPOCHS)\n        self.doubted = False\n",
        "        self.doubted = False\n",
        (_HUB, _FINDINGS),
    ),
    Mutation(
        "window-of-another-run",
        "a page of the run that is there is gone on with from a window of the one before",
        "broker/engine/hub.py",
        "        return following is None or (",
        "        return True or (",
        (_HUB, _FINDINGS),
    ),
    Mutation(
        "beginning-taken-for-granted",
        "a run that begins anew, and was trimmed since, passes for whole",
        "broker/engine/page.py",
        "                    return replace(page, headless=not _has_beginning(info, events))",
        "                    return page",
        (_HUB, _FINDINGS),
    ),
    Mutation(
        "resume-ignores-the-cursor",
        "who resumes begins at the end",
        "broker/engine/hub.py",
        "return Opening(feed, cursor, lenient=False)",
        "return Opening(feed, feed.end, lenient=False)",
        (_HUB, _MODEL),
    ),
    Mutation(
        "shifted-answers",
        "the answer of who has left goes to who asked next",
        "broker/redis/link.py",
        "                    future, _ = pending.popleft()\n",
        "                    future, _ = pending.popleft()\n"
        "                    while future.done() and pending:\n"
        "                        future, _ = pending.popleft()\n",
        (_SERVER,),
    ),
    Mutation(
        "no-sweep-of-blocked-reads",
        "a run that was deleted, or replaced by one with lower ids, is never noticed",
        "broker/redis/block_tail.py",
        "            await asyncio.sleep(self._settings.sweep_seconds)\n"
        "            await self._follower.advance(list(self._runs))\n",
        "            await asyncio.sleep(self._settings.sweep_seconds)\n",
        (_MODEL_OF.format("block"),),
    ),
    Mutation(
        "no-sweep-of-notified-runs",
        "the same, for notifications",
        "broker/redis/notify_tail.py",
        "                await self._look_at(group)",
        "                pass",
        (_MODEL_OF.format("notify"),),
    ),
    Mutation(
        "subscription-not-confirmed",
        "what came before a subscription took effect is never noticed",
        "broker/redis/notify_tail.py",
        'if kind == b"message" or kind == b"subscribe":',
        'if kind == b"message":',
        (f"{_TAILS}::test_an_event_from_before_the_subscription_took_effect_is_found",),
    ),
)
