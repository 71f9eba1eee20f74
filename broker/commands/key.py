"""`runcast key`: a new API key, and what the file of keys has to say of it."""

import json
import os
import secrets
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import click

from broker.commands.failure import UNUSABLE, CommandFailed
from broker.edge.auth.api_keys import ApiKeysUnusable, hash_of, parse_api_keys

__all__ = ["run_key"]

_PREFIX: Final = "rck_"
"""Tells what it is, to people and to programs that look for secrets in the wrong places."""
_RANDOM_BYTES: Final = 32


def run_key(
    name: str,
    rights: Sequence[str],
    *,
    subject: str | None,
    expires_days: int | None,
    append_to: Path | None,
) -> None:
    """Runs the command: the key to standard output, everything else to standard error.

    Args:
        name: what it is called.
        rights: one each.
        subject: whose it is.
        expires_days: how long it lasts; `None` for ever.
        append_to: the file that its entry is appended to; `None` shows the entry.

    Raises:
        CommandFailed: the entry would not be a good one, or the file is not.
    """
    key = _PREFIX + secrets.token_urlsafe(_RANDOM_BYTES)
    expires = None
    if expires_days is not None:
        expires = datetime.now(UTC).replace(microsecond=0) + timedelta(days=expires_days)
    entry = _entry(name, hash_of(key), rights, subject, expires)
    try:
        parse_api_keys(entry)
    except ApiKeysUnusable as error:
        raise CommandFailed(str(error), UNUSABLE) from None
    if append_to is None:
        click.echo(f"Add this to the file that api_keys_file names:\n\n{entry}", err=True)
        click.echo("And this is the key; it is shown only once:\n", err=True)
    else:
        _append(append_to, entry)
        click.echo(f"Appended to {append_to}. This is the key; it is shown only once:\n", err=True)
    click.echo(key)


def _entry(
    name: str, digest: str, rights: Sequence[str], subject: str | None, expires: datetime | None
) -> str:
    lines = [
        "[[keys]]",
        f"name = {_quoted(name)}",
        f"hash = {_quoted(digest)}",
        f"rights = [{', '.join(map(_quoted, rights))}]",
    ]
    if subject is not None:
        lines.append(f"subject = {_quoted(subject)}")
    if expires is not None:
        lines.append(f"expires = {expires:%Y-%m-%dT%H:%M:%SZ}")
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    # What JSON escapes is what TOML's basic strings escape, and in the same way.
    return json.dumps(text, ensure_ascii=False)


def _append(path: Path, entry: str) -> None:
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        with os.fdopen(descriptor, "r+b", buffering=0) as file:
            before = file.readall().decode()
            separator = "" if not before else "\n" if before.endswith("\n") else "\n\n"
            parse_api_keys(before + separator + entry)
            # In one write, so that no edge reads half of it.
            file.write((separator + entry).encode())
    except OSError as error:
        raise CommandFailed(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise CommandFailed(f"{path}: is not UTF-8") from None
    except ApiKeysUnusable as error:
        raise CommandFailed(f"{path}: {error}") from None
