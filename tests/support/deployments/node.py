"""One server process of a deployment: a Redis, a node of a cluster or a Sentinel."""

import json
import random
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import quote

import redis
import trustme
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.support.waiting import eventually_sync

__all__ = [
    "HOST",
    "REPLICATION_RULES",
    "Certificates",
    "Node",
    "TlsRedis",
    "credentials",
    "pause_replication",
    "quoted",
    "replication_settings",
    "resume_replication",
    "start_all",
]

HOST: Final = "127.0.0.1"
REPLICATION_RULES: Final = ("+ping", "+psync", "+replconf")
"""What replicas are permitted at their primary."""
_REPLICATION_USER: Final = "replica"
_PORTS: Final = range(12_000, 32_000)
"""Below those that the kernel gives to outgoing connections, so that the port of a node that is
down stays free for its return."""
_ATTEMPTS: Final = 5
_ANSWER_SECONDS: Final = 5.0


class Certificates:
    """A certificate authority of its own, and one certificate for all nodes."""

    def __init__(self) -> None:
        self._directory = Path(tempfile.mkdtemp(prefix="runcast-test-tls-"))
        authority = trustme.CA()
        issued = authority.issue_cert(HOST, "localhost")
        authority.cert_pem.write_to_path(str(self.authority))
        issued.private_key_pem.write_to_path(str(self._directory / "key.pem"))
        issued.cert_chain_pems[0].write_to_path(str(self._directory / "cert.pem"))

    @property
    def authority(self) -> Path:
        """The authority's certificate, to check the nodes' by."""
        return self._directory / "ca.pem"

    @property
    def query(self) -> str:
        """What a URL has to say to trust them."""
        return f"ssl_ca_certs={self.authority}"

    def settings(self) -> list[str]:
        """A node's settings, but for the port."""
        return [
            f"tls-cert-file {self._directory / 'cert.pem'}",
            f"tls-key-file {self._directory / 'key.pem'}",
            f"tls-ca-cert-file {self.authority}",
            "tls-auth-clients no",
            "tls-replication yes",
        ]

    def close(self) -> None:
        """Removes the files."""
        shutil.rmtree(self._directory)


class Node:
    """A server process with a port, a directory and a configuration file of its own, all of which
    it keeps over restarts."""

    def __init__(
        self,
        binary: str,
        settings: Iterable[str] = (),
        *,
        password: str | None = None,
        certificates: Certificates | None = None,
        sentinel: bool = False,
        in_cluster: bool = False,
    ) -> None:
        """
        Args:
            binary: the server's.
            settings: lines of its configuration file, besides ports and directory.
            password: of its default user, which is the one that tests ask as.
            certificates: if given, it speaks TLS and nothing else.
            sentinel: whether it is a Sentinel.
            in_cluster: whether it is a node of a cluster, which has a second port.
        """
        self._binary = binary
        self._settings = list(settings)
        self._password = password
        self._certificates = certificates
        self._sentinel = sentinel
        self._in_cluster = in_cluster
        self._directory = Path(tempfile.mkdtemp(prefix="runcast-test-node-"))
        self._process: subprocess.Popen[bytes] | None = None
        self._started_before = False
        self._paused = False
        self._choose_ports()

    def _choose_ports(self) -> None:
        self.port, self.bus_port = _free_ports(2)
        self._client = redis.Redis(
            host=HOST,
            port=self.port,
            password=self._password,
            ssl=self._certificates is not None,
            ssl_ca_certs=None if self._certificates is None else str(self._certificates.authority),
            socket_timeout=_ANSWER_SECONDS,
            protocol=2,
            decode_responses=True,
            # SENTINEL FAILOVER and the like must not be sent twice.
            retry=Retry(NoBackoff(), 0),
        )
        # Answers are wanted as they are.
        self._client.response_callbacks.clear()

    def __repr__(self) -> str:
        return f"<Node {self.address}>"

    @property
    def address(self) -> str:
        """``host:port``."""
        return f"{HOST}:{self.port}"

    @property
    def url(self) -> str:
        """Of this node alone, as the default user."""
        scheme, query = "redis", ""
        if self._certificates is not None:
            scheme, query = "rediss", f"?{self._certificates.query}"
        return f"{scheme}://{credentials(self._password)}{self.address}/0{query}"

    @property
    def alive(self) -> bool:
        """Whether its process is there and not paused."""
        return self._process is not None and self._process.poll() is None and not self._paused

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self._process is not None
        return self._process.pid

    def launch(self) -> None:
        """Starts it, without waiting until it answers."""
        path = self._directory / "server.conf"
        if not self._started_before:
            # Later it is the server's own: Sentinels and failovers write into it.
            path.write_text("\n".join(self._configuration()) + "\n")
        self._process = subprocess.Popen(
            [self._binary, str(path), *(["--sentinel"] if self._sentinel else [])],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def until_up(self) -> None:
        """Waits until it answers."""
        for attempt in range(_ATTEMPTS):
            eventually_sync(lambda: self._ended or self._is_up())
            if not self._ended:
                self._started_before = True
                return
            # Someone may have taken a port since it was found free. Once others know it, it must
            # stay the same.
            assert not self._started_before and attempt < _ATTEMPTS - 1, self.log()  # noqa: PT018
            self._client.close()
            self._choose_ports()
            self.launch()

    def start(self) -> None:
        """Starts it and waits until it answers."""
        self.launch()
        self.until_up()

    def ask(self, *words: Any) -> Any:
        """A command's answer, as RESP2 has it, decoded.

        Raises:
            redis.RedisError: it says no, or does not answer.
        """
        return self._client.execute_command(*words)  # type: ignore[no-untyped-call]

    def told(self, *words: Any) -> Any:
        """As `ask`, but `None` where there is no answer: for conditions that are waited for."""
        try:
            return self.ask(*words)
        except redis.RedisError:
            return None

    def info(self, section: str) -> dict[str, str]:
        """The fields of a section of INFO; none where there is no answer."""
        lines = str(self.told("INFO", section) or "").splitlines()
        return {
            name: value for name, colon, value in (line.partition(":") for line in lines) if colon
        }

    def refused(self) -> set[tuple[str, str]]:
        """Who was not permitted what, from ACL LOG: the user, and the command, key or channel."""
        entries = [
            dict(zip(entry[::2], entry[1::2], strict=True)) for entry in self.ask("ACL", "LOG")
        ]
        return {(entry["username"], entry["object"].lower()) for entry in entries}

    def used(self) -> set[str]:
        """The commands that were executed since CONFIG RESETSTAT, such as ``client|id``."""
        lines = str(self.ask("INFO", "commandstats")).splitlines()
        found = (line.removeprefix("cmdstat_").partition(":") for line in lines)
        return {name for name, _, counts in found if counts and not counts.startswith("calls=0,")}

    def replicates(self, primary: "Node") -> bool:
        """Whether it is that one's replica, and gets what is written there."""
        here, there = self.info("replication"), primary.info("replication")
        return (
            here.get("role") == "slave"
            and here.get("master_port") == str(primary.port)
            and here.get("master_link_status") == "up"
            and any(
                name.startswith("slave") and f"port={self.port},state=online," in text
                for name, text in there.items()
            )
        )

    def kill(self) -> None:
        """Ends it without a chance to save anything."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._process = None
        self._paused = False

    def pause(self) -> None:
        """Stops it in its tracks; its connections stay open and get no answer."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        self._paused = True

    def resume(self) -> None:
        """Lets it go on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)
        self._paused = False

    def log(self) -> str:
        """What it wrote, since it was first started."""
        path = self._directory / "log"
        return path.read_text() if path.exists() else ""

    def close(self) -> None:
        """Ends it and removes its files."""
        self.kill()
        self._client.close()
        shutil.rmtree(self._directory, ignore_errors=True)

    @property
    def _ended(self) -> bool:
        return self._process is None or self._process.poll() is not None

    def _is_up(self) -> bool:
        # Not somebody else's, on the same port.
        return self.info("server").get("process_id") == str(self.pid)

    def _configuration(self) -> list[str]:
        lines = [
            f"bind {HOST}",
            f"dir {self._directory}",
            f"logfile {self._directory / 'log'}",
        ]
        if self._certificates is None:
            lines.append(f"port {self.port}")
        else:
            lines += ["port 0", f"tls-port {self.port}", *self._certificates.settings()]
        if self._in_cluster:
            lines += [f"cluster-port {self.bus_port}"]
            lines += ["tls-cluster yes"] if self._certificates is not None else []
        if self._password is not None:
            lines.append(f"requirepass {quoted(self._password)}")
        return lines + self._settings


class TlsRedis:
    """A single server that speaks TLS only. The embedded Valkey is built without TLS."""

    def __init__(self, binary: str) -> None:
        self._certificates = Certificates()
        self.node = Node(
            binary, ["save ''", "notify-keyspace-events Kt"], certificates=self._certificates
        )

    @property
    def url(self) -> str:
        """With the authority to check its certificate by."""
        return self.node.url

    @property
    def untrusting_url(self) -> str:
        """Without."""
        return self.url.partition("?")[0]

    def start(self) -> None:
        """Starts it and waits until it answers."""
        self.node.start()

    def close(self) -> None:
        """Ends it and removes its files."""
        self.node.close()
        self._certificates.close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def credentials(password: str | None, user: str = "") -> str:
    """What a URL has before the host."""
    return "" if password is None else f"{quote(user, safe='')}:{quote(password, safe='')}@"


def replication_settings() -> list[str]:
    """Has replicas use a user of their own, so that replication can be stopped and nothing else."""
    name, rules = _REPLICATION_USER, " ".join(REPLICATION_RULES)
    return [
        f"user {name} on >{name} {rules}",
        f"masteruser {name}",
        f"masterauth {name}",
        # Else a replica that has just synchronized gets nothing more for up to a second.
        "repl-diskless-sync no",
        "repl-ping-replica-period 1",
    ]


def pause_replication(primary: Node) -> None:
    """From now on nothing reaches its replicas, though it acknowledges as before."""
    primary.ask("ACL", "SETUSER", _REPLICATION_USER, "off")
    primary.ask("CLIENT", "KILL", "TYPE", "replica")
    eventually_sync(lambda: primary.info("replication").get("connected_slaves") == "0")


def resume_replication(primary: Node) -> None:
    """Undoes it."""
    primary.ask("ACL", "SETUSER", _REPLICATION_USER, "on")


def quoted(text: str) -> str:
    """A word of a configuration file."""
    return json.dumps(text)


def start_all(nodes: Sequence[Node]) -> None:
    """Starts them side by side, and waits until all answer."""
    for node in nodes:
        node.launch()
    for node in nodes:
        node.until_up()


def _free_ports(count: int) -> list[int]:
    ports: list[int] = []
    while len(ports) < count:
        port = random.choice(_PORTS)
        with socket.socket() as probe:
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
        ports.append(port)
    return ports
