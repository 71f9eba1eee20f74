"""A primary and its replicas, watched by three Sentinels, with intervals that make tests quick."""

from collections.abc import Sequence
from types import TracebackType
from typing import Final, Self
from urllib.parse import quote

import redis

from tests.support.deployments.node import (
    Certificates,
    Node,
    credentials,
    pause_replication,
    quoted,
    replication_settings,
    resume_replication,
    start_all,
)
from tests.support.waiting import eventually_sync

__all__ = ["SentinelDeployment"]

_SENTINELS: Final = 3
_QUORUM: Final = 2
_DOWN_AFTER_MILLISECONDS: Final = 1000
"""Less, and a busy machine looks like a dead server."""
_FAILOVER_TIMEOUT_MILLISECONDS: Final = 3000
_PACE: Final = {
    # Who is there, and in which role. By default seconds, with failovers that take ten.
    "info-period": 200,
    "ping-period": 200,
    "ask-period": 200,
    # A primary of old is demoted after four of these.
    "publish-period": 250,
    "min-link-reconnect-period": 500,
    # A machine that is too busy for it must not make Sentinel sit still for half a minute.
    "tilt-period": 1000,
}
_WITHIN_SECONDS: Final = 20.0


class SentinelDeployment:
    """`start` it, `close` it; or use it as a context manager."""

    service: Final = "runs"

    def __init__(
        self,
        binary: str,
        *,
        replicas: int = 1,
        password: str | None = None,
        sentinel_password: str | None = None,
        users: Sequence[str] = (),
        sentinel_users: Sequence[str] = (),
        sentinels_are: tuple[str, str] | None = None,
        append_only: bool = False,
        certificates: Certificates | None = None,
    ) -> None:
        """
        Args:
            binary: of the server; Sentinel is the same program.
            replicas: how many the primary has.
            password: of the default user of primary and replicas.
            sentinel_password: of the default user of the Sentinels.
            users: ACL users of primary and replicas besides, as in an ACL file:
                ``user edge on >word ~run:* …``.
            sentinel_users: the same of the Sentinels.
            sentinels_are: as whom the Sentinels speak to primary and replicas: one of their users,
                and the password; else the default user.
            append_only: whether they keep what they have over a restart.
            certificates: if given, all speak TLS only. The caller closes them.
        """
        self._password = password
        self._sentinel_password = sentinel_password
        self._sentinel_users = list(sentinel_users)
        self._sentinels_are = sentinels_are or ("", password)
        self._certificates = certificates
        settings = [
            "save ''",
            f"appendonly {'yes' if append_only else 'no'}",
            "appendfsync always",
            "enable-debug-command local",
            "notify-keyspace-events Kt",
            *replication_settings(),
            *users,
        ]
        self.nodes = [
            Node(binary, settings, password=password, certificates=certificates)
            for _ in range(1 + replicas)
        ]
        """All servers; the first one is the primary at first."""
        self._binary = binary
        self.sentinels: list[Node] = []
        """The Sentinels, once started."""

    def start(self) -> None:
        """Starts all and waits until each Sentinel knows everything."""
        start_all(self.nodes)
        for replica in self.nodes[1:]:
            replica.ask("REPLICAOF", *self.nodes[0].address.split(":"))
        self.sentinels = [self._new_sentinel() for _ in range(_SENTINELS)]
        start_all(self.sentinels)
        for sentinel in self.sentinels:
            _hasten(sentinel)
        self.until_settled()

    def close(self) -> None:
        """Ends all and removes their files."""
        for node in (*self.sentinels, *self.nodes):
            node.close()

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    # ---- where it is

    @property
    def url(self) -> str:
        """For an edge: the Sentinels, the service and the database, as the default user."""
        return self.url_as("")

    def url_as(self, user: str, password: str | None = None) -> str:
        """The same as one of the `users`."""
        scheme, query = "redis+sentinel", []
        if self._certificates is not None:
            scheme = "rediss+sentinel"
            query.append(self._certificates.query)
        if self._sentinel_password is not None:
            query.append(f"sentinel_password={quote(self._sentinel_password, safe='')}")
        who = credentials(self._password if password is None else password, user)
        hosts = ",".join(sentinel.address for sentinel in self.sentinels)
        asked = f"?{'&'.join(query)}" if query else ""
        return f"{scheme}://{who}{hosts}/{self.service}/0{asked}"

    @property
    def primary(self) -> Node:
        """Whom the Sentinels name now."""
        named = next(sentinel for sentinel in self.sentinels if sentinel.alive)
        return self._node_at(self._named_by(named))

    @property
    def primary_url(self) -> str:
        """Its URL, for a worker that knows nothing of Sentinel."""
        return self.primary.url

    @property
    def replicas(self) -> list[Node]:
        """The others that run."""
        primary = self.primary
        return [node for node in self.nodes if node is not primary and node.alive]

    # ---- what may happen to it

    def fail_over(self) -> Node:
        """Has the Sentinels make a replica the primary, as an operator would; the new primary.

        The one of old goes on, and takes writes that will be lost, until it is demoted about a
        second later: see `until_settled`.
        """
        before = self.primary
        eventually_sync(self._asked_to_fail_over, within=_WITHIN_SECONDS)
        return self._until_another_than(before)

    def kill_primary(self) -> Node:
        """Kills it and waits until the Sentinels name another; that one."""
        before = self.primary
        before.kill()
        return self._until_another_than(before)

    def pause_primary(self) -> Node:
        """Stops it in its tracks and waits until the Sentinels name another; the paused one.

        Its clients' connections stay open.
        """
        before = self.primary
        before.pause()
        self._until_another_than(before)
        return before

    def resume(self, node: Node, *, settled: bool = True) -> None:
        """Lets a paused server go on, and waits until it is a replica.

        Args:
            node: the paused one.
            settled: whether to wait. If not, it still takes itself for the primary.
        """
        node.resume()
        if settled:
            self.until_settled()

    def restart_dead(self) -> None:
        """Starts all that were killed, with what they kept, and waits until they replicate."""
        dead = [node for node in (*self.nodes, *self.sentinels) if not node.alive]
        start_all(dead)
        for node in dead:
            if node in self.sentinels:
                _hasten(node)
        self.until_settled()

    def pause_replication(self) -> None:
        """From now on nothing reaches the replicas, though the primary acknowledges as before.

        What is written then is lost in the next failover.
        """
        pause_replication(self.primary)

    def resume_replication(self) -> None:
        """Undoes `pause_replication`, on whoever is the primary, and waits until all is well."""
        resume_replication(self.primary)
        self.until_settled()

    def until_settled(self) -> None:
        """Waits until every server that runs replicates from the one primary, and the Sentinels
        that run know it."""
        eventually_sync(self._settled, within=_WITHIN_SECONDS)

    # ---- inside

    def _new_sentinel(self) -> Node:
        name = self.service
        settings = [
            f"sentinel monitor {name} {self.nodes[0].address.replace(':', ' ')} {_QUORUM}",
            f"sentinel down-after-milliseconds {name} {_DOWN_AFTER_MILLISECONDS}",
            f"sentinel failover-timeout {name} {_FAILOVER_TIMEOUT_MILLISECONDS}",
            f"sentinel parallel-syncs {name} {len(self.nodes)}",
        ]
        user, password = self._sentinels_are
        if user:
            settings.append(f"sentinel auth-user {name} {user}")
        if password is not None:
            settings.append(f"sentinel auth-pass {name} {quoted(password)}")
        if self._sentinel_password is not None:
            settings.append(f"sentinel sentinel-pass {quoted(self._sentinel_password)}")
        return Node(
            self._binary,
            [*settings, *self._sentinel_users],
            password=self._sentinel_password,
            certificates=self._certificates,
            sentinel=True,
        )

    def _named_by(self, sentinel: Node) -> str:
        answer = sentinel.told("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self.service)
        return ":".join(answer) if answer else ""

    def _node_at(self, address: str) -> Node:
        return next(node for node in self.nodes if node.address == address)

    def _asked_to_fail_over(self) -> bool:
        sentinel = next(sentinel for sentinel in self.sentinels if sentinel.alive)
        try:
            sentinel.ask("SENTINEL", "FAILOVER", self.service)
        except redis.ResponseError as error:
            # No replica that is good enough yet, or the last failover is not quite over.
            if str(error).startswith(("NOGOODSLAVE", "INPROG")):
                return False
            raise
        return True

    def _until_another_than(self, before: Node) -> Node:
        def another() -> Node | None:
            named = {self._named_by(one) for one in self.sentinels if one.alive}
            if len(named) != 1 or named <= {before.address, ""}:
                return None
            node = self._node_at(named.pop())
            return node if node.info("replication").get("role") == "master" else None

        node = eventually_sync(another, within=_WITHIN_SECONDS)
        assert node is not None
        return node

    def _settled(self) -> bool:
        sentinels = [sentinel for sentinel in self.sentinels if sentinel.alive]
        named = {self._named_by(sentinel) for sentinel in sentinels}
        if len(named) != 1 or "" in named:
            return False
        primary = self._node_at(named.pop())
        replicas = [node for node in self.nodes if node is not primary and node.alive]
        if primary.info("replication").get("role") != "master":
            return False
        return all(node.replicates(primary) for node in replicas) and all(
            self._knows(sentinel, len(sentinels) - 1, replicas) for sentinel in sentinels
        )

    def _knows(self, sentinel: Node, others: int, replicas: Sequence[Node]) -> bool:
        """Whether a Sentinel knows the others, and these replicas for good ones."""
        of_primary = _pairs(sentinel.told("SENTINEL", "MASTER", self.service))
        answer = sentinel.told("SENTINEL", "REPLICAS", self.service) or []
        good = {
            fields["port"]
            for fields in map(_pairs, answer)
            if fields["flags"] == "slave" and fields["master-link-status"] == "ok"
        }
        return (
            of_primary.get("flags") == "master"
            and int(of_primary["num-other-sentinels"]) >= others
            and sentinel.told("SENTINEL", "CKQUORUM", self.service) is not None
            and {str(node.port) for node in replicas} <= good
        )


def _hasten(sentinel: Node) -> None:
    words = [str(word) for pair in _PACE.items() for word in pair]
    sentinel.ask("SENTINEL", "DEBUG", *words)


def _pairs(flat: Sequence[str] | None) -> dict[str, str]:
    items = iter(flat or ())
    return dict(zip(items, items, strict=True))
