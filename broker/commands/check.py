"""`runcast check`: are the settings and the Redis fit for an edge, and if not, what to do."""

import asyncio
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any, Final

import orjson
from rich.console import Console
from rich.table import Table
from rich.text import Text

from broker.commands.redis_in_use import NO_REDIS, START_OR_GIVE_ONE, redis_in_use
from broker.redis.addresses import parse_addresses, shown_url
from broker.redis.inspection import Finding, Level, Needs, inspect
from broker.settings import CONFIG_FILE, Settings, SettingsError, load_settings

__all__ = ["run_check"]

_STYLES: Final = {Level.OK: "green", Level.WARNING: "yellow", Level.PROBLEM: "bold red"}
_TAIL_CONNECTIONS: Final = 32
"""For the tail of a busy edge: 1,024 watched runs, by default."""

_FILE_WIDTH: Final = 1000


def run_check(flags: dict[str, Any], *, as_json: bool) -> None:
    """Runs the command. Exits with 1 if there is a problem.

    Args:
        flags: settings, unchecked; `None` for those not given.
        as_json: one JSON document instead of a table.
    """
    url, findings = _check(flags)
    shown = None if url is None else shown_url(url)
    if as_json:
        _print_json(shown, findings)
    else:
        _print_table(shown, findings)
    if not _fit(findings):
        sys.exit(1)


def _check(flags: dict[str, Any]) -> tuple[str | None, list[Finding]]:
    try:
        settings = load_settings(flags, listens=False)
    except SettingsError as error:
        advice = f"correct it in {CONFIG_FILE}, RUNCAST_… or the flags; see runcast serve --help"
        return None, [Finding("settings", Level.PROBLEM, str(error), advice)]
    findings = [Finding("settings", Level.OK, f"runs are at {settings.key_template}")]
    url = redis_in_use(settings)
    if url is None:
        findings.append(Finding("reachable", Level.PROBLEM, NO_REDIS, START_OR_GIVE_ONE))
        return None, findings
    return url, findings + asyncio.run(_inspect(settings, url))


async def _inspect(settings: Settings, url: str) -> list[Finding]:
    needs = Needs(
        keys=settings.keys,
        connections=settings.redis_connections + _TAIL_CONNECTIONS,
        strategy=settings.tail,
        enable_notifications=settings.tail_enable_notifications,
        timeout_seconds=settings.redis_timeout_seconds,
    )
    return await inspect(parse_addresses(url), needs)


def _fit(findings: Sequence[Finding]) -> bool:
    return all(finding.level is not Level.PROBLEM for finding in findings)


def _print_json(url: str | None, findings: Sequence[Finding]) -> None:
    document = {
        "redis": url,
        "ok": _fit(findings),
        "checks": [asdict(finding) for finding in findings],
    }
    print(orjson.dumps(document, option=orjson.OPT_INDENT_2).decode())


def _print_table(url: str | None, findings: Sequence[Finding]) -> None:
    console = Console(highlight=False, markup=False)
    if not console.is_terminal:
        # A line of a file or pipe is as long as it need be.
        console.width = _FILE_WIDTH
    rows = _merged(findings)
    table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0))
    table.add_column("level", no_wrap=True)
    table.add_column("check", no_wrap=True)
    table.add_column("found", overflow="fold")
    for finding, servers in rows:
        level = Text(finding.level.value, style=_STYLES[finding.level])
        table.add_row(level, Text(finding.name), Text(f"{finding.found}{_of(servers)}"))
    if url is not None:
        console.print(Text(f"Redis at {url}\n"), soft_wrap=True)
    console.print(table)
    advised = [(finding, servers) for finding, servers in rows if finding.advice]
    if advised:
        console.print()
    for finding, servers in advised:
        line = Text.assemble(
            (f"{finding.level}: ", _STYLES[finding.level]),
            f"{finding.name}{_of(servers)}: {finding.advice}",
        )
        console.print(line, soft_wrap=True)


def _merged(findings: Sequence[Finding]) -> list[tuple[Finding, list[str]]]:
    """Findings with the servers that they are about: what is the same for several, once; those of
    one name together."""
    servers: dict[Finding, list[str]] = {}
    for finding in findings:
        servers.setdefault(replace(finding, server=""), []).append(finding.server)
    names = list(dict.fromkeys(finding.name for finding in findings))
    return sorted(servers.items(), key=lambda row: names.index(row[0].name))


def _of(servers: Sequence[str]) -> str:
    named = [server for server in servers if server]
    return f" ({', '.join(named)})" if named else ""
