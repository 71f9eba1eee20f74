"""`runcast tail`: watches a run over HTTP, as any viewer does, until it is over."""

import asyncio
import os
import random
import stat
import sys
from datetime import datetime
from urllib.parse import urlsplit

import httpx

from broker.commands.failure import BROKEN_PIPE, INTERRUPTED, UNUSABLE, CommandFailed
from broker.commands.following import TIMEOUT, Following, Refused, Target
from broker.commands.watching import HumanOutput, JsonOutput
from broker.engine.cancelling import cancel
from broker.wire.ids import is_run_id
from broker.wire.problem import BadRunId

__all__ = ["run_tail"]


def run_tail(
    url: str,
    run_id: str,
    *,
    start: str | None,
    last_event_id: str | None,
    types: str | None,
    as_json: bool,
    api_key: str | None = None,
    token: str | None = None,
) -> None:
    """Runs the command.

    Args:
        url: the edge's, without a path of the API.
        run_id: the run, unchecked.
        start: where to begin, in the words of `?from=`.
        last_event_id: the id after which to begin; wins over `start`.
        types: only these, comma-separated.
        as_json: one JSON object a line, instead of lines for people.
        api_key: what proves who asks, as `X-API-Key`.
        token: the same, as a bearer token.

    Raises:
        CommandFailed: it could not be used as given, or the server refuses.
    """
    if not is_run_id(run_id):
        raise CommandFailed(BadRunId(run_id).detail, UNUSABLE)
    target = Target(f"{_checked(url).rstrip('/')}/v1/runs/{run_id}/events", start, types)
    output = JsonOutput() if as_json else HumanOutput(lambda: datetime.now().astimezone())
    try:
        asyncio.run(_follow(target, last_event_id, output, _credentials(api_key, token)))
        output.over()
    except Refused as error:
        raise CommandFailed(str(error)) from error
    except KeyboardInterrupt:
        raise SystemExit(INTERRUPTED) from None
    except BrokenPipeError:
        # What is left in the buffer would make Python complain at its exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(BROKEN_PIPE) from None


def _checked(url: str) -> str:
    """`url`, if it can be that of an edge."""
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and not parts.query
        httpx.URL(url)
    except (ValueError, httpx.InvalidURL):
        usable = False
    if not usable:
        raise CommandFailed(
            "--url is not that of an edge: write it like http://127.0.0.1:8080", UNUSABLE
        )
    return url


def _credentials(api_key: str | None, token: str | None) -> dict[str, str]:
    given = {
        "X-API-Key": api_key,
        "Authorization": None if token is None else f"Bearer {token}",
    }
    headers = {name: text for name, text in given.items() if text is not None}
    if not all(text.isascii() and text.isprintable() for text in headers.values()):
        raise CommandFailed("a key or token has characters that none has", UNUSABLE)
    return headers


async def _follow(
    target: Target,
    last_event_id: str | None,
    output: HumanOutput | JsonOutput,
    credentials: dict[str, str],
) -> None:
    async with httpx.AsyncClient(timeout=TIMEOUT, headers=credentials) as client:
        following = Following(
            client, target, output, cursor=last_event_id, random_source=random.Random()
        )
        work = asyncio.create_task(following.run(), name="following")
        reader_gone = asyncio.create_task(_reader_gone(), name="reader gone")
        try:
            await asyncio.wait((work, reader_gone), return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                raise BrokenPipeError
            work.result()
        finally:
            await cancel((work, reader_gone))


async def _reader_gone() -> None:
    """Returns when the reader of standard output has gone, where that is a pipe.

    Otherwise a quiet run would keep `runcast tail RUN | head -1` going until its next event.
    """
    descriptor = sys.stdout.fileno()
    gone = asyncio.Event()
    if not stat.S_ISFIFO(os.fstat(descriptor).st_mode):
        await gone.wait()
    loop = asyncio.get_running_loop()
    # A pipe's writing end is never readable: that it is means that the other end was closed.
    loop.add_reader(descriptor, gone.set)
    try:
        await gone.wait()
    finally:
        loop.remove_reader(descriptor)
