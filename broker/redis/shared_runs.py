"""Runs that share a stream, as one to the tail: a key is watched once, whoever looks at it.

The same stream has several addresses where profiles read it differently (see `Catalogue`).
"""

from collections.abc import Sequence
from typing import Protocol

from broker.engine.hub import Follower
from broker.redis.streams import Keys
from broker.wire.ids import RunId, StreamId

__all__ = ["SharedRuns"]


class Watcher(Protocol):
    """Who watches one run of each key."""

    def begin(self, run_id: RunId) -> None:
        """Begins to watch."""

    def stop(self, run_id: RunId) -> None:
        """Stops."""


class SharedRuns:
    """Stands between a tail and its follower. The first run of a key to be watched is watched for
    all of them; when it goes, another takes its place."""

    def __init__(self, keys: Keys, watcher: Watcher) -> None:
        self._keys = keys
        self._watcher = watcher
        self._follower: Follower | None = None
        # The runs of each key that is watched, in order of arrival; the first is the one watched.
        self._runs: dict[str, dict[RunId, None]] = {}
        # Of runs that are not alone, by the one that is watched.
        self._together: dict[RunId, dict[RunId, None]] = {}

    def attach(self, follower: Follower) -> None:
        """Sets who is told."""
        self._follower = follower

    def watch(self, run_id: RunId) -> None:
        """Begins to look at a run."""
        runs = self._runs.setdefault(self._keys.key(run_id), {})
        if run_id in runs:
            return
        runs[run_id] = None
        first = next(iter(runs))
        if first == run_id:
            self._watcher.begin(run_id)
        else:
            self._together[first] = runs
            # It may be behind the one that is watched; whoever is watched anew is looked at.
            self._watcher.stop(first)
            self._watcher.begin(first)

    def unwatch(self, run_id: RunId) -> None:
        """Stops looking at it."""
        key = self._keys.key(run_id)
        runs = self._runs.get(key, {})
        if run_id not in runs:
            return
        first = next(iter(runs))
        del runs[run_id]
        if not runs:
            del self._runs[key]
        elif len(runs) == 1:
            self._together.pop(first, None)
        if first != run_id:
            return
        self._together.pop(run_id, None)
        self._watcher.stop(run_id)
        if runs:
            following = next(iter(runs))
            if len(runs) > 1:
                self._together[following] = runs
            self._watcher.begin(following)

    # ---- the follower

    def position(self, run_id: RunId) -> StreamId | None:
        """The lowest of those that share the stream."""
        assert self._follower is not None
        runs = self._together.get(run_id)
        if runs is None:
            return self._follower.position(run_id)
        positions = (self._follower.position(one) for one in runs)
        return min((position for position in positions if position is not None), default=None)

    async def advance(self, run_ids: Sequence[RunId]) -> Sequence[RunId]:
        """Has all of them take what is new; see `Follower.advance`."""
        assert self._follower is not None
        if not self._together:
            return await self._follower.advance(run_ids)
        watched = {run_id: run_id for run_id in run_ids}
        for first in run_ids:
            watched |= dict.fromkeys(self._together.get(first, ()), first)
        more = await self._follower.advance(list(watched))
        return list(dict.fromkeys(watched[run_id] for run_id in more))
