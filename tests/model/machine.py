"""The rules: what producers, operators, networks and viewers do to two edges and two runs.

The edges run in the machine's own loop, and only while a rule lets them: between two rules the
world stands still, and a rule that only lets them breathe stops them in the middle of whatever they
do. Producers and operators are a plain client outside of the loop.
"""

import asyncio
import time
from collections.abc import Coroutine, Sequence
from contextlib import AsyncExitStack, ExitStack
from typing import Any, TypeVar
from uuid import uuid4

import redis
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from structlog.testing import capture_logs

from broker.engine.delivery import View
from broker.engine.ending import Ending
from broker.engine.hub import Hub
from broker.engine.log import LogUnavailable
from broker.redis.streams import parse_id
from broker.redis.tail import Strategy
from broker.wire.frame import greeting
from broker.wire.ids import START, RunId, StreamId
from broker.wire.request import Beginning, Latest, Newest, Resume, Since, Start
from tests.model.account import Account, Place
from tests.model.client import Client, Connection, RecordingSink
from tests.model.edge import KEYS, LIMITS, TERMINAL, Clock, open_hub
from tests.model.world import Life, Removal, World
from tests.support.servers import RedisProcess
from tests.support.waiting import eventually

__all__ = ["EngineMachine"]

Result = TypeVar("Result")

_SETTLE_SECONDS = 3.0
_MOST_CLIENTS = 5
_LARGE = 300
"""More than may be unsent, and half of what a page aims at."""
_ERA_STEP = 10
_MOST_IN_A_ROW = 8
"""Of neighbouring ids: fewer than what lies between two eras."""

RUNS = st.sampled_from([0, 0, 0, 1])
SIZES = st.lists(st.sampled_from([0, 0, 0, 5, _LARGE]), min_size=1, max_size=8)
PAUSES = st.sampled_from([0, 0, 2, 8, None])
EDGES = st.sampled_from([0, 0, 1])
KINDS = st.sampled_from(["all", "start", "latest", "newest", "since", "id", "never", "future"])
CLIENTS = st.integers(0, _MOST_CLIENTS - 1)


class Run:
    """A run's key, and what the model knows of it."""

    def __init__(self, server: "redis.Redis") -> None:
        self.id = RunId(f"m-{uuid4().hex}")
        self.key = KEYS.key(self.id)
        self.world = World()
        self.known: list[StreamId] = []
        """What was there when all was settled last."""
        self.settled_at = 0
        """The world's version then: reads that are under way are not older."""
        self.replica: tuple[bytes, Life] | None = None
        """What a replica has that is behind, and would be promoted."""
        self._server = server
        self._era = 0
        self._clocked = False
        self._highest = START
        self._serial = 0

    def next_era(self, *, clocked: bool, low: bool) -> None:
        """From here on ids differ from all before.

        Args:
            clocked: whether Redis makes them from its clock.
            low: else, whether they begin anew from the lowest.
        """
        self._era += 1
        self._clocked = clocked
        if low and not clocked:
            self._highest = START
        if clocked:
            # An id of this millisecond may have been given already.
            time.sleep(0.003)

    def append(
        self, sizes: list[int], *, stride: int, final: bool = False, kept: int | None = None
    ) -> None:
        """Entries with data of these sizes, in one transaction.

        Args:
            sizes: of the data, in bytes.
            stride: how far each id is from the one before; 0 for the very next.
            final: whether the last one ends the run.
            kept: trim to so many, each time.
        """
        if self.world.life is None and self._era == 0:
            self.next_era(clocked=False, low=True)
        rows: list[tuple[str, str]] = []
        with self._server.pipeline(transaction=True) as pipeline:
            for number, size in enumerate(sizes, 1):
                self._serial += 1
                data = f"{self._serial}:{'x' * size}"
                kind = TERMINAL if final and number == len(sizes) else "chunk"
                wanted = "*" if self._clocked else str(self._next_id(stride))
                pipeline.xadd(
                    self.key, {"type": kind, "data": data}, wanted, maxlen=kept, approximate=False
                )
                rows.append((wanted, data))
            given = [parse_id(one) for one in pipeline.execute()]
        self._highest = given[-1]
        self.world.append(zip(given, [data for _, data in rows], strict=True), final=final)
        if kept is not None:
            present = self.world.present
            self.world.remove(present[: max(0, len(present) - kept)], Removal.TRIMMED)

    def end(self, how: str) -> None:
        """The key goes."""
        if how == "delete":
            self._server.delete(self.key)
        else:
            self._server.pexpire(self.key, 1)
            time.sleep(0.003)
            assert not self._server.exists(self.key)
        self.world.end()

    def check(self) -> None:
        """
        Raises:
            AssertionError: the model is not the stream.
        """
        entries: Any = self._server.xrange(self.key)
        there = [parse_id(entry_id) for entry_id, _ in entries]
        assert there == self.world.present

    def fall_behind(self) -> None:
        """A replica stops following here."""
        dumped = self._server.dump(self.key)
        if dumped is not None and self.world.life is not None:
            self.replica = (dumped, self.world.life.copy())

    def fail_over(self) -> None:
        """The replica is promoted."""
        assert self.replica is not None
        dumped, life = self.replica
        self._server.restore(self.key, 0, dumped, replace=True)
        self.next_era(clocked=self._clocked, low=False)
        given: Any = self._server.xinfo_stream(self.key)
        self._highest = max(self._highest, parse_id(given["last-generated-id"]))
        self.world.begin(life.copy())

    def _next_id(self, stride: int) -> StreamId:
        ms, seq = self._highest
        base = self._era * _ERA_STEP
        if stride == 0 and base <= seq < base + _MOST_IN_A_ROW:
            self._highest = StreamId(ms, seq + 1)
        else:
            self._highest = StreamId(ms + max(1, stride), base)
        return self._highest


class EngineMachine(RuleBasedStateMachine):
    """Two edges, two runs, a few viewers."""

    def __init__(self, server: RedisProcess, strategy: Strategy) -> None:
        super().__init__()
        self._server = server
        self._strategy: Strategy = strategy
        self._stack = ExitStack()
        self._logs = self._stack.enter_context(capture_logs())
        self._loop = asyncio.new_event_loop()
        self._stack.callback(self._loop.close)
        self._redis = redis.Redis.from_url(server.url)
        self._stack.callback(self._redis.close)
        self._clock = Clock()
        self._hubs: list[Hub] = []
        self._edges: list[AsyncExitStack] = []
        self._runs = [Run(self._redis), Run(self._redis)]
        self._clients: list[Client] = []
        self._restarted = False
        # So that what is wrong is not waited for once more at the end.
        self._broken = False

    @initialize(sizes=SIZES, everything=st.booleans())
    def open(self, sizes: list[int], everything: bool) -> None:
        for _ in range(2):
            stack, hub = self._do(self._open_edge())
            self._edges.append(stack)
            self._hubs.append(hub)
        # A story in which nobody watches says nothing.
        self._runs[0].append(sizes, stride=1)
        for edge in (0, 1):
            self.connect(0, edge, "all" if everything else "latest", 0, False)
        self.settle()

    def teardown(self) -> None:
        try:
            if self._edges and not self._broken:
                self._everyone_drains()
                self.settle()
        finally:
            try:
                for edge in self._edges:
                    self._do(edge.aclose())
                left = asyncio.all_tasks(self._loop)
            finally:
                self._stack.close()
        assert not left
        self._no_errors()

    # ---- producers

    @rule(
        run=RUNS,
        sizes=SIZES,
        stride=st.integers(0, 2),
        kept=st.sampled_from([None, None, None, 1, 3]),
        pause=PAUSES,
    )
    def append(
        self, run: int, sizes: list[int], stride: int, kept: int | None, pause: int | None
    ) -> None:
        one = self._runs[run]
        if one.world.over:
            # Nothing follows the end of a run but another run.
            one.end("delete")
            one.next_era(clocked=False, low=False)
        one.append(sizes, stride=stride, kept=kept)
        self._pause(pause)

    @precondition(lambda self: self._open_runs)
    @rule(run=RUNS, before=st.integers(0, 2), pause=PAUSES)
    def finish(self, run: int, before: int, pause: int | None) -> None:
        self._open_runs[run % len(self._open_runs)].append([0] * (before + 1), stride=1, final=True)
        self._pause(pause)

    @precondition(lambda self: self._filled_runs)
    @rule(run=RUNS, kept=st.integers(0, 4), by_id=st.booleans(), pause=PAUSES)
    def trim(self, run: int, kept: int, by_id: bool, pause: int | None) -> None:
        one = self._filled_runs[run % len(self._filled_runs)]
        present = one.world.present
        gone = present[: max(1, len(present) - kept)]
        if by_id and len(gone) < len(present):
            self._redis.xtrim(one.key, minid=str(present[len(gone)]), approximate=False)
        else:
            self._redis.xtrim(one.key, maxlen=len(present) - len(gone), approximate=False)
        one.world.remove(gone, Removal.TRIMMED)
        self._pause(pause)

    @precondition(lambda self: self._filled_runs)
    @rule(
        run=RUNS,
        where=st.sampled_from(["head", "middle", "tail"]),
        count=st.integers(1, 3),
        pause=PAUSES,
    )
    def take_out(self, run: int, where: str, count: int, pause: int | None) -> None:
        one = self._filled_runs[run % len(self._filled_runs)]
        present = one.world.present
        start = {"head": 0, "middle": len(present) // 2, "tail": max(0, len(present) - count)}
        gone = present[start[where] : start[where] + count]
        self._redis.xdel(one.key, *(str(each) for each in gone))
        one.world.remove(gone, Removal.DELETED)
        self._pause(pause)

    @precondition(lambda self: self._filled_runs)
    @rule(run=RUNS, how=st.sampled_from(["delete", "expire"]), clocked=st.booleans(), pause=PAUSES)
    def end_run(self, run: int, how: str, clocked: bool, pause: int | None) -> None:
        one = self._filled_runs[run % len(self._filled_runs)]
        one.end(how)
        one.next_era(clocked=clocked, low=False)
        self._pause(pause)

    @rule(
        run=RUNS,
        count=st.integers(1, 9),
        clocked=st.booleans(),
        low=st.booleans(),
        kept=st.sampled_from([None, None, 2]),
        pause=PAUSES,
    )
    def begin_anew(
        self,
        run: int,
        count: int,
        clocked: bool,
        low: bool,
        kept: int | None,
        pause: int | None,
    ) -> None:
        """Between two turns of the edges: no one sees it gone."""
        one = self._runs[run]
        if one.world.life is not None:
            one.end("delete")
        one.next_era(clocked=clocked, low=low)
        one.append([0] * count, stride=1, kept=kept)
        self._pause(pause)

    @precondition(lambda self: self._filled_runs)
    @rule(run=RUNS)
    def replica_falls_behind(self, run: int) -> None:
        self._filled_runs[run % len(self._filled_runs)].fall_behind()

    @precondition(lambda self: self._replicated_runs)
    @rule(run=RUNS, pause=PAUSES)
    def fail_over(self, run: int, pause: int | None) -> None:
        self._replicated_runs[run % len(self._replicated_runs)].fail_over()
        self._pause(pause)

    # ---- viewers

    @rule(
        run=RUNS,
        edge=EDGES,
        kind=st.sampled_from(
            ["all", "start", "latest", "newest", "since", "id", "never", "future"]
        ),
        number=st.integers(0, 12),
        slow=st.booleans(),
    )
    def connect(self, run: int, edge: int, kind: str, number: int, slow: bool) -> None:
        client = Client(run, self._start(self._runs[run].world, kind, number))
        self._clients.append(client)
        self._connect(client, edge, slow=slow)

    # Who is connected is a matter of timing, which must not decide what is drawn next: so these
    # do nothing where they can't, rather than have preconditions.

    @rule(which=CLIENTS)
    def drop(self, which: int) -> None:
        for client, _ in _one_of(self._connected, which):
            self._drop(client)

    @rule(which=CLIENTS, edge=EDGES, slow=st.sampled_from([False, False, True]))
    def resume(self, which: int, edge: int, slow: bool) -> None:
        for client in _one_of([one for one in self._clients if not one.done], which):
            if client.connection is not None:
                self._drop(client)
            self._connect(client, edge, slow=slow)

    @rule(which=CLIENTS)
    def turn_slow(self, which: int) -> None:
        for _, connection in _one_of(self._connected, which):
            connection.sink.slow = True

    @rule(which=CLIENTS, count=st.integers(1, 200))
    def trickle(self, which: int, count: int) -> None:
        for connection in _one_of(self._slow, which):
            self._take(connection, count)
        self._observe()

    @rule(which=CLIENTS)
    def drain(self, which: int) -> None:
        for connection in _one_of(self._slow, which):
            self._drain(connection)
        self._observe()

    # ---- operators and networks

    @rule(turns=st.integers(1, 12))
    def breathe(self, turns: int) -> None:
        """The edges run for a few turns: mostly not long enough to finish anything."""
        self._do(_turns(turns))
        self._observe()

    @rule()
    def settle(self) -> None:
        """Whatever was done is noticed, and everyone who can be is live at the end."""
        try:
            self._do(eventually(self._settled, within=_SETTLE_SECONDS))
        except AssertionError as late:
            if self._broken:
                raise
            self._broken = True
            raise AssertionError(f"{late}: {self._unsettled()}") from None
        for _, connection in self._connected:
            if not connection.sink.slow:
                connection.account.settle()
        for one in self._runs:
            one.check()
            one.known = one.world.present
            one.settled_at = one.world.version
        self._no_errors()

    @rule(kind=st.sampled_from(["normal", "pubsub"]))
    def kill_connections(self, kind: str) -> None:
        self._redis.client_kill_filter(_type=kind, skipme=True)

    @precondition(lambda self: not self._restarted)
    @rule(turns=st.integers(0, 40))
    def restart_redis(self, turns: int) -> None:
        """It is killed, and comes back with what its log has: everything."""
        self._restarted = True
        self._server.kill()
        self._do(_turns(turns))
        self._server.start()
        self._observe()

    @rule(edge=EDGES)
    def restart_edge(self, edge: int) -> None:
        """It leaves, and another comes in its place, which knows nothing."""
        self._do(self._edges[edge].aclose())
        self._observe()
        for client in self._clients:
            if client.connection is not None and client.connection.edge == edge:
                self._drop(client)
        self._edges[edge], self._hubs[edge] = self._do(self._open_edge())

    @rule(seconds=st.sampled_from([1, 4, 6]))
    def time_passes(self, seconds: int) -> None:
        """Until runs that nobody watches are let go, and pages are forgotten."""
        self._clock.move(seconds)
        self._do(asyncio.sleep(0.02))
        self._observe()

    # ---- inside

    def _do(self, work: Coroutine[Any, Any, Result]) -> Result:
        return self._loop.run_until_complete(work)

    async def _open_edge(self) -> tuple[AsyncExitStack, Hub]:
        stack = AsyncExitStack()
        hub = await stack.enter_async_context(
            open_hub(self._server.url, self._strategy, self._clock)
        )
        return stack, hub

    def _pause(self, turns: int | None) -> None:
        """How long the edges run after a change: not at all, for some turns, or until all is
        settled."""
        if turns is None:
            self.settle()
        elif turns:
            self.breathe(turns)

    @property
    def _open_runs(self) -> list[Run]:
        return [one for one in self._runs if not one.world.over]

    @property
    def _filled_runs(self) -> list[Run]:
        return [one for one in self._runs if one.world.present]

    @property
    def _replicated_runs(self) -> list[Run]:
        return [one for one in self._runs if one.replica is not None]

    @property
    def _connected(self) -> list[tuple[Client, Connection]]:
        return [(one, one.connection) for one in self._clients if one.connection is not None]

    @property
    def _slow(self) -> list[Connection]:
        return [connection for _, connection in self._connected if connection.sink.slow]

    def _start(self, world: World, kind: str, number: int) -> Start:
        ever = [entry_id for life in world.lives for entry_id in life.added]
        some = ever[-1 - number % len(ever)] if ever else StreamId(1, 5)
        match kind:
            case "start":
                return Resume(START)
            case "latest":
                return Latest()
            case "newest":
                return Newest(number + 1)
            case "since":
                return Since(some.ms)
            case "id":
                return Resume(some)
            case "never":
                return Resume(StreamId(some.ms, 5))
            case "future":
                return Resume(StreamId(1 << 60, number))
            case _:
                return Beginning()

    def _connect(self, client: Client, edge: int, *, slow: bool) -> None:
        run, hub = self._runs[client.run], self._hubs[edge]
        world = run.world
        sink = RecordingSink()
        sink.slow = slow

        async def come() -> Connection | None:
            try:
                opening = await hub.open(run.id, client.start)
            except LogUnavailable:
                # The edge would answer with the time to come back after.
                return None
            place = Place(opening.position, lenient=opening.lenient)
            self._right_place(world, client.start, place)
            account = Account(world, place, since=run.settled_at)
            if opening.over:
                assert account.ended_rightly(), f"204 for {client.start}"
                client.done = True
                return None
            subscriber = hub.subscriber(opening, sink, View())
            position = None if isinstance(client.start, Beginning) else opening.position
            hub.admit(subscriber, greeting(1, position))
            return Connection(edge, subscriber, sink, account, run.known)

        client.connection = self._do(come())
        self._observe()

    def _right_place(self, world: World, start: Start, place: Place) -> None:
        """Whether a viewer who asked for this may be put there."""
        present = world.present
        if place.after != START and (world.life is None or place.after not in world.life.added):
            # Not of this stream: a reset will be said. Or an edge has yet to notice.
            return
        follows = [one for one in present if one > place.after]
        match start:
            case Beginning():
                assert place == Place(START, lenient=True)
            case Resume(cursor):
                assert place == Place(cursor)
            case Newest(count):
                assert len(follows) >= min(count, len(present))
            case Since(ms):
                assert set(follows) >= {one for one in present if one.ms >= ms}
            case Latest():
                # What the edge did not know of comes too.
                assert place.after == START or not set(follows) & set(self._known_to(world))

    def _known_to(self, world: World) -> list[StreamId]:
        return next(one.known for one in self._runs if one.world is world)

    def _drop(self, client: Client) -> None:
        connection = client.connection
        assert connection is not None
        connection.observe()

        async def leave() -> None:
            connection.subscriber.closed()

        self._do(leave())
        client.lose()

    def _take(self, connection: Connection, count: int) -> None:
        async def take() -> None:
            connection.sink.take(count)
            if not connection.sink.unsent_bytes:
                connection.subscriber.drained()

        self._do(take())

    def _drain(self, connection: Connection) -> None:
        connection.sink.slow = False
        self._take(connection, connection.sink.unsent_bytes)

    def _everyone_drains(self) -> None:
        for client in self._clients:
            if client.connection is not None:
                self._drain(client.connection)
        self._observe()

    def _observe(self) -> None:
        """Looks at what has come to everyone."""
        for client in self._clients:
            connection = client.connection
            if connection is None:
                continue
            try:
                connection.observe()
            except AssertionError:
                self._broken = True
                raise
            assert connection.sink.unsent_bytes <= _MOST_UNSENT, "unbounded"
            if connection.over:
                client.done = connection.subscriber.ending is not Ending.DRAIN
                connection.subscriber.closed()
                client.lose()

    def _settled(self) -> bool:
        self._observe()
        return not self._unsettled()

    def _unsettled(self) -> list[str]:
        """Who is not where they should be."""
        late = [
            f"viewer {number} at {connection.account}"
            for number, client in enumerate(self._clients)
            if (connection := client.connection) is not None
            and not connection.sink.slow
            and not connection.settled()
        ]
        for number, hub in enumerate(self._hubs):
            for run in self._runs:
                position = hub.position(run.id)
                if position is not None and not run.world.ends_at(position):
                    late.append(f"edge {number} at {position} of {run.world.present[-1:]}")
        return late

    def _no_errors(self) -> None:
        """No task of the engine failed."""
        errors = [entry for entry in self._logs if entry["log_level"] == "error"]
        assert not errors, errors


_MOST_UNSENT = LIMITS.unsent_bytes + LIMITS.page_events * (_LARGE + 100) + 1000


def _one_of(some: Sequence[Result], which: int) -> Sequence[Result]:
    """One of them, or none if there is none."""
    return [some[which % len(some)]] if some else []


async def _turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)
