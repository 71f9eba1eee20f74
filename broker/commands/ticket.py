"""`runcast ticket`: makes a ticket by hand, with the secret that the edges have."""

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from urllib.parse import urlsplit

import click

from broker.commands.failure import UNUSABLE, CommandFailed
from broker.edge.auth.identity import Identity
from broker.edge.auth.presented import TICKET
from broker.edge.auth.rights import NO_RIGHTS, Action
from broker.edge.auth.tickets import Tickets
from broker.settings import Settings
from broker.wire.ids import RunId, is_run_id
from broker.wire.problem import BadRunId

__all__ = ["run_ticket"]


def run_ticket(
    settings: Settings,
    run_id: str,
    *,
    subject: str | None,
    rights: Sequence[str],
    seconds: int | None,
    url: str | None,
) -> None:
    """Runs the command.

    Args:
        settings: what signs, and for how long it is good unless told otherwise.
        run_id: the run, unchecked.
        subject: who it is for; `None` for nobody in particular.
        rights: what it allows; none for watching.
        seconds: how long it lasts; `None` for as long as those that edges make.
        url: the edge's, unchecked; `None` if no URL is wanted.

    Raises:
        CommandFailed: it could not be used as given.
    """
    if not is_run_id(run_id):
        raise CommandFailed(BadRunId(run_id).detail, UNUSABLE)
    if subject == "":
        raise CommandFailed("--subject: leave it out for nobody in particular", UNUSABLE)
    events = None if url is None else f"{_base(url)}/v1/runs/{run_id}/events"
    if not settings.ticket_secrets:
        raise CommandFailed(
            "no secret to sign with: set RUNCAST_TICKET_SECRET to the one that the edges have",
            UNUSABLE,
        )
    lasts = settings.ticket_seconds if seconds is None else seconds
    tickets = Tickets(
        settings.ticket_secrets, audience=settings.ticket_audience, longest_seconds=lasts
    )
    by_hand = Identity(subject, NO_RIGHTS, issued_at=time.time())
    actions = [Action(right) for right in rights] or [Action.WATCH]
    ticket = tickets.make(by_hand, RunId(run_id), actions, lasts)
    click.echo(ticket.text)
    if events is not None:
        click.echo(f"{events}?{TICKET}={ticket.text}")
    ends = datetime.fromtimestamp(ticket.expires_at, UTC)
    click.echo(f"good until {ends:%Y-%m-%d %H:%M:%S} UTC; its jti is {ticket.id}", err=True)


def _base(url: str) -> str:
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname)
        usable = usable and not parts.query and not parts.fragment
    except ValueError:
        usable = False
    if not usable:
        raise CommandFailed(
            "--url is not that of an edge: write it like https://runs.example.com", UNUSABLE
        )
    return url.rstrip("/")
