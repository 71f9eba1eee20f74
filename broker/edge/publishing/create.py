"""`POST /v1/runs`: asks for a run; and the same for the routes of profiles."""

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
        self._intake.check_rate(None)
        self._intake.rates.take(None, 1)
        try:
            created = await self._requests.create(
                new.run_id,
                profile=self._profile,
                agent=new.agent,
                input=new.input,
                idempotency_key=None if key is None else f"{self._profile} {key}",
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
            await _check_id(permit, new.run_id)
            document = run_document(scope, await self._creator.create(new, headers, permit))
            return json_response(document, 201, location=document["events_url"])

        await self._intake.serve(scope, receive, send, create)


async def _check_id(permit: Permit, run_id: RunId | None) -> None:
    if run_id is None:
        return
    try:
        await permit.also(Action.COMMAND, run_id)
    except (Forbidden, RunNotFound):
        # The same whether there is such a run or not.
        raise Forbidden("You may ask for runs, but not choose this id: leave run_id out.") from None


def run_document(scope: Scope, run_id: RunId) -> dict[str, str]:
    """The answer: the run, and where it is watched and talked to, on this same host."""
    base = f"{scope.get('root_path', '')}/v1/runs/{run_id}"
    return {
        "run_id": run_id,
        "events_url": f"{base}/events",
        "commands_url": f"{base}/commands",
    }
