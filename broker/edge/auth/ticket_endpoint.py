"""`POST /v1/runs/{run_id}/tickets`: makes a ticket of a part of one's own rights."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

import structlog
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from broker.edge.auth.gate import Asks, EdgeRoute, guarded, run_of_path
from broker.edge.auth.guard import Guard
from broker.edge.auth.identity import CredentialKind, Identity
from broker.edge.auth.permit import Permit
from broker.edge.auth.presented import TICKET
from broker.edge.auth.rights import Action
from broker.edge.auth.tickets import Ticket, Tickets
from broker.edge.publishing.body import RequestBody
from broker.edge.publishing.documents import NewTicket, parse_new_ticket
from broker.edge.publishing.intake import (
    JSON,
    Intake,
    IntakeEndpoint,
    json_response,
    media_type,
    run_permitted,
)
from broker.edge.publishing.limits import PublishingLimits
from broker.edge.publishing.rates import Rates
from broker.edge.publishing.stats import PublishingStats
from broker.wire.ids import RunId
from broker.wire.problem import Forbidden, RunNotFound

__all__ = ["TICKETS_PATH", "TICKET_MAKERS", "TicketEndpoint", "ticket_route"]

logger = structlog.get_logger("runcast.auth")

TICKETS_PATH: Final = "/v1/runs/{run_id}/tickets"
MOST_BODY_BYTES: Final = 4096
_PER_SECOND: Final = 2000
"""Tickets of one process: far more than come, and a few per cent of a core."""
TICKET_MAKERS: Final = tuple(kind for kind in CredentialKind if kind is not CredentialKind.TICKET)
"""What they are asked for with. No ticket makes another one: it would last for ever."""


class TicketEndpoint(IntakeEndpoint):
    """Makes tickets."""

    def __init__(self, tickets: Tickets, intake: Intake) -> None:
        """
        Args:
            tickets: makes them.
            intake: takes the body.
        """
        super().__init__(intake)
        self._tickets = tickets

    async def __call__(self, permit: Permit, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request."""

        async def make(headers: Headers, body: RequestBody) -> Response:
            run_id = run_permitted(permit)
            self._intake.check_rate(None)
            self._intake.rates.take(None, 1)
            new = await self._asked(headers, body)
            parent = await _allowed(permit, run_id, new.actions)
            permit.check()
            ticket = self._tickets.make(parent, run_id, new.actions, new.seconds)
            logger.info("ticket made", run=run_id, token=ticket.id, by=parent.kind)
            return json_response(_document(scope, run_id, new, ticket), 201)

        await self._intake.serve(scope, receive, send, make)

    async def _asked(self, headers: Headers, body: RequestBody) -> NewTicket:
        text = await body.whole(MOST_BODY_BYTES, self._intake.limits.idle_seconds)
        if text:
            media_type(headers, JSON)
        return parse_new_ticket(text or b"{}")


def ticket_route(
    tickets: Tickets,
    limits: PublishingLimits,
    stats: PublishingStats,
    guard: Guard,
    leaving: Callable[[], bool],
) -> EdgeRoute:
    """The route.

    Args:
        tickets: makes them.
        limits: how long a body may take, and how many at a time.
        stats: where to count.
        guard: who may.
        leaving: whether this process is about to end.
    """
    rates = Rates(per_second=_PER_SECOND, run_per_second=_PER_SECOND, clock=time.monotonic)
    endpoint = TicketEndpoint(tickets, Intake(limits, rates, stats, leaving))
    decision = Asks(Action.WATCH, TICKET_MAKERS)
    return guarded(guard, TICKETS_PATH, ["POST"], endpoint, decision, run_of_path)


async def _allowed(permit: Permit, run_id: RunId, actions: Sequence[Action]) -> Identity:
    """Who asks, as far as all of the actions are theirs.

    Raises:
        Problem: one of them is not, or it can't be found out.
    """
    parent = permit.identity
    for action in actions:
        if action is Action.WATCH:
            # The gate has asked.
            continue
        try:
            other = (await permit.also(action, run_id)).identity
        except RunNotFound:
            # That there is such a run they know: they may watch it.
            raise Forbidden(f"You lack the right: {action}.") from None
        parent = replace(
            parent, until=min(parent.until, other.until), marks=parent.marks | other.marks
        )
    return parent


def _document(scope: Scope, run_id: RunId, new: NewTicket, ticket: Ticket) -> dict[str, object]:
    expires_at = datetime.fromtimestamp(ticket.expires_at, UTC)
    events = f"{scope.get('root_path', '')}/v1/runs/{run_id}/events"
    return {
        "ticket": ticket.text,
        "expires_at": expires_at.isoformat().replace("+00:00", "Z"),
        "run_id": run_id,
        "rights": list(new.actions),
        "events_url": f"{events}?{TICKET}={ticket.text}",
    }
