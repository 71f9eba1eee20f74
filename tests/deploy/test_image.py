"""The image: the Dockerfile's own instructions, carried out in an overlay instead of an engine.

In the base image's place stand this machine's files and the Python that runs the tests. What
Runcast depends on is not installed anew, for time, but taken from there; with
RUNCAST_TEST_WHOLE_IMAGE=1 it is.
"""

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import httpx
import pytest

from tests.deploy.dockerfile import Stage, parse_dockerfile
from tests.deploy.overlay import Overlay, first_inside
from tests.support.servers import available_kinds, free_port, redis_of_kind
from tests.support.waiting import eventually_sync

ROOT: Final = Path(__file__).resolve().parents[2]
BUILD, IMAGE = parse_dockerfile((ROOT / "Dockerfile").read_text())
pytestmark = pytest.mark.timeout(600)
"""The first test of this module makes the image."""

WHOLE: Final = bool(os.environ.get("RUNCAST_TEST_WHOLE_IMAGE"))
PYTHON: Final = Path(sys.base_prefix) / "bin"
PATH: Final = f"{PYTHON}:/usr/local/bin:/usr/bin:/bin"
PACKAGES: Final = Path(sysconfig.get_path("purelib"))
"""Where this environment has what Runcast depends on. (Runcast itself is not there, but a link that
is followed in the environment only.)"""
LENT: Final = "/opt/lent"
"""Where the image has them."""


def test_the_linter_finds_nothing() -> None:
    hadolint = shutil.which("hadolint") or Path(sys.executable).parent / "hadolint"
    if not Path(hadolint).exists():
        pytest.skip("hadolint is not installed")
    outcome = subprocess.run([hadolint, ROOT / "Dockerfile"], capture_output=True, text=True)
    assert (outcome.returncode, outcome.stdout) == (0, "")


def test_what_is_copied_is_in_the_context_and_nothing_else() -> None:
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert "*" in ignored
    let_through = {line.removeprefix("!") for line in ignored if line.startswith("!")}
    assert let_through == {source for copied in _copied(BUILD) for source in copied[0]}


def test_it_runs_as_nobody_in_particular_and_stops_as_the_edge_does() -> None:
    user = IMAGE.last("USER").rest
    assert all(part.isdigit() and int(part) >= 10_000 for part in user.split(":"))
    assert IMAGE.last("STOPSIGNAL").rest == "SIGTERM"
    for name in ("ENTRYPOINT", "CMD"):
        assert IMAGE.last(name).rest.startswith("["), f"{name}: a shell would take the signals"
    assert BUILD.base == IMAGE.base, "what was built for one Python may not run on another"


@pytest.fixture(scope="module")
def image() -> Iterator[Overlay]:
    """The image's files, made as the Dockerfile says."""
    if not Overlay.possible():
        pytest.skip("needs root and overlayfs")
    if not (PYTHON / "pip").exists():
        pytest.skip("the Python below the environment has no pip")
    builder, overlay = Overlay(), Overlay(None if WHOLE else PACKAGES, LENT)
    try:
        _carry_out(BUILD, builder, ROOT)
        if not WHOLE:
            [packages] = builder.upper.glob("opt/runcast/lib/python*/site-packages")
            (packages / "lent.pth").write_text(f"{LENT}\n")
        _carry_out(IMAGE, overlay, builder.upper)
        # It may be in root's home, and the image's user must get there.
        for place in PYTHON.parents:
            _run(overlay, f"chmod a+x {shlex.quote(str(place))}")
        yield overlay
    finally:
        builder.close()
        overlay.close()


@pytest.fixture(scope="module")
def redis_url() -> Iterator[str]:
    with redis_of_kind(available_kinds()[0]) as url:
        yield url


class Container:
    """The image's command, as process 1 of the image's user, with a root that is read-only."""

    def __init__(self, image: Overlay, directory: Path, *arguments: str, **settings: str) -> None:
        self.port = free_port()
        self._log = directory / "log"
        self._environment = {
            **IMAGE.environment,
            "PATH": IMAGE.environment["PATH"].replace("$PATH", PATH),
            # Every test has its own port; in a container it is the image's.
            "RUNCAST_PORT": str(self.port),
            **{f"RUNCAST_{name.upper()}": value for name, value in settings.items()},
        }
        command = [*IMAGE.last("ENTRYPOINT").words, *IMAGE.last("CMD").words, *arguments]
        with self._log.open("wb") as log:
            self._process = image.start(self._as_user(command), self._environment, log)

    def _as_user(self, command: list[str]) -> list[str]:
        user, group = IMAGE.last("USER").rest.split(":")
        return [
            *("setpriv", f"--reuid={user}", f"--regid={group}", "--clear-groups"),
            *("--no-new-privs", "--bounding-set=-all", "--inh-caps=-all"),
            *("sh", "-c", f'cd {IMAGE.last("WORKDIR").rest} && exec "$@"', "sh", *command),
        ]

    def log(self) -> str:
        """What it has written."""
        return self._log.read_text()

    def healthy(self) -> bool:
        """What the image's health check says."""
        check = json.loads(IMAGE.last("HEALTHCHECK").rest.partition("CMD ")[2])
        command = self._as_user(check)
        return Overlay.run_beside(self._process, command, self._environment).returncode == 0

    def stop(self) -> int:
        """Stops it as an engine does; its exit code."""
        os.kill(first_inside(self._process), signal.Signals[IMAGE.last("STOPSIGNAL").rest])
        return self.ended()

    def ended(self) -> int:
        """The exit code, once it ends by itself."""
        return self._process.wait(timeout=10)

    def close(self) -> None:
        """Ends it, if it still runs."""
        self._process.kill()
        self._process.wait()


@pytest.mark.parametrize("arguments", [(), ("--workers", "2")])
def test_it_serves_is_healthy_and_stops(
    image: Overlay, redis_url: str, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    settings = {"redis_url": redis_url, "insecure": "true", "drain_seconds": "0.5"}
    container = Container(image, tmp_path, *arguments, **settings)
    try:
        eventually_sync(lambda: '"event": "listening"' in container.log(), within=60)
        assert container.healthy()
        url = f"http://127.0.0.1:{container.port}"
        assert httpx.get(f"{url}/readyz").status_code == 200
        assert 'runcast_build_info{python="' in httpx.get(f"{url}/metrics").text
        page = httpx.get(f"{url}/v1/runs/nobody/events", headers={"accept": "application/json"})
        assert page.json()["events"] == []
        assert container.stop() == 0, container.log()
    finally:
        container.close()


def test_without_authentication_it_does_not_start(image: Overlay, tmp_path: Path) -> None:
    container = Container(image, tmp_path, redis_url="redis://127.0.0.1:1/0")
    try:
        eventually_sync(lambda: "no authentication is set up" in container.log(), within=60)
        assert container.ended() != 0
    finally:
        container.close()


def _copied(stage: Stage) -> Iterator[tuple[list[str], str]]:
    for one in stage.instructions:
        if one.name == "COPY":
            *sources, target = one.operands
            yield sources, target


def _carry_out(stage: Stage, overlay: Overlay, context: Path) -> None:
    """Does what a stage's instructions say to files.

    Args:
        stage: whose.
        overlay: where.
        context: what COPY copies from.
    """
    workdir = "/"
    for one in stage.instructions:
        if one.name == "WORKDIR":
            workdir = one.rest
            _run(overlay, f"mkdir -p {workdir}")
        elif one.name == "COPY":
            *sources, target = one.operands
            for source in sources:
                _copy(context / source.lstrip("/"), overlay.upper, workdir, target)
        elif one.name == "RUN":
            _run(overlay, f"cd {workdir} && {one.command}")


def _copy(source: Path, upper: Path, workdir: str, target: str) -> None:
    place = upper / workdir.lstrip("/") / target.lstrip("/")
    if target.startswith("/"):
        place = upper / target.lstrip("/")
    if source.is_dir():
        skipped = shutil.ignore_patterns("__pycache__")
        shutil.copytree(source, place, symlinks=True, ignore=skipped)
    else:
        shutil.copy2(source, place)


def _run(overlay: Overlay, command: str) -> None:
    environment = {"PATH": PATH, "HOME": "/root", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    if " install " in command and not WHOLE:
        environment["PIP_NO_DEPS"] = "1"
    outcome = overlay.run(["sh", "-c", command], environment, within=300 if WHOLE else 60)
    assert outcome.returncode == 0, f"{command}\n{outcome.stdout}{outcome.stderr}"
