"""Installs peers: Debian packages into the machine, all else below the checkout's `.benchmarks`."""

import os
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from benchmarks.systems.system import CantInstall

__all__ = ["debian_version", "install_crate", "install_debian", "installed_crate"]

_INSTALLED: Final = Path(__file__).parents[2] / ".benchmarks"
"""Where programs go that no package manager of the machine knows. Not committed."""

_INSTALL_SECONDS: Final = 1800
_QUERY_SECONDS: Final = 10


def debian_version(package: str) -> str | None:
    """The installed version of a Debian package; `None` if it is not installed."""
    try:
        answer = subprocess.run(
            ["dpkg-query", "--show", "--showformat=${db:Status-Status} ${Version}", package],
            capture_output=True,
            text=True,
            timeout=_QUERY_SECONDS,
            check=False,
        )
    except FileNotFoundError:
        return None
    status, _, version = answer.stdout.partition(" ")
    return version if status == "installed" else None


def install_debian(packages: Mapping[str, str | None], say: Callable[[str], None]) -> None:
    """Installs Debian packages, each in the version given for it, or in any if that is `None`.

    Raises:
        CantInstall: apt-get has failed, or is not there.
    """
    if all(
        (found := debian_version(package)) is not None and wanted in (None, found)
        for package, wanted in packages.items()
    ):
        return
    names = [f"{package}={wanted}" if wanted else package for package, wanted in packages.items()]
    say(f"installing {', '.join(packages)} with apt-get")
    as_root = [] if os.geteuid() == 0 else ["sudo", "-n"]
    # With RUNLEVEL=1 a package's script does not start its daemon on the side.
    apt_get = [*as_root, "env", "DEBIAN_FRONTEND=noninteractive", "RUNLEVEL=1", "apt-get", "-y"]
    _run([*apt_get, "update"])
    _run([*apt_get, "install", "--no-install-recommends", *names])


def installed_crate(name: str, version: str) -> Path:
    """Where `install_crate` puts the program of this crate."""
    return _crate_root(name, version) / "bin" / name


def install_crate(name: str, version: str, say: Callable[[str], None]) -> None:
    """Builds a Rust program from its published sources.

    Raises:
        CantInstall: cargo has failed, or is not there.
    """
    if installed_crate(name, version).exists():
        return
    say(f"building {name} {version} with cargo: some minutes")
    root = str(_crate_root(name, version))
    _run(["cargo", "install", name, "--version", version, "--locked", "--root", root])


def _crate_root(name: str, version: str) -> Path:
    # The version is part of it, so that a change of it builds anew.
    return _INSTALLED / "cargo" / f"{name}-{version}"


def _run(command: Sequence[str]) -> None:
    try:
        answer = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=_INSTALL_SECONDS,
            check=False,
        )
    except FileNotFoundError:
        raise CantInstall(f"{command[0]} is not installed") from None
    except subprocess.TimeoutExpired:
        raise CantInstall(f"{command[0]} has taken more than {_INSTALL_SECONDS} s") from None
    if answer.returncode != 0:
        lines = answer.stdout.strip().splitlines() or [f"status {answer.returncode}"]
        raise CantInstall(f"{command[0]}: {lines[-1]}")
