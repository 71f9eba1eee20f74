"""`POST /v1/runs`: asks for a run; and the same for the routes of profiles."""

import json

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from broker.edge.auth.permit import Permit
from broker.edge.auth.rights import Action
from broker.edge.publishing.body import RequestBody
from broker.edge.publishing.documents import NewRun, parse_new_run
from broker.edge.publishing.intake import (
    JSON,
    Intake,
    IntakeEndpoint,
    json_response,
    media_type,
    refusal,
    run_over,
)
from broker.edge.publishing.origin import IDEMPOTENCY_KEY, idempotency_key
from broker.redis.appending import NewEvent, RunEnded
from broker.redis.persistence import AppendError
from broker.redis.requests import QUEUED, KeyReused, Requests, RunTaken
from broker.wire.ids import RunId
from broker.wire.problem import Forbidden, IdempotencyKeyReused, RunExists, RunNotFound

__all__ = ["CreateEndpoint", "RunCreator", "run_document"]

_NOT_SAID = (
    "Redis did not say that it has the request: send it again with the same Idempotency-Key, or "
    "the same run_id, and it is made once."
)


class RunCreator:
    """Asks for runs in the name of a profile. For endpoints that have read what is asked for."""

    def __init__(
        self,
        requests: Requests,
        intake: Intake,
        profile: str,
        *,
        queued: NewEvent | None = QUEUED,
        dense: bool = False,
    ) -> None:
        """
        Args:
            requests: where runs are asked for.
            intake: the bounds, and what is counted.
            profile: its name.
            queued: the event that a run begins with; `None` for none.
            dense: whether the profile's runs have dense ids.
        """
        self._requests = requests
        self._intake = intake
        self._profile = profile
        self._queued = queued
        self._dense = dense

    async def create(self, new: NewRun, headers: Headers, permit: Permit) -> RunId:
        """Asks for the run, once for each `Idempotency-Key` of these headers, and for each run id.

        Args:
            new: what is asked for.
            headers: the request's.
            permit: of who asks, to whom the run is going to belong.

        Raises:
            Problem: it was not asked for, or nobody knows.
        """
        key = idempotency_key(headers.getlist(IDEMPOTENCY_KEY))
        await _check_id(permit, new.run_id)
        owner = _owner(permit, new.owner)
        self._intake.check_rate(None)
        self._intake.rates.take(None, 1)
        try:
            created = await self._requests.create(
                new.run_id,
                profile=self._profile,
                agent=new.agent,
                input=new.input,
                idempotency_key=None if key is None else self._key(key, permit.subject),
                owner=owner,
                queued=self._queued,
                dense=self._dense,
            )
        except RunTaken:
            raise RunExists(new.run_id or "") from None
        except KeyReused:
            raise IdempotencyKeyReused from None
        except RunEnded as error:
            raise run_over(error, new.run_id) from None
        except AppendError as error:
            raise refusal(error, new.run_id, _NOT_SAID) from error
        if not created.repeated:
            self._intake.stats.runs += 1
        return created.run_id

    def _key(self, key: str, subject: str | None) -> str:
        """The key as one of this profile, and of who asks: another's is another key."""
        if subject is None:
            return f"{self._profile} {key}"
        # As JSON, in which no two lists are written alike, and which no profile's name begins like.
        return json.dumps([self._profile, subject, key])


class CreateEndpoint(IntakeEndpoint):
    """Takes requests for runs."""

    def __init__(self, creator: RunCreator, intake: Intake) -> None:
        super().__init__(intake)
        self._creator = creator

    async def __call__(self, permit: Permit, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request."""

        async def create(headers: Headers, body: RequestBody) -> Response:
            media_type(headers, JSON)
            idempotency_key(headers.getlist(IDEMPOTENCY_KEY))
            self._intake.check_rate(None)
            new = parse_new_run(await self._intake.whole(body))
            document = run_document(scope, await self._creator.create(new, headers, permit))
            return json_response(document, 201, location=document["events_url"])

        await self._intake.serve(scope, receive, send, create)


def _owner(permit: Permit, named: str | None) -> str | None:
    """The subject whose run it is going to be.

    Raises:
        Forbidden: it is not theirs to name another one.
    """
    if named is None or named == permit.subject:
        return permit.subject
    if permit.owned:
        raise Forbidden("You may ask for runs of your own, not for others: leave owner out.")
    return named


async def _check_id(permit: Permit, run_id: RunId | None) -> None:
    """Returns if the run may have this id, or one that is made for it.

    Raises:
        Problem: it may not, or it can't be found out.
    """
    if run_id is None:
        if permit.to_name:
            raise Forbidden("You may ask for runs with some ids only: give a run_id that is one.")
        return
    try:
        await permit.also(Action.COMMAND, run_id)
    except (Forbidden, RunNotFound):
        # The same whether there is such a run or not.
        hint = "give another run_id" if permit.to_name else "leave run_id out"
        raise Forbidden(f"You may ask for runs, but not choose this id: {hint}.") from None


def run_document(scope: Scope, run_id: RunId) -> dict[str, str]:
    """The answer: the run, and where it is watched and talked to, on this same host."""
    base = f"{scope.get('root_path', '')}/v1/runs/{run_id}"
    return {
        "run_id": run_id,
        "events_url": f"{base}/events",
        "commands_url": f"{base}/commands",
    }
