"""Primaries that share the slots of a cluster, each with replicas or without."""

from collections.abc import Sequence
from types import TracebackType
from typing import Any, Final, Self

from redis.crc import REDIS_CLUSTER_HASH_SLOTS, key_slot

from tests.support.deployments.node import (
    HOST,
    Certificates,
    Node,
    credentials,
    pause_replication,
    replication_settings,
    start_all,
)
from tests.support.waiting import eventually_sync

__all__ = ["ClusterDeployment", "SlotMove"]

_NODE_TIMEOUT_MILLISECONDS: Final = 1000
"""Less, and a busy machine looks like a dead node."""
_KEYS_AT_ONCE: Final = 100
_MIGRATE_MILLISECONDS: Final = 5000
_WITHIN_SECONDS: Final = 20.0


class ClusterDeployment:
    """`start` it, `close` it; or use it as a context manager.

    A shard is a primary and its replicas, whoever of them is the primary now; shards are counted
    from 0.
    """

    def __init__(
        self,
        binary: str,
        *,
        primaries: int = 3,
        replicas: int = 0,
        password: str | None = None,
        users: Sequence[str] = (),
        append_only: bool = False,
        certificates: Certificates | None = None,
    ) -> None:
        """
        Args:
            binary: of the server.
            primaries: how many shards there are; fewer than three can't agree on a failure.
            replicas: how many each primary has.
            password: of the default user.
            users: ACL users besides, as in an ACL file: ``user edge on >word ~run:* …``.
            append_only: whether nodes keep what they have over a restart.
            certificates: if given, all speak TLS only. The caller closes them.
        """
        self._password = password
        self._certificates = certificates
        settings = [
            "save ''",
            f"appendonly {'yes' if append_only else 'no'}",
            "appendfsync always",
            "enable-debug-command local",
            "notify-keyspace-events Kt",
            "cluster-enabled yes",
            f"cluster-node-timeout {_NODE_TIMEOUT_MILLISECONDS}",
            # A replica may take over however old its data is, and stays with its shard.
            "cluster-replica-validity-factor 0",
            "cluster-allow-replica-migration no",
            *replication_settings(),
            *users,
        ]
        self.shards = [
            [
                Node(
                    binary, settings, password=password, certificates=certificates, in_cluster=True
                )
                for _ in range(1 + replicas)
            ]
            for _ in range(primaries)
        ]
        """The nodes of each shard; the first one is its primary at first."""

    def start(self) -> None:
        """Starts all, forms the cluster and waits until every node knows everything."""
        nodes = self.nodes
        start_all(nodes)
        for epoch, node in enumerate(nodes, 1):
            # Each its own from the start, else they have to sort them out first.
            node.ask("CLUSTER", "SET-CONFIG-EPOCH", epoch)
        for index, shard in enumerate(self.shards):
            first = REDIS_CLUSTER_HASH_SLOTS * index // len(self.shards)
            last = REDIS_CLUSTER_HASH_SLOTS * (index + 1) // len(self.shards) - 1
            shard[0].ask("CLUSTER", "ADDSLOTSRANGE", first, last)
        for node in nodes:
            for other in nodes:
                if other is not node:
                    node.ask("CLUSTER", "MEET", HOST, other.port, other.bus_port)
        eventually_sync(lambda: all(map(self._has_met_all, nodes)), within=_WITHIN_SECONDS)
        for shard in self.shards:
            for replica in shard[1:]:
                replica.ask("CLUSTER", "REPLICATE", _id(shard[0]))
        self.until_settled()

    def close(self) -> None:
        """Ends all and removes their files."""
        for node in self.nodes:
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
    def nodes(self) -> list[Node]:
        """All of them."""
        return [node for shard in self.shards for node in shard]

    @property
    def url(self) -> str:
        """For an edge: the first node of each shard, as the default user."""
        return self.url_as("")

    def url_as(self, user: str, password: str | None = None) -> str:
        """The same as one of the `users`."""
        scheme, query = "redis+cluster", ""
        if self._certificates is not None:
            scheme, query = "rediss+cluster", f"?{self._certificates.query}"
        who = credentials(self._password if password is None else password, user)
        return f"{scheme}://{who}{','.join(shard[0].address for shard in self.shards)}{query}"

    def primary(self, index: int) -> Node:
        """A shard's primary, as its own nodes see it."""
        return next(
            node
            for node in self.shards[index]
            if node.alive and node.info("replication").get("role") == "master"
        )

    def shard_of(self, key: str) -> int:
        """Which shard serves a key."""
        owner = self.node_of(key)
        return next(index for index, shard in enumerate(self.shards) if owner in shard)

    def node_of(self, key: str) -> Node:
        """The primary that serves a key."""
        return self._owner(self.slot_of(key))

    def slot_of(self, key: str) -> int:
        """A key's slot."""
        slot: int = key_slot(key.encode())
        return slot

    # ---- what may happen to it

    def move_slot(self, slot: int, target: int) -> None:
        """Moves a slot with its keys to the shard `target`."""
        self.begin_move(slot, target).finish()

    def begin_move(self, slot: int, target: int) -> "SlotMove":
        """The same half-way: the slot is migrating, its keys are where they were."""
        return SlotMove(self, slot, self._owner(slot), self.primary(target), self._password)

    def kill_primary(self, index: int) -> Node:
        """Kills a shard's primary and waits until a replica has taken over; that one."""
        before = self.primary(index)
        before.kill()
        return self._until_another_than(before, index)

    def pause_primary(self, index: int) -> Node:
        """Stops a shard's primary in its tracks and waits until a replica has taken over; the
        paused one. Its clients' connections stay open."""
        before = self.primary(index)
        before.pause()
        self._until_another_than(before, index)
        return before

    def resume(self, node: Node) -> None:
        """Lets a paused node go on, and waits until it is a replica."""
        node.resume()
        self.until_settled()

    def fail_over(self, index: int) -> Node:
        """Has a replica take over without a loss, as an operator would; the new primary."""
        before = self.primary(index)
        replica = next(node for node in self.shards[index] if node is not before and node.alive)
        replica.ask("CLUSTER", "FAILOVER")
        after = self._until_another_than(before, index)
        self.until_settled()
        return after

    def stop(self, index: int) -> None:
        """Kills all nodes of a shard and waits until the others refuse everything (CLUSTERDOWN)."""
        for node in self.shards[index]:
            node.kill()
        eventually_sync(
            lambda: all(_state(node) == "fail" for node in self._alive()), within=_WITHIN_SECONDS
        )

    def restart(self, index: int) -> None:
        """Starts what was killed of a shard, with what it kept, and waits until all is well."""
        start_all([node for node in self.shards[index] if not node.alive])
        self.until_settled()

    def pause_replication(self, index: int) -> None:
        """From now on nothing reaches a shard's replicas, though its primary acknowledges as
        before. What is written then is lost when one of them takes over."""
        pause_replication(self.primary(index))

    def until_settled(self) -> None:
        """Waits until every node that runs knows who serves which slot, and that all is well."""
        eventually_sync(self._settled, within=_WITHIN_SECONDS)

    # ---- inside

    def _alive(self) -> list[Node]:
        return [node for node in self.nodes if node.alive]

    def _has_met_all(self, node: Node) -> bool:
        lines = str(node.told("CLUSTER", "NODES") or "").splitlines()
        joined = [line for line in lines if "handshake" not in line and "connected" in line]
        return len(joined) == len(lines) == len(self.nodes)

    def _owner(self, slot: int) -> Node:
        for first, last, owner, *_ in self._alive()[0].ask("CLUSTER", "SLOTS"):
            if first <= slot <= last:
                return next(node for node in self.nodes if node.port == owner[1])
        raise AssertionError(f"nobody serves slot {slot}")

    def _until_another_than(self, before: Node, index: int) -> Node:
        others = [node for node in self.shards[index] if node is not before]

        def another() -> Node | None:
            for node in others:
                if node.alive and all(
                    _state(one) == "ok" and node.port in _owners(one) for one in self._alive()
                ):
                    return node
            return None

        after = eventually_sync(another, within=_WITHIN_SECONDS)
        assert after is not None
        return after

    def _settled(self) -> bool:
        nodes = self._alive()
        views = [_view(node) for node in nodes]
        if not views[0] or any(view != views[0] for view in views):
            return False
        node_at = {node.port: node for node in self.nodes}
        shards = {owners for _, _, owners in views[0]}
        return (
            sorted(port for shard in shards for port in shard) == sorted(one.port for one in nodes)
            and all(_state(node) == "ok" for node in nodes)
            and all(
                node_at[replica].replicates(node_at[primary])
                for primary, *replicas in shards
                for replica in replicas
            )
        )


class SlotMove:
    """A slot on its way from one primary to another, by the protocol that every tool uses."""

    def __init__(
        self,
        cluster: ClusterDeployment,
        slot: int,
        source: Node,
        target: Node,
        password: str | None,
    ) -> None:
        """Begins it. From now on a client that asks for a key of the slot that is not at the source
        (any more) is sent to the target for that one time (ASK)."""
        assert source is not target
        self.slot = slot
        self.source = source
        self.target = target
        self._cluster = cluster
        self._password = password
        target.ask("CLUSTER", "SETSLOT", slot, "IMPORTING", _id(source))
        source.ask("CLUSTER", "SETSLOT", slot, "MIGRATING", _id(target))

    def move_keys(self) -> int:
        """Moves the keys that the source has now, and the slot not yet; how many there were."""
        moved = 0
        while keys := self.source.ask("CLUSTER", "GETKEYSINSLOT", self.slot, _KEYS_AT_ONCE):
            self.source.ask(
                *("MIGRATE", HOST, self.target.port, "", 0, _MIGRATE_MILLISECONDS),
                *(() if self._password is None else ("AUTH", self._password)),
                *("KEYS", *keys),
            )
            moved += len(keys)
        return moved

    def finish(self) -> None:
        """Moves what is left, gives the slot to the target, and waits until all nodes know."""
        self.move_keys()
        # The target first: were it the last, the slot could be nobody's.
        others = [
            self._cluster.primary(index)
            for index, shard in enumerate(self._cluster.shards)
            if self.source not in shard and self.target not in shard
        ]
        for node in (self.target, self.source, *others):
            node.ask("CLUSTER", "SETSLOT", self.slot, "NODE", _id(self.target))
        self._cluster.until_settled()


def _id(node: Node) -> str:
    return str(node.ask("CLUSTER", "MYID"))


def _state(node: Node) -> str:
    """What it thinks of the cluster: ok or fail; empty where it does not answer."""
    lines = str(node.told("CLUSTER", "INFO") or "").splitlines()
    return next((line.partition(":")[2] for line in lines if line.startswith("cluster_state:")), "")


def _view(node: Node) -> list[tuple[int, int, tuple[int, ...]]]:
    """Who serves what, as a node sees it: ranges of slots with the ports of primary and replicas,
    these in order. Replicas that are down are not there."""
    answer: list[Any] = node.told("CLUSTER", "SLOTS") or []
    return sorted(
        (first, last, (owner[1], *sorted(replica[1] for replica in replicas)))
        for first, last, owner, *replicas in answer
    )


def _owners(node: Node) -> set[int]:
    """The ports of the primaries that have slots, as a node sees it."""
    return {owners[0] for _, _, owners in _view(node)}
