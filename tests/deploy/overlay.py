"""Commands in a file system of their own over this machine's, with nothing of theirs left behind.

It stands in for a container where there is no engine: an overlay in a mount namespace, processes in
a namespace of their own, and a root that may be read-only. Wants Linux and root.
"""

import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Final

from tests.support.waiting import eventually_sync

__all__ = ["Overlay", "first_inside"]

_SHARED_MEMORY: Final = Path("/dev/shm")
"""The upper layer must not be below the lower one, which is the whole machine."""

_ENTER: Final = """
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" "$1/root"
mount -t proc proc "$1/root/proc"
mount --rbind /dev "$1/root/dev"
if [ -n "$3" ]; then
    mkdir -p "$1/root/$4"
    mount --bind "$3" "$1/root/$4"
fi
if [ "$2" = read-only ]; then
    mount -t tmpfs -o size=16m,mode=1777 tmpfs "$1/root/tmp"
    mount -o remount,ro "$1/root"
fi
root=$1/root
shift 4
exec chroot "$root" "$@"
"""


def first_inside(process: "subprocess.Popen[bytes]") -> int:
    """What process 1 of one that was started is called outside."""
    # unshare has no other child, and passes no signals on to it.
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    return int(eventually_sync(children.read_text))


class Overlay:
    """A file system that begins as this machine's."""

    def __init__(self, lent: Path | None = None, place: str = "") -> None:
        """Makes it.

        Args:
            lent: a directory of this machine's, to be had in it at another place as well.
            place: where; absolute.
        """
        self._lent, self._place = lent, place
        self._directory = Path(tempfile.mkdtemp(prefix="runcast-test-", dir=_SHARED_MEMORY))
        self.upper = self._directory / "upper"
        """What was written in it, from outside."""
        for name in ("upper", "work", "root"):
            (self._directory / name).mkdir()

    @staticmethod
    def possible() -> bool:
        """Whether this machine and user can have one."""
        if shutil.which("unshare") is None or not _SHARED_MEMORY.is_dir():
            return False
        overlay = Overlay()
        try:
            return overlay.run(["true"], {}).returncode == 0
        finally:
            overlay.close()

    def run(
        self, command: Sequence[str], environment: Mapping[str, str], *, within: float = 50
    ) -> "subprocess.CompletedProcess[str]":
        """Runs a command to its end."""
        return subprocess.run(
            self._entering(command, environment, read_only=False),
            capture_output=True,
            text=True,
            timeout=within,
        )

    def start(
        self, command: Sequence[str], environment: Mapping[str, str], log: IO[bytes]
    ) -> "subprocess.Popen[bytes]":
        """Starts it as process 1, with a root that is read-only and a /tmp of 16 MiB."""
        return subprocess.Popen(
            self._entering(command, environment, read_only=True),
            stdout=log,
            stderr=subprocess.STDOUT,
        )

    @staticmethod
    def run_beside(
        process: "subprocess.Popen[bytes]",
        command: Sequence[str],
        environment: Mapping[str, str],
    ) -> "subprocess.CompletedProcess[str]":
        """Runs a command in the file system and with the processes of one that was started."""
        inside = f"--target={first_inside(process)}"
        return subprocess.run(
            ["nsenter", inside, "--mount", "--pid", "--root", *_with(environment), *command],
            capture_output=True,
            text=True,
            timeout=20,
        )

    def close(self) -> None:
        """Removes it; after all that was started has ended."""
        shutil.rmtree(self._directory)

    def _entering(
        self, command: Sequence[str], environment: Mapping[str, str], *, read_only: bool
    ) -> list[str]:
        return [
            *("unshare", "--mount", "--pid", "--fork", "--kill-child=KILL"),
            *("sh", "-euc", _ENTER, "sh", str(self._directory)),
            "read-only" if read_only else "writable",
            *("" if self._lent is None else str(self._lent), self._place),
            *_with(environment),
            *command,
        ]


def _with(environment: Mapping[str, str]) -> list[str]:
    return ["env", "-i", *(f"{name}={value}" for name, value in environment.items())]
