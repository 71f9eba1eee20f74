"""`runcast revoke`: ends credentials before their time."""

import asyncio
from collections.abc import Sequence
from typing import Final

import click

from broker.commands.failure import UNUSABLE, CommandFailed
from broker.commands.redis_in_use import NO_REDIS, START_OR_GIVE_ONE, redis_in_use
from broker.redis.addresses import shown_url
from broker.redis.opening import make_deployment
from broker.redis.persistence import AppendError
from broker.redis.revocations import RedisRevocations
from broker.settings import Settings

__all__ = ["run_revoke"]

_DAY_SECONDS: Final = 24 * 3600
_MOST_CHARACTERS: Final = 1024


def run_revoke(settings: Settings, marks: Sequence[str], keep_days: int) -> None:
    """Runs the command.

    Args:
        settings: which Redis, and the key of revocations.
        marks: what is revoked, such as `subject:ada`.
        keep_days: how long revocations are kept.

    Raises:
        CommandFailed: it could not be used as given, or not all is revoked.
    """
    if not marks:
        raise CommandFailed("nothing to revoke: give --subject, --key or --token", UNUSABLE)
    for mark in marks:
        if not 1 <= len(mark.partition(":")[2]) <= _MOST_CHARACTERS:
            raise CommandFailed(f"a name has 1 to {_MOST_CHARACTERS} characters", UNUSABLE)
    url = redis_in_use(settings)
    if url is None:
        raise CommandFailed(f"{NO_REDIS}: {START_OR_GIVE_ONE}", UNUSABLE)
    asyncio.run(_revoke(settings, url, marks, keep_days * _DAY_SECONDS))
    click.echo(
        "edges end their streams within one heartbeat, and refuse them from then on", err=True
    )


async def _revoke(settings: Settings, url: str, marks: Sequence[str], keep_seconds: int) -> None:
    deployment = make_deployment(url, connections=1, timeout_seconds=settings.redis_timeout_seconds)
    async with deployment:
        revocations = RedisRevocations(deployment, settings.revocations_key)
        for mark in marks:
            kind, _, name = mark.partition(":")
            try:
                await revocations.append(mark, keep_seconds)
            except AppendError as error:
                raise CommandFailed(
                    f"{kind} {name!r} is not known to be revoked, at {shown_url(url)}: {error}; "
                    "run it again, which does no harm"
                ) from error
            click.echo(f"revoked {kind} {name!r}")
