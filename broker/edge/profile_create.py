"""`POST` that makes a run, as a profile has it: the body is the run's input, whole."""

import orjson
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from broker.edge.auth.permit import Permit
from broker.edge.publishing.body import RequestBody
from broker.edge.publishing.create import RunCreator
from broker.edge.publishing.documents import NewRun
from broker.edge.publishing.intake import JSON, Intake, IntakeEndpoint, json_response, media_type
from broker.wire.problem import BadBody

__all__ = ["ProfileCreateEndpoint"]


class ProfileCreateEndpoint(IntakeEndpoint):
    """Takes requests for runs."""

    def __init__(self, creator: RunCreator, intake: Intake, events_path: str | None) -> None:
        """
        Args:
            creator: asks for the run.
            intake: takes the body.
            events_path: where the profile serves a run's events, with `{run_id}` in it.
        """
        super().__init__(intake)
        self._creator = creator
        self._events_path = events_path

    async def __call__(self, permit: Permit, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request."""

        async def create(headers: Headers, body: RequestBody) -> Response:
            media_type(headers, JSON)
            text = await self._intake.whole(body)
            _check(text)
            run_id = await self._creator.create(NewRun(None, "", text.decode()), headers, permit)
            document = {"id": run_id, "run_id": run_id, "state": "queued", "status": "queued"}
            if self._events_path is None:
                return json_response(document, 201)
            place = self._events_path.replace("{run_id}", run_id)
            document["events_url"] = f"{scope.get('root_path', '')}{place}"
            return json_response(document, 201, location=document["events_url"])

        await self._intake.serve(scope, receive, send, create)


def _check(text: bytes) -> None:
    try:
        document = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise BadBody(f"not JSON ({error.msg}, column {error.colno})") from None
    if not isinstance(document, dict):
        raise BadBody("not a JSON object")
