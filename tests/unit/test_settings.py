"""Settings: where they come from, what is refused and in which words, and that all are told of."""

import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest
from click.testing import CliRunner

from broker.cli import cli
from broker.settings import CONFIG_FILE, Settings, SettingsError, load_settings
from broker.wire.event import TerminalRule
from broker.wire.ids import RunId

_SECRET: Final = "s3cret-w0rd"
_REDIS_FORMS: Final = (
    "write redis://host:6379/0, rediss://host:6380/0, unix:///path/to/socket, "
    "redis+sentinel://host:26379,host:26379/NAME or redis+cluster://host:6379,host:6379, "
    "special characters of a password percent-encoded"
)
_EXPOSED: Final = (
    "can be reached by others and no authentication is set up: "
    "see docs/authentication.md, use 127.0.0.1 behind a proxy that authenticates, or add --insecure"
)
_NO_SUCH: Final = "there is no such setting; see runcast serve --help, and runcast.toml"
_ONE_RUN_ID: Final = "must have {run_id} exactly once; write a literal hash tag as {{tag}}"
_NOT_AN_INTEGER: Final = "Input should be a valid integer, unable to parse string as an integer"


@dataclass(frozen=True)
class Given:
    """What a user has written, and where."""

    file: str = ""
    environment: dict[str, str] = field(default_factory=dict)
    flags: dict[str, Any] = field(default_factory=dict)

    def load(self, directory: Path, patch: pytest.MonkeyPatch) -> Settings:
        """The settings of a `runcast` that is started there."""
        patch.chdir(directory)
        for name in os.environ:
            if name.upper().startswith("RUNCAST_"):
                patch.delenv(name)
        for name, value in self.environment.items():
            patch.setenv(name, value)
        if self.file:
            (directory / CONFIG_FILE).write_text(self.file)
        return load_settings(self.flags)


def flags(**values: Any) -> Given:
    """Given as flags, which are text or absent."""
    return Given(flags=values)


def environment(**values: str) -> Given:
    """Given in the environment."""
    return Given(environment=values)


VALID: Final[dict[str, tuple[Given, dict[str, Any]]]] = {
    "nothing": (Given(), {"host": "127.0.0.1", "port": 8080, "redis_url": None}),
    "a file": (Given("port = 1"), {"port": 1}),
    "a file with a comment only": (Given("# port = 1\n"), {"port": 8080}),
    "environment": (environment(RUNCAST_PORT="2"), {"port": 2}),
    "environment in lower case": (environment(runcast_port="2"), {"port": 2}),
    "a flag": (flags(port="3"), {"port": 3}),
    "environment over file": (Given("port = 1", {"RUNCAST_PORT": "2"}), {"port": 2}),
    "a flag over both": (Given("port = 1", {"RUNCAST_PORT": "2"}, {"port": "3"}), {"port": 3}),
    "a flag that was not given": (Given("port = 1", {}, {"port": None}), {"port": 1}),
    "each from elsewhere": (
        Given("linger_seconds = 1.5", {"RUNCAST_LOG_LEVEL": "debug"}, {"port": "3"}),
        {"linger_seconds": 1.5, "log_level": "debug", "port": 3},
    ),
    "a switch from a file, turned off by a flag": (
        Given("insecure = true", {}, {"insecure": False}),
        {"insecure": False},
    ),
    "a switch in the environment": (environment(RUNCAST_INSECURE="1"), {"insecure": True}),
    "other loopback addresses": (flags(host="127.1.2.3"), {"host": "127.1.2.3"}),
    "loopback of IPv6": (flags(host="::1"), {"host": "::1"}),
    "localhost": (flags(host="localhost"), {"host": "localhost"}),
    "all addresses, knowingly": (flags(host="0.0.0.0", insecure=True), {"host": "0.0.0.0"}),
    "all addresses, knowingly, in a file": (
        Given('host = "0.0.0.0"\ninsecure = true'),
        {"host": "0.0.0.0"},
    ),
    "a port that is free": (flags(port="0"), {"port": 0}),
    "fractions of seconds": (flags(heartbeat_seconds="0.5"), {"heartbeat_seconds": 0.5}),
    "no terminal types": (flags(terminal_types=""), {"terminal_types": ""}),
    "a terminal rule": (
        flags(terminal_rule="state in succeeded, failed"),
        {"terminal_rule": "state in succeeded, failed"},
    ),
}

INVALID: Final[dict[str, tuple[Given, str]]] = {
    # addresses
    "all addresses": (flags(host="0.0.0.0"), f"host 0.0.0.0 {_EXPOSED}"),
    "all addresses of IPv6": (flags(host="::"), f"host :: {_EXPOSED}"),
    "all addresses, in a file": (Given('host = "0.0.0.0"'), f"host 0.0.0.0 {_EXPOSED}"),
    "all addresses, in the environment": (
        environment(RUNCAST_HOST="0.0.0.0"),
        f"host 0.0.0.0 {_EXPOSED}",
    ),
    "a name that may be anyone's": (flags(host="example.org"), f"host example.org {_EXPOSED}"),
    "allowed in a file, taken back by a flag": (
        Given('host = "0.0.0.0"\ninsecure = true', {}, {"insecure": False}),
        f"host 0.0.0.0 {_EXPOSED}",
    ),
    # numbers
    "a port that is a word": (flags(port="http"), f"port: {_NOT_AN_INTEGER}"),
    "an empty port": (flags(port=""), f"port: {_NOT_AN_INTEGER}"),
    "a port too high": (
        flags(port="70000"),
        "port: Input should be less than or equal to 65535",
    ),
    "a port below zero": (flags(port="-1"), "port: Input should be greater than or equal to 0"),
    "seconds with a unit": (
        flags(heartbeat_seconds="15s"),
        "heartbeat_seconds: Input should be a valid number, unable to parse string as a number",
    ),
    "no time at all": (
        flags(heartbeat_seconds="0"),
        "heartbeat_seconds: Input should be greater than 0",
    ),
    "more than a day": (
        flags(stall_timeout_seconds="86401"),
        "stall_timeout_seconds: Input should be less than or equal to 86400",
    ),
    "for ever": (
        flags(stall_timeout_seconds="inf"),
        "stall_timeout_seconds: Input should be less than or equal to 86400",
    ),
    "no connections": (
        flags(redis_connections="0"),
        "redis_connections: Input should be greater than or equal to 1",
    ),
    "half a connection": (flags(redis_connections="1.5"), f"redis_connections: {_NOT_AN_INTEGER}"),
    "bytes with a unit": (flags(window_bytes="1MB"), f"window_bytes: {_NOT_AN_INTEGER}"),
    "hardly a byte": (
        flags(window_bytes="1"),
        "window_bytes: Input should be greater than or equal to 1024",
    ),
    # choices and switches
    "a choice that there is not": (
        flags(missing_run="maybe"),
        "missing_run: Input should be 'wait' or 'reject'",
    ),
    "a choice in upper case": (
        flags(log_level="INFO"),
        "log_level: Input should be 'debug', 'info', 'warning' or 'error'",
    ),
    "a switch that is a word": (
        environment(RUNCAST_INSECURE="perhaps"),
        "insecure: Input should be a valid boolean, unable to interpret input",
    ),
    # forms
    "not Redis": (
        flags(redis_url="http://host:6379/0"),
        f"redis_url: http://host:6379/0 is not a Redis URL: {_REDIS_FORMS}",
    ),
    "not Redis, with a password": (
        flags(redis_url=f"http://user:{_SECRET}@host:6379/0"),
        f"redis_url: http://host:6379/0 is not a Redis URL: {_REDIS_FORMS}",
    ),
    "not Redis, with a password, in the environment": (
        environment(RUNCAST_REDIS_URL=f"http://user:{_SECRET}@host"),
        f"redis_url: http://host is not a Redis URL: {_REDIS_FORMS}",
    ),
    "not Redis, with a password, in a file": (
        Given(f'redis_url = "http://user:{_SECRET}@host"'),
        f"redis_url: http://host is not a Redis URL: {_REDIS_FORMS}",
    ),
    "not a URL": (
        flags(redis_url=f"redis://:{_SECRET}@[::1"),
        f"redis_url: (unreadable URL) is not a Redis URL: {_REDIS_FORMS}",
    ),
    "no run in the key": (flags(key_template="run"), f"key_template: 'run' {_ONE_RUN_ID}"),
    "two runs in the key": (
        flags(key_template="{run_id}{run_id}"),
        f"key_template: '{{run_id}}{{run_id}}' {_ONE_RUN_ID}",
    ),
    "another name in the key": (
        flags(key_template="run:{id}"),
        f"key_template: 'run:{{id}}' {_ONE_RUN_ID}",
    ),
    "a hash tag that looks like the run": (
        flags(key_template="{{run_id}}"),
        f"key_template: '{{{{run_id}}}}' {_ONE_RUN_ID}",
    ),
    "an empty field name": (
        flags(data_field=""),
        "data_field: String should have at least 1 character",
    ),
    "half a terminal rule": (
        flags(terminal_rule="state"),
        "terminal_rule: write it as KEY in VALUE,VALUE (state in succeeded,failed)",
    ),
    # the file itself
    "a name misspelt in the file": (Given("prot = 1"), f"prot: {_NO_SUCH}"),
    "a table in the file": (Given("[redis]\nurl = 1"), f"redis: {_NO_SUCH}"),
    "not TOML": (Given("port ="), "runcast.toml: Invalid value (at end of document)"),
    "not TOML, with a password": (
        Given(f"redis_url = redis://user:{_SECRET}@host"),
        "runcast.toml: Invalid value (at line 1, column 13)",
    ),
    "text for which a number stands": (Given("host = 5"), "host: Input should be a valid string"),
    # more than one
    "two at once: the first is said": (
        flags(port="http", redis_url=f"http://user:{_SECRET}@host"),
        f"port: {_NOT_AN_INTEGER}",
    ),
}


@pytest.mark.parametrize("name", VALID)
def test_valid(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given, expected = VALID[name]
    settings = given.load(tmp_path, monkeypatch)
    assert {attribute: getattr(settings, attribute) for attribute in expected} == expected


@pytest.mark.parametrize("name", INVALID)
def test_invalid(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given, line = INVALID[name]
    with pytest.raises(SettingsError) as refused:
        given.load(tmp_path, monkeypatch)
    assert str(refused.value) == line
    assert "\n" not in line
    assert _SECRET not in line


def test_what_is_derived_from_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = flags(
        key_template="{{{run_id}}}:events",
        terminal_types="done, stopped ,",
        terminal_rule="state in ok",
        max_limit="7",
        max_wait_seconds="8",
        tail_keys_per_connection="9",
    ).load(tmp_path, monkeypatch)
    assert settings.keys.key(RunId("r1")) == "{r1}:events"
    assert settings.events.terminal_types == {"done", "stopped"}
    assert settings.events.terminal_rule == TerminalRule("state", frozenset({"ok"}))
    assert settings.request_limits.page_events == 7
    assert settings.request_limits.wait_seconds == 8
    assert settings.tail_settings.keys_per_connection == 9


def test_settings_cannot_be_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Given().load(tmp_path, monkeypatch)
    with pytest.raises(ValueError, match="frozen"):
        settings.port = 1


# ---- secrets


def test_a_password_is_in_no_rendering(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"redis://user:{_SECRET}@host:6379/0"
    settings = flags(redis_url=url).load(tmp_path, monkeypatch)
    assert settings.redis_url is not None
    assert settings.redis_url.get_secret_value() == url
    for rendering in (repr(settings), str(settings), str(settings.model_dump())):
        assert _SECRET not in rendering
    assert _SECRET not in settings.model_dump_json()


@pytest.mark.parametrize(
    "url",
    [
        pytest.param(f"http://user:{_SECRET}@host:6379/0", id="another scheme"),
        pytest.param(f"http://user:{_SECRET}#1@host:6379/0", id="a # in the password"),
        pytest.param(f"http://user:{_SECRET}@/1@host:6379/0", id="@ and / in the password"),
        pytest.param(f"http://host/0?password={_SECRET}", id="in the query"),
        pytest.param(f"http://host/0#{_SECRET}", id="in the fragment"),
        pytest.param(f"//user:{_SECRET}@host:6379/0", id="no scheme"),
        pytest.param(f"redis://:{_SECRET}@[::1", id="half an address"),
        pytest.param(f"user:{_SECRET}@host:6379/0", id="no scheme, no //"),
        pytest.param(f":{_SECRET}@host:6379/0", id="no scheme, no user"),
        pytest.param(f"user:{_SECRET}/1@host:6379/0", id="no scheme, / in it"),
        pytest.param(f"redis://user:{_SECRET}@host:port/0", id="a word for a port"),
        pytest.param(f"redis://user:{_SECRET}@host:99999/0", id="port too high"),
        pytest.param(f"redis://user:{_SECRET}/1@host:6379/0", id="/ in it"),
    ],
)
def test_a_url_that_is_refused_is_said_in_one_line_without_its_password(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SettingsError) as refused:
        flags(redis_url=url).load(tmp_path, monkeypatch)
    assert str(refused.value).startswith("redis_url: ")
    assert "\n" not in str(refused.value)
    assert _SECRET not in str(refused.value)


# ---- keys


@pytest.mark.parametrize("template", ["{x}{{{run_id}}}", "{{{run_id}}}:{{{run_id}}}"])
def test_a_template_with_a_tagged_run_is_checked_as_any_other(
    template: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SettingsError, match="exactly once"):
        flags(key_template=template).load(tmp_path, monkeypatch)


# ---- the command


def test_the_command_says_one_line_and_exits_with_2(tmp_path: Path) -> None:
    outcome = subprocess.run(
        [sys.executable, "-m", "broker", "serve", "--host", "0.0.0.0"],
        cwd=tmp_path,
        env={**os.environ, "RUNCAST_REDIS_URL": f"redis://user:{_SECRET}@127.0.0.1:1/0"},
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert outcome.returncode == 2
    assert outcome.stdout == ""
    assert outcome.stderr == f"runcast: host 0.0.0.0 {_EXPOSED}\n"


def test_every_setting_has_a_description_and_a_flag_that_tells_it() -> None:
    outcome = CliRunner().invoke(cli, ["serve", "--help"], terminal_width=1000)
    assert outcome.exit_code == 0
    told = " ".join(outcome.output.split())
    for name, setting in Settings.model_fields.items():
        assert setting.description, f"{name} has no description"
        default = "none" if setting.default is None else setting.default
        assert f" --{name.replace('_', '-')} " in told, f"{name} has no flag"
        assert " ".join(setting.description.split()) in told
        assert f"[default: {default}; env: RUNCAST_{name.upper()}]" in told


# ---- the environment


def test_a_misspelt_variable_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # It would be ignored, and the edge run on an embedded Valkey instead.
    with pytest.raises(SettingsError, match=r"^RUNCAST_REDIS_ULR: there is no such setting"):
        environment(RUNCAST_REDIS_ULR="redis://host").load(tmp_path, monkeypatch)


def test_an_empty_variable_is_one_that_is_not_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = environment(RUNCAST_REDIS_URL="", RUNCAST_PORT="").load(tmp_path, monkeypatch)
    assert settings.redis_url is None
    assert settings.port == 8080


def test_a_file_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / CONFIG_FILE).write_bytes(b"\xff")
    with pytest.raises(SettingsError, match=r"^runcast\.toml: "):
        Given().load(tmp_path, monkeypatch)
