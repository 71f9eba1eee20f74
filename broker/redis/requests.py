"""Requests for new runs: a stream from which workers read with a consumer group."""

import hashlib
from typing import Any, Final, NamedTuple
from uuid import uuid4

from broker.redis.appending import Appender, NewEvent, OtherOwner
from broker.redis.deployment import Deployment
from broker.redis.meta import ANNOUNCER, beside
from broker.redis.persistence import RETRY_SECONDS, insist
from broker.redis.scripts import REQUEST, RESERVE, Script
from broker.wire.ids import RunId

__all__ = ["QUEUED", "Created", "KeyReused", "Requests", "RunTaken"]

QUEUED: Final = NewEvent("queued", "{}")
KEY_SECONDS: Final = 24 * 3600
"""How long an idempotency key is kept."""
MOST_REQUESTS: Final = 100_000
"""In the stream, about; the oldest go, whether a worker has read them or not."""


class Created(NamedTuple):
    """What became of a request."""

    run_id: RunId
    repeated: bool
    """Whether the same request had been made before, and the run is that one's."""


class KeyReused(Exception):
    """The idempotency key was used for another request."""


class RunTaken(KeyReused):
    """The run id was."""


class Requests:
    """Asks for runs, each once."""

    def __init__(
        self,
        deployment: Deployment,
        appender: Appender,
        *,
        requests_key: str = "runs:requests",
        queued_timeout_seconds: float | None = None,
        most_requests: int = MOST_REQUESTS,
        retry_seconds: float = RETRY_SECONDS,
    ) -> None:
        """
        Args:
            deployment: where the stream is.
            appender: says in the run that it is queued.
            requests_key: the stream.
            queued_timeout_seconds: after so long without a worker the run is lost, with the reason
                ``no_worker``; `None`: it waits for ever.
            most_requests: that the stream keeps, about.
            retry_seconds: for how long each step is tried again.
        """
        self._deployment = deployment
        self._appender = appender
        self._key = requests_key
        self._queued_timeout = queued_timeout_seconds
        self._most = most_requests
        self._retry_seconds = retry_seconds

    async def create(
        self,
        run_id: RunId | None,
        *,
        profile: str,
        agent: str,
        input: str,
        idempotency_key: str | None = None,
        owner: str | None = None,
        queued: NewEvent | None = QUEUED,
        status: str | None = "queued",
        dense: bool = False,
    ) -> Created:
        """Asks for a run: says in it that it is queued, then appends the request.

        In this order, so that nothing of the worker's comes before; if only the first has happened,
        the same call again does the rest. It is the same by `idempotency_key` and by `run_id`;
        without either each call is a new run.

        Args:
            run_id: its id; `None` has one made.
            profile: the profile that it was asked for in.
            agent: who is to do it; may be empty.
            input: JSON text, for the worker.
            idempotency_key: names the request, for a day. Whoever serves several users puts the
                user into it.
            owner: the subject whose run it is going to be; `None` for nobody's.
            queued: the event; `None` for none.
            status: the run's, for viewers.
            dense: whether the event's id is to be dense; see `Appender.append`.

        Raises:
            KeyReused: there was another request by this key, or, as `RunTaken`, for this run; or
                the run is there, and somebody else's.
            RunEnded: a run with this id has ended.
            AppendError: see there.
        """
        digest = _digest(run_id, profile, agent, input, owner)
        chosen = run_id or RunId(uuid4().hex)
        if idempotency_key is not None:
            key = self._key_of(idempotency_key)
            chosen, done = await self._reserve(key, digest, chosen, KeyReused)
        if idempotency_key is None or run_id is not None:
            # A run that is given its id may have been asked for by another key.
            key = self._run_key(chosen)
            chosen, done = await self._reserve(key, digest, chosen, RunTaken)
        if done:
            return Created(chosen, repeated=True)
        try:
            await self._announce(chosen, queued, status, dense, owner)
        except OtherOwner:
            raise RunTaken("the run is somebody else's") from None
        fields = ["run_id", chosen, "profile", profile, "agent", agent, "input", input]
        if owner is not None:
            fields += ("owner", owner)
        await self._insist(REQUEST, (self._key, key), self._most, KEY_SECONDS, *fields)
        return Created(chosen, repeated=False)

    async def _announce(
        self,
        run_id: RunId,
        queued: NewEvent | None,
        status: str | None,
        dense: bool,
        owner: str | None,
    ) -> None:
        if queued is None:
            await self._appender.touch(
                run_id,
                lease_seconds=self._queued_timeout,
                lost="no_worker",
                status=status,
                owner=owner,
            )
        else:
            await self._appender.append(
                run_id,
                [queued],
                producer=ANNOUNCER,
                sequence=1,
                dense=dense,
                lease_seconds=self._queued_timeout,
                lost="no_worker",
                status=status,
                owner=owner,
            )

    async def _reserve(
        self, key: str, digest: str, run_id: RunId, taken: type[KeyReused]
    ) -> tuple[RunId, bool]:
        """Which run has the key, and whether its request is in the stream.

        Raises:
            KeyReused: `taken`, where it has the key for another request.
        """
        answer = await self._insist(RESERVE, (key,), digest, run_id, KEY_SECONDS)
        if answer[0] != b"taken":
            raise taken("there was another request")
        return RunId(answer[1].decode()), answer[2] == b"1"

    def _key_of(self, idempotency_key: str) -> str:
        # Of any length and any characters, and nobody's business.
        return beside(self._key, f"key:{hashlib.sha256(idempotency_key.encode()).hexdigest()}")

    def _run_key(self, run_id: RunId) -> str:
        return beside(self._key, f"run:{run_id}")

    async def _insist(self, script: Script, keys: tuple[str, ...], *arguments: str | int) -> Any:
        return await insist(
            lambda: script.run(self._deployment, keys, *arguments),
            retry_seconds=self._retry_seconds,
        )


def _digest(run_id: RunId | None, profile: str, agent: str, input: str, owner: str | None) -> str:
    """What tells requests apart. Ids and JSON have no NUL; an owner may, and is hashed first."""
    parts = [run_id or "", profile, agent, input]
    if owner is not None:
        parts.append(hashlib.sha256(owner.encode()).hexdigest())
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()
