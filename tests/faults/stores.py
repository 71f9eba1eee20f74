"""Redis for a round, in each shape that a fault needs: what edges connect to, and what workers do.

All of a store's own methods are synchronous and slow: a loop calls them in a thread.
"""

import shutil
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff
from redis.exceptions import MovedError, RedisError, ResponseError

from tests.support.deployments import ClusterDeployment, SentinelDeployment
from tests.support.servers import RedisProcess, binary_of

__all__ = [
    "ClockedStore",
    "ClusterStore",
    "SentinelStore",
    "SingleStore",
    "Store",
    "Worker",
    "faketime_library",
]


_COMMAND_SECONDS: Final = 2.0
_LIBRARIES: Final = ("/usr/lib", "/usr/local/lib", "/opt/homebrew/lib")


class Worker:
    """A client of the server that has the key; in a Cluster it is told who that is now.

    Nothing is repeated here: it only knows better the next time.
    """

    def __init__(self, *clients: Redis, asked: Sequence[Redis] = ()) -> None:
        """
        Args:
            clients: of any servers that know the one that has the key.
            asked: others that these clients use, and that are to be closed with them.
        """
        self._clients = list(clients)
        self._asked = asked
        self._chosen = 0

    @property
    def client(self) -> Redis:
        """The one to ask now."""
        return self._clients[self._chosen]

    def learn(self, error: RedisError | OSError) -> None:
        """Takes from an error who is to be asked the next time."""
        if isinstance(error, MovedError):
            self._clients.append(client_of(f"redis://{error.host}:{error.port}/0"))
            self._chosen = len(self._clients) - 1
        elif not isinstance(error, ResponseError):
            self._chosen = (self._chosen + 1) % len(self._clients)

    async def aclose(self) -> None:
        """Closes all connections."""
        for client in (*self._clients, *self._asked):
            await client.aclose()


class Store(ABC):
    """Where the runs are."""

    @property
    @abstractmethod
    def url(self) -> str:
        """What edges are given."""

    @abstractmethod
    def start(self) -> None:
        """Starts it, and returns when it answers."""

    @abstractmethod
    def close(self) -> None:
        """Ends it and removes its files."""

    @abstractmethod
    def worker(self) -> Worker:
        """A client for a producer or an operator, which never repeats a command by itself."""


class SingleStore(Store):
    """One server, as most have it."""

    def __init__(self, *, append_only: bool, binary: str | None = None) -> None:
        """
        Args:
            append_only: whether it keeps what it has over a restart.
            binary: of the server; if not given, the embedded Valkey.
        """
        self.process = RedisProcess(binary or binary_of("valkey"), append_only=append_only)

    @property
    def url(self) -> str:
        return self.process.url

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.process.url.rpartition(":")[2].partition("/")[0])

    def start(self) -> None:
        self.process.start()

    def close(self) -> None:
        self.process.close()

    def worker(self) -> Worker:
        return Worker(client_of(self.url))


class ClockedStore(SingleStore):
    """One server whose clock can be set, by libfaketime."""

    def __init__(self) -> None:
        library = faketime_library()
        assert library is not None
        self._directory = Path(tempfile.mkdtemp(prefix="runcast-test-clock-"))
        self._offset = self._directory / "offset"
        self._offset.write_text("+0\n")
        started_by = self._directory / "server"
        # Set for the server alone: what it stands on would not like it.
        started_by.write_text(
            "#!/bin/sh\n"
            f"export LD_PRELOAD={library} FAKETIME_TIMESTAMP_FILE={self._offset}\n"
            "export FAKETIME_NO_CACHE=1 FAKETIME_DONT_FAKE_MONOTONIC=1\n"
            f'exec {binary_of("valkey")} "$@"\n'
        )
        started_by.chmod(0o755)
        super().__init__(append_only=False, binary=str(started_by))

    def set_clock(self, offset_seconds: int) -> None:
        """Sets the server's clock to so many seconds after the true time."""
        self._offset.write_text(f"{offset_seconds:+d}\n")

    def close(self) -> None:
        super().close()
        shutil.rmtree(self._directory)


class SentinelStore(Store):
    """A primary and a replica under three Sentinels; writes are acknowledged before they are
    replicated, as Redis does."""

    def __init__(self) -> None:
        self.deployment = SentinelDeployment(binary_of("valkey"))

    @property
    def url(self) -> str:
        return self.deployment.url

    def start(self) -> None:
        self.deployment.start()

    def close(self) -> None:
        self.deployment.close()

    def worker(self) -> Worker:
        sentinels = [("127.0.0.1", sentinel.port) for sentinel in self.deployment.sentinels]
        # The Sentinels themselves are asked with a client of redis-py's own making.
        asking = Sentinel(  # type: ignore[no-untyped-call]
            sentinels, socket_timeout=_COMMAND_SECONDS, protocol=2
        )
        client: Redis = asking.master_for(
            self.deployment.service,
            decode_responses=True,
            protocol=2,
            retry=Retry(NoBackoff(), 0),
            socket_timeout=_COMMAND_SECONDS,
            socket_connect_timeout=_COMMAND_SECONDS,
        )
        return Worker(client, asked=asking.sentinels)


class ClusterStore(Store):
    """Three primaries with a replica each."""

    def __init__(self) -> None:
        self.deployment = ClusterDeployment(binary_of("valkey"), replicas=1)

    @property
    def url(self) -> str:
        return self.deployment.url

    def start(self) -> None:
        self.deployment.start()

    def close(self) -> None:
        self.deployment.close()

    def worker(self) -> Worker:
        return Worker(*(client_of(shard[0].url) for shard in self.deployment.shards))


def client_of(url: str) -> Redis:
    """A worker's client. Over RESP2: with RESP3, redis-py 8.1 does not see that a pooled connection
    was closed."""
    return Redis.from_url(
        url,
        decode_responses=True,
        protocol=2,
        retry=Retry(NoBackoff(), 0),
        socket_timeout=_COMMAND_SECONDS,
        socket_connect_timeout=_COMMAND_SECONDS,
    )


def faketime_library() -> Path | None:
    """libfaketime, where it is installed (Debian's package is `faketime`)."""
    for directory in _LIBRARIES:
        for name in ("libfaketime.so.1", "libfaketime.1.dylib"):
            found = sorted(Path(directory).glob(f"**/faketime/{name}"))
            if found:
                return found[0]
    return None
