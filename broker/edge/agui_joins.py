"""What AG-UI viewers are told who join a run in its middle: the run is read up to there.

What was found out is kept for a while: of a thousand viewers who come back after a cut, one has the
run read, and the others at most the few events between two places that are known.
"""

from bisect import bisect_right, insort
from collections import OrderedDict
from types import TracebackType
from typing import Final, Self

from broker.engine.flight import SingleFlight
from broker.engine.hub import Hub, Opening
from broker.wire.agui import Agui, AguiRepair, AguiState
from broker.wire.dialect import Dialect
from broker.wire.gap import GapReason
from broker.wire.ids import START, RunId, StreamId
from broker.wire.request import Beginning, Resume, Start

__all__ = ["AguiJoins"]

_RUNS: Final = 64
"""Of so many runs, the newest places are kept."""
_PLACES: Final = 16
"""Of each of them."""
_PAGE_EVENTS: Final = 1000


class AguiJoins:
    """Makes dialects for those who join; one for an edge. Use it as an async context manager."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        # By the feed's epoch: of a run that begins anew, nothing holds any more.
        self._known: OrderedDict[int, list[AguiState]] = OrderedDict()
        self._flights: SingleFlight[tuple[int, StreamId], AguiState] = SingleFlight()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._flights.aclose()

    async def join(
        self, form: Agui, opening: Opening, start: Start, retry_milliseconds: int
    ) -> tuple[Dialect, bytes]:
        """The dialect for a viewer who begins here, and the stream's first bytes.

        Raises:
            LogUnavailable: Redis can't be read now.
            NotAStream: the key holds something else.
        """
        if isinstance(start, Beginning) or opening.position == START:
            dialect = form if await self._begins(opening) else AguiRepair(form)
            return dialect, dialect.greeting(retry_milliseconds, None)
        state = await self._state(opening, form.run_id)
        if state.position != opening.position:
            # There is no such place (any more): a gap comes first, and says from where on.
            repair = AguiRepair(form)
            return repair, repair.greeting(retry_milliseconds, opening.position)
        newcomer = not isinstance(start, Resume)
        joining = AguiRepair.joining(form, state, newcomer=newcomer)
        first = joining.greeting(retry_milliseconds, opening.position)
        # Who knows all that was ever opened, and the state that changes are made to, needs no more
        # than what is written.
        informed = state.whole and (state.knows_state or not newcomer)
        return (form if informed else joining), first

    async def _begins(self, opening: Opening) -> bool:
        """Whether the first event that is still there begins the run."""
        if opening.feed.end == START:
            return True
        page = await self._hub.page(opening, 1)
        return bool(page.events) and page.events[0].type == "RUN_STARTED"

    async def _state(self, opening: Opening, run_id: RunId) -> AguiState:
        key = (opening.feed.epoch, opening.position)
        return await self._flights.do(key, lambda: self._read(opening, run_id))

    async def _read(self, opening: Opening, run_id: RunId) -> AguiState:
        epoch, position = opening.feed.epoch, opening.position
        known = self._known.get(epoch, [])
        index = bisect_right(known, position, key=_position)
        state = known[index - 1] if index else AguiState(run_id)
        while state.position < position:
            page = await self._hub.page(
                Opening(opening.feed, state.position, lenient=state.position == START),
                _PAGE_EVENTS,
            )
            events = [event for event in page.events if event.id <= position]
            if page.gap is not None and page.gap.reason is not GapReason.FAILOVER:
                # What lies before the gap is of another stream, or not all of it.
                state = AguiState(run_id)
            state = state.advance(events)
            if len(events) < len(page.events) or not page.more:
                break
        self._keep(epoch, state)
        return state

    def _keep(self, epoch: int, state: AguiState) -> None:
        if state.position == START:
            return
        places = self._known.setdefault(epoch, [])
        self._known.move_to_end(epoch)
        if all(place.position != state.position for place in places):
            insort(places, state, key=_position)
            # The newest are the likeliest to be asked for.
            del places[:-_PLACES]
        while len(self._known) > _RUNS:
            self._known.popitem(last=False)


def _position(state: AguiState) -> StreamId:
    return state.position
