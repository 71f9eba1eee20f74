"""The `runcast` command: its sub-commands and flags. What they do is in `broker.commands`."""

import sys
from collections.abc import Callable
from typing import Any, Final, Literal, TypeVar, get_args, get_origin

import click
from pydantic.fields import FieldInfo

from broker import __version__
from broker.commands.demo import run_demo
from broker.commands.serve import run_serve
from broker.logging import configure_logging
from broker.redis.embedded import EmbeddedError
from broker.server.run import AddressInUse
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
    """


@cli.command(context_settings=_HELP)
@settings_options()
def serve(**flags: Any) -> None:
    """Run an edge: GET /v1/runs/RUN/events, /healthz, /readyz, /metrics.

    Without --redis-url it runs an embedded Valkey. Settings come from runcast.toml in the current
    directory, then RUNCAST_… in the environment, then flags; the later wins.
    """
    settings = load_settings(flags)
    configure_logging(settings.log_level, settings.log_format)
    run_serve(settings)


@cli.command(context_settings=_HELP)
@settings_options("host", "port", "redis_url", "insecure")
@click.option(
    "--log-level",
    metavar="debug|info|warning|error",
    help="The least severe log level that is written.  [default: warning]",
)
def demo(**flags: Any) -> None:
    """See it work: a made-up agent, an edge that serves its runs, and a page that shows them.

    Without --redis-url it runs an embedded Valkey that keeps nothing.
    """
    settings = load_settings(flags)
    chosen = "log_level" in settings.model_fields_set
    configure_logging(settings.log_level if chosen else "warning", settings.log_format)
    run_demo(settings)


def main() -> None:
    """Runs the command; what the user can mend is said in one line, without a trace."""
    try:
        cli.main(prog_name="runcast", standalone_mode=True)
    except (SettingsError, EmbeddedError, AddressInUse) as error:
        click.echo(f"runcast: {error}", err=True)
        sys.exit(2)
