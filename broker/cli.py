"""The `runcast` command: its sub-commands and flags. What they do is in `broker.commands`.

Each sub-command is imported when it is called: together they take as long as all the rest.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Literal, TypeVar, get_args, get_origin

import click
from pydantic.fields import FieldInfo

from broker import __version__
from broker.commands.failure import UNUSABLE, CommandFailed
from broker.edge.auth.tickets import LEAST_DAYS_REVOKED, MOST_SECONDS
from broker.logging import configure_logging
from broker.redis.embedded import EmbeddedError
from broker.server.listening import AddressInUse
from broker.settings import Settings, SettingsError, load_settings

__all__ = ["main"]

Function = TypeVar("Function", bound=Callable[..., Any])

_HELP: Final = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


def settings_options(*names: str) -> Callable[[Function], Function]:
    """Flags for the settings of these names, or for all: one source for name, default and help."""

    def decorate(function: Function) -> Function:
        for name, field in reversed(Settings.model_fields.items()):
            if not names or name in names:
                function = _option(name, field)(function)
        return function

    return decorate


def _option(name: str, field: FieldInfo) -> Callable[[Function], Function]:
    flag = "--" + name.replace("_", "-")
    default = "none" if field.default is None else field.default
    help_text = f"{field.description}  [default: {default}; env: RUNCAST_{name.upper()}]"
    if field.annotation is bool:
        return click.option(f"{flag}/--no-{flag[2:]}", name, default=None, help=help_text)
    if name == "profile":
        # Nothing given is nothing said: the file's or the environment's holds.
        return click.option(
            flag,
            name,
            multiple=True,
            metavar="NAME",
            callback=lambda context, option, given: ",".join(given) or None,
            help=help_text,
        )
    return click.option(flag, name, default=None, metavar=_metavar(name, field), help=help_text)


def _metavar(name: str, field: FieldInfo) -> str:
    if get_origin(field.annotation) is Literal:
        return "|".join(get_args(field.annotation))
    for suffix, unit in (("_seconds", "SECONDS"), ("_bytes", "BYTES"), ("_url", "URL")):
        if name.endswith(suffix):
            return unit
    return "N" if field.annotation in (int, float) else "TEXT"


@click.group(context_settings=_HELP)
@click.version_option(__version__, prog_name="runcast")
def cli() -> None:
    """Runcast brings agent runs from Redis Streams to any number of viewers, over SSE.

    Workers XADD events to one stream per run. Viewers open /v1/runs/RUN/events: what they have
    missed is replayed, then events follow as they happen, until the run ends.

    \b
      runcast demo          see it work: a made-up agent, and a page that shows it
      runcast serve         run an edge
      runcast publish RUN   append to a run
      runcast tail RUN      watch a run
      runcast check         is this Redis fit for it?
      runcast key NAME      make an API key
      runcast ticket RUN    make a ticket to watch a run
      runcast revoke        end credentials before their time
    """
    # What matters is said in one line at the end; a command that runs a server says more.
    configure_logging("error", "console")


@cli.command(context_settings=_HELP)
@settings_options()
def serve(**flags: Any) -> None:
    """Run an edge: GET /v1/runs/RUN/events, /healthz, /readyz, /metrics.

    Without --redis-url it runs an embedded Valkey. Settings come from runcast.toml in the current
    directory, then RUNCAST_… in the environment, then flags; the later wins.
    """
    settings = load_settings(flags)
    configure_logging(settings.log_level, settings.log_format)
    from broker.commands.serve import run_serve

    run_serve(settings)


@cli.command(context_settings=_HELP)
@settings_options("host", "port", "redis_url", "insecure")
@click.option(
    "--log-level",
    metavar="debug|info|warning|error",
    help="The least severe log level that is written.  [default: warning; env: RUNCAST_LOG_LEVEL]",
)
def demo(**flags: Any) -> None:
    """See it work: a made-up agent, an edge that serves its runs, and a page that shows them.

    Without --redis-url it runs an embedded Valkey that keeps nothing.
    """
    settings = load_settings(flags)
    chosen = "log_level" in settings.model_fields_set
    configure_logging(settings.log_level if chosen else "warning", settings.log_format)
    from broker.commands.demo import run_demo

    run_demo(settings)


@cli.command(context_settings=_HELP)
@click.argument("run_id", metavar="RUN")
@click.option("--type", "event_type", metavar="TYPE", help="Append one event, of this type.")
@click.option("--data", metavar="TEXT", help="Append one event, with this data.  [default: {}]")
@settings_options(
    "redis_url",
    "redis_timeout_seconds",
    "embedded_directory",
    "key_template",
    "type_field",
    "data_field",
    "final_field",
    "terminal_types",
    "terminal_rule",
)
def publish(run_id: str, event_type: str | None, data: str | None, **flags: Any) -> None:
    """Append to a run: one event from flags, or lines of JSON from standard input.

    \b
      runcast publish 42 --type chunk --data '{"text":"hi"}'
      my-agent | runcast publish 42
      runcast tail 42 --json | runcast publish 42-copy

    A line is {"type": "chunk", "data": {"text": "hi"}}. Data that is a string is sent as that
    text; anything else is sent as compact JSON. A line without "data" is itself the data, less its
    "type". Each line is appended as soon as it is read, in order.

    The last id goes to standard output. A line that can't be used ends it with exit code 1, and
    so does an append that Redis does not acknowledge; both say what was appended before.

    Without --redis-url it appends to the embedded Valkey of a `runcast serve` on this machine.
    """
    settings = load_settings(flags, listens=False)
    from broker.commands.publish import run_publish

    run_publish(settings, run_id, event_type, data)


@cli.command(context_settings=_HELP)
@click.argument("run_id", metavar="RUN")
@click.option(
    "--url",
    metavar="URL",
    default="http://127.0.0.1:8080",
    show_default=True,
    help="The edge, or whatever stands before it.",
)
@click.option(
    "--from",
    "start",
    metavar="WHERE",
    help="Where to begin: latest, -N for the last N events, or a time such as "
    "2026-01-01T00:00:00Z.  [default: the first event]",
)
@click.option("--last-event-id", metavar="ID", help="Begin after this event; wins over --from.")
@click.option("--types", metavar="A,B", help="Only events of these types.")
@click.option(
    "--json", "as_json", is_flag=True, help="One JSON object a line: id, type, data, time."
)
@click.option(
    "--api-key",
    metavar="KEY",
    envvar="RUNCAST_TAIL_API_KEY",
    show_envvar=True,
    help="What proves who asks; better from the environment, where others can't see it.",
)
@click.option(
    "--token",
    metavar="TOKEN",
    envvar="RUNCAST_TAIL_TOKEN",
    show_envvar=True,
    help="The same, as a bearer token.",
)
def tail(
    run_id: str,
    url: str,
    start: str | None,
    last_event_id: str | None,
    types: str | None,
    as_json: bool,
    api_key: str | None,
    token: str | None,
) -> None:
    """Watch a run until it is over: what there is, then what comes.

    \b
      runcast tail 42
      runcast tail 42 --from latest --types chunk,done
      runcast tail 42 --json | jq -r '.data | fromjson | .text'

    After a cut, a restart of the edge or an outage it goes on after the last event that it has.
    Events that can't be had any more are said as a gap (on standard error with --json).

    Exit codes: 0 the run is over, 1 the server refuses, 2 the command line can't be used,
    130 Ctrl-C, 141 the reader of the output has gone.
    """
    from broker.commands.tail import run_tail

    run_tail(
        url,
        run_id,
        start=start,
        last_event_id=last_event_id,
        types=types,
        as_json=as_json,
        api_key=api_key,
        token=token,
    )


@cli.command(context_settings=_HELP)
@click.option("--json", "as_json", is_flag=True, help="One JSON document instead of a table.")
@settings_options(
    "redis_url",
    "redis_timeout_seconds",
    "redis_connections",
    "embedded_directory",
    "key_template",
    "tail",
    "tail_enable_notifications",
)
def check(as_json: bool, **flags: Any) -> None:
    """Check the settings and Redis, and say what to do about what is wrong.

    \b
      runcast check --redis-url redis://127.0.0.1:6379/0
      runcast check --json | jq '.checks[] | select(.level != "ok")'

    It looks at the version, at the rights that an edge needs (as the user of the URL), and at the
    server's settings that can lose runs; at Sentinels, or at each primary of a Cluster, where the
    URL names such. It reads only, and writes nothing. Without --redis-url it looks at the embedded
    Valkey of a `runcast serve` on this machine.

    Exit codes: 0 no problem (there may be warnings), 1 a problem.
    """
    from broker.commands.check import run_check

    run_check(flags, as_json=as_json)


@cli.command(context_settings=_HELP)
@click.argument("name", metavar="NAME")
@click.option(
    "--right",
    "rights",
    multiple=True,
    required=True,
    metavar="RIGHT",
    help="What it allows, such as watch:*, publish:team-*, command:@own, admin or metrics; may be "
    "given several times.",
)
@click.option("--subject", metavar="NAME", help="Whose it is: the owner of the runs it asks for.")
@click.option(
    "--expires-days",
    type=click.IntRange(1, 36_500),
    metavar="N",
    help="How long it lasts.  [default: until it is taken out of the file]",
)
@click.option(
    "--append",
    "append_to",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Append the entry to this file, instead of showing it.",
)
def key(
    name: str,
    rights: tuple[str, ...],
    subject: str | None,
    expires_days: int | None,
    append_to: Path | None,
) -> None:
    """Make an API key, and its entry for the file that api_keys_file names.

    \b
      runcast key dashboard --right 'watch:*'
      runcast key ci --right 'publish:ci-*' --expires-days 90 --append keys.toml
      KEY=$(runcast key worker --right 'publish:*' --append keys.toml)

    The key goes to standard output, and nowhere else: the entry has only its hash. Edges notice
    within seconds that the file has changed.
    """
    from broker.commands.key import run_key

    run_key(name, rights, subject=subject, expires_days=expires_days, append_to=append_to)


@cli.command(context_settings=_HELP)
@click.argument("run_id", metavar="RUN")
@click.option("--subject", metavar="NAME", help="Who it is for, as their tokens call them.")
@click.option(
    "--right",
    "rights",
    multiple=True,
    type=click.Choice(["watch", "publish", "command"]),
    help="What it allows; may be given several times.  [default: watch]",
)
@click.option(
    "--seconds",
    type=click.IntRange(1, MOST_SECONDS),
    help="How long it lasts.  [default: the setting ticket_seconds]",
)
@click.option("--url", metavar="URL", help="The edge: prints the URL of the run's events as well.")
@settings_options("ticket_secret", "ticket_seconds", "ticket_audience")
def ticket(
    run_id: str,
    subject: str | None,
    rights: tuple[str, ...],
    seconds: int | None,
    url: str | None,
    **flags: Any,
) -> None:
    """Make a ticket by hand: whoever has it may watch this run, until it ends.

    \b
      runcast ticket 42
      runcast ticket 42 --seconds 3600 --url https://runs.example.com

    The ticket goes to standard output. It is good at every edge with the same ticket_secret, which
    is best set by RUNCAST_TICKET_SECRET or in runcast.toml: others on this machine can read flags.
    """
    settings = load_settings(flags, listens=False)
    from broker.commands.ticket import run_ticket

    run_ticket(settings, run_id, subject=subject, rights=rights, seconds=seconds, url=url)


@cli.command(context_settings=_HELP)
@click.option(
    "--subject", "subjects", multiple=True, metavar="NAME", help="All that a subject has."
)
@click.option("--key", "keys", multiple=True, metavar="NAME", help="An API key, by its name.")
@click.option(
    "--token", "tokens", multiple=True, metavar="JTI", help="A token or ticket, by its jti."
)
@click.option(
    "--keep-days",
    type=click.IntRange(LEAST_DAYS_REVOKED, 3650),
    default=90,
    show_default=True,
    help="How long revocations are kept; longer than any of your tokens lasts.",
)
@settings_options("redis_url", "redis_timeout_seconds", "embedded_directory", "revocations_key")
def revoke(
    subjects: tuple[str, ...],
    keys: tuple[str, ...],
    tokens: tuple[str, ...],
    keep_days: int,
    **flags: Any,
) -> None:
    """Revoke credentials: edges end their streams within one heartbeat, and refuse them.

    \b
      runcast revoke --subject ada
      runcast revoke --key ci --key old-ci
      runcast revoke --token 5f0c8a2e

    What was made until now is revoked, tickets made with it included; tokens that your identity
    provider gives out afterwards are good. API keys have no date: one that is revoked by its name
    stays so, and is best taken out of the file as well.
    """
    marks = [
        *(f"subject:{name}" for name in subjects),
        *(f"key:{name}" for name in keys),
        *(f"token:{name}" for name in tokens),
    ]
    from broker.commands.revoke import run_revoke

    run_revoke(load_settings(flags, listens=False), marks, keep_days)


def main() -> None:
    """Runs the command; what the user can mend is said in one line, without a trace."""
    try:
        cli.main(prog_name="runcast", standalone_mode=True)
    except CommandFailed as failure:
        click.echo(f"runcast: {failure}", err=True)
        sys.exit(failure.exit_code)
    except (SettingsError, EmbeddedError, AddressInUse) as error:
        click.echo(f"runcast: {error}", err=True)
        sys.exit(UNUSABLE)
