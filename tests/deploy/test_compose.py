"""`deploy/compose`, as Docker Compose reads it. It is not started: there is no engine."""

import importlib.util
import json
import os
import re
import shutil
import stat
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any, Final

import pytest

from broker.settings import Settings
from tests.deploy.programs import DEPLOY, ROOT, program
from tests.support.servers import available_kinds, binary_of, free_port
from tests.support.waiting import eventually_sync

pytestmark = pytest.mark.timeout(180)

COMPOSE: Final = DEPLOY / "compose"
PASSWORDS: Final = {
    "REDIS_PASSWORD": "of-redis",
    "GRAFANA_PASSWORD": "of-grafana",
    "TICKET_SECRET": "t" * 64,
}


def docker_compose(*arguments: str | Path) -> "subprocess.CompletedProcess[str]":
    """Runs Docker Compose, with no variable but those that are given to it."""
    package = importlib.util.find_spec("compose")
    # The package's own command says 0 whatever happens; beside it is the real one.
    real = package and package.origin and Path(package.origin).with_name("docker-compose")
    command = str(real) if real and real.exists() else program("docker-compose")
    return subprocess.run(
        [command, "--file", COMPOSE / "compose.yaml", *arguments],
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        timeout=50,
    )


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The whole, with variables put in."""
    directory = tmp_path_factory.mktemp("compose")
    file = directory / "passwords"
    file.write_text("".join(f"{name}={value}\n" for name, value in PASSWORDS.items()))
    outcome = docker_compose("--env-file", file, "config", "--format", "json")
    assert (outcome.returncode, outcome.stderr) == (0, "")
    document: dict[str, Any] = json.loads(outcome.stdout)
    return document


def test_every_file_that_is_mounted_is_there(project: dict[str, Any]) -> None:
    for name, service in project["services"].items():
        for volume in service.get("volumes", []):
            if volume["type"] == "bind" and "private" not in Path(volume["source"]).parts:
                assert Path(volume["source"]).exists(), f"{name}: {volume['source']}"


def test_it_has_no_secret() -> None:
    """Without what `prepare` makes it does not start."""
    outcome = docker_compose("--env-file", os.devnull, "config")
    assert outcome.returncode != 0
    assert "run ./prepare" in outcome.stderr
    assert set((COMPOSE / ".gitignore").read_text().split()) == {".env", "private/"}


def test_the_edges_are_two_of_a_kind(project: dict[str, Any]) -> None:
    first, second = (dict(project["services"][name]) for name in ("edge-1", "edge-2"))
    assert first.pop("networks") != second.pop("networks")
    assert first == second
    names = {name.removeprefix("RUNCAST_").lower() for name in first["environment"]}
    assert names <= set(Settings.model_fields)
    seconds = float(first["environment"]["RUNCAST_DRAIN_SECONDS"])
    assert first["stop_grace_period"] == f"{2 * seconds + 5:.0f}s"


def test_proxy_and_prometheus_know_the_edges(project: dict[str, Any]) -> None:
    aliases = {
        alias
        for name in ("edge-1", "edge-2")
        for alias in project["services"][name]["networks"]["runcast"]["aliases"]
    }
    for file in ("proxies/nginx.conf", "prometheus/prometheus.yaml"):
        found = set(re.findall(r"([\w.-]+):8080", (DEPLOY / file).read_text()))
        assert found == aliases, file
    [network] = project["networks"]["runcast"]["ipam"]["config"]
    trusted = project["services"]["edge-1"]["environment"]["RUNCAST_TRUSTED_PROXIES"]
    assert trusted == network["subnet"]


def test_redis_takes_its_configuration_and_the_password(prepared: Path, tmp_path: Path) -> None:
    text = (COMPOSE / "redis.conf").read_text()
    assert text.count("/run/secrets/redis/") == 1
    text = text.replace("/run/secrets/redis/", f"{prepared}/private/redis/")
    (tmp_path / "redis.conf").write_text(text)
    port = free_port()
    server = subprocess.Popen(
        [
            *(binary_of(available_kinds()[0]), tmp_path / "redis.conf"),
            *("--port", str(port), "--bind", "127.0.0.1", "--dir", tmp_path),
        ],
        stdout=subprocess.DEVNULL,
    )
    try:
        url = f"redis://:{given(prepared)['REDIS_PASSWORD']}@127.0.0.1:{port}/0"
        checked = eventually_sync(lambda: checks(url), within=60)
    finally:
        server.kill()
        server.wait()
    wrong = {name: level for name, level in checked.items() if level != "ok"}
    assert wrong == {}


def checks(redis_url: str) -> dict[str, str]:
    """What `runcast check` says of a server; nothing while there is none."""
    outcome = subprocess.run(
        [sys.executable, "-m", "broker", "check", "--redis-url", redis_url, "--json"],
        capture_output=True,
        text=True,
        timeout=50,
    )
    found = {one["name"]: one["level"] for one in json.loads(outcome.stdout)["checks"]}
    return found if found["reachable"] == "ok" else {}


def given(folder: Path) -> dict[str, str]:
    """The passwords that `prepare` has made."""
    return dict(line.split("=") for line in (folder / ".env").read_text().split())


def test_everything_is_watched_and_pinned(project: dict[str, Any]) -> None:
    for name, service in project["services"].items():
        tag = service["image"].partition(":")[2]
        assert re.match(r"v?\d+\.\d+", tag), name
        # The edges' check is the image's.
        assert "healthcheck" in service or name.startswith("edge-"), name
        assert "no-new-privileges:true" in service["security_opt"], name
        for port in service.get("ports", []):
            assert name == "nginx" or port["host_ip"] == "127.0.0.1", name


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder, and what its script makes with an installed Runcast."""
    folder = tmp_path_factory.mktemp("prepared")
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    runcast = folder / "runcast"
    runcast.write_text(f'#!/bin/sh\nexec {sys.executable} -m broker "$@"\n')
    runcast.chmod(0o755)
    shutil.copy(COMPOSE / "prepare", folder)
    environment = {**os.environ, "RUNCAST": str(runcast), "PYTHONPATH": str(ROOT)}
    for _ in range(2):
        made = subprocess.run(
            [folder / "prepare", "runs.example.com"],
            env=environment,
            capture_output=True,
            text=True,
            timeout=100,
        )
        assert made.returncode == 0, made.stderr
    assert made.stdout == "", "the second time there is nothing left to do"
    return folder


def test_prepare_makes_what_is_mounted(prepared: Path) -> None:
    private = prepared / "private"
    passwords = given(prepared)
    assert passwords.keys() == PASSWORDS.keys()
    assert all(len(value) == 64 for value in passwords.values())
    entries = tomllib.loads((private / "edge" / "keys.toml").read_text())["keys"]
    assert [(entry["name"], entry["rights"]) for entry in entries] == [
        ("prometheus", ["metrics"]),
        ("viewer", ["watch:*"]),
    ]
    for file in ("prometheus/metrics.key", "viewer.key", "tls/fullchain.pem", "tls/privkey.pem"):
        assert (private / file).read_text().strip(), file


def test_what_prepare_makes_is_for_containers_and_nobody_else(prepared: Path) -> None:
    def mode(path: str) -> int:
        return stat.S_IMODE((prepared / path).stat().st_mode)

    assert mode(".env") == 0o600
    assert mode("private") == 0o700
    for directory in ("edge", "prometheus", "redis", "tls"):
        assert mode(f"private/{directory}") == 0o755
    for file in ("edge/keys.toml", "prometheus/metrics.key", "redis/password.conf"):
        assert mode(f"private/{file}") == 0o644
    # nginx reads it as root.
    assert mode("private/tls/privkey.pem") == 0o600
