"""`POST` that asks an agent, and answers with its run's stream (run-agent's clients).

A session has one current run, which a key names. Who asks in a session begins a run, and the key
names that one from then on; who resumes gets the rest of the session's current one.
"""

from typing import Final
from uuid import uuid4

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from broker.edge.abandoned import AbandonedRuns, Commands
from broker.edge.events import EventsParts
from broker.edge.guard import Action
from broker.edge.problems import problem_response
from broker.edge.publishing.body import ClientGone, RequestBody
from broker.edge.publishing.create import RunCreator
from broker.edge.publishing.documents import NewRun
from broker.edge.publishing.intake import JSON, Intake, media_type
from broker.edge.streaming import Answer
from broker.engine.delivery import View
from broker.engine.log import LogUnavailable, NotAStream
from broker.profiles.document import RouteSection
from broker.profiles.profile import Profile
from broker.wire.ids import RunId, is_run_id
from broker.wire.problem import BadRunId, Problem, SessionUnknown, Unavailable, WrongKeyType
from broker.wire.request import Beginning
from broker.wire.run_agent_request import StreamRequest, with_error

__all__ = ["AskEndpoint"]

_RETURN_SECONDS: Final = 2


class AskEndpoint:
    """A raw ASGI endpoint."""

    def __init__(
        self,
        parts: EventsParts,
        intake: Intake,
        creator: RunCreator,
        abandoned: AbandonedRuns,
        commands: Commands,
        profile: Profile,
        route: RouteSection,
    ) -> None:
        """
        Args:
            parts: what streams are made of.
            intake: takes the body.
            creator: begins runs.
            abandoned: is told of who watches.
            commands: what workers are told with.
            profile: whose route it is.
            route: which.
        """
        self._parts = parts
        self._intake = intake
        self._creator = creator
        self._abandoned = abandoned
        self._commands = commands
        self._profile = profile
        self._route = route

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request; everything that can be refused is refused before the first byte."""
        body = RequestBody(scope, receive, lambda: self._parts.hub.draining)
        run_id: RunId | None = None
        response: Response
        try:
            agent = scope["path_params"]["name"]
            if not is_run_id(agent):
                raise BadRunId(agent)
            request = await self._request(scope, body)
            session = request.session_id or uuid4().hex
            run_id = await self._run(scope, agent, session, request)
            answer = await self._answer(run_id, session, request)
            await self._parts.streamer.serve(answer, scope, receive, send)
            return
        except ClientGone:
            return
        except NotAStream:
            problem: Problem = WrongKeyType(run_id or RunId(""))
        except LogUnavailable:
            problem = Unavailable("Redis can't be reached.", _RETURN_SECONDS)
        except Problem as error:
            problem = error
        response = problem_response(problem if "error" in problem.members else with_error(problem))
        await body.answer(response, send)

    async def _request(self, scope: Scope, body: RequestBody) -> StreamRequest:
        if self._parts.hub.draining:
            raise Unavailable("This process is leaving.", _RETURN_SECONDS)
        credentials = self._route.credentials
        await self._parts.guard.check(scope, Action.CREATE, None, credentials)
        media_type(Headers(scope=scope), JSON)
        return StreamRequest.parse(await self._intake.whole(body))

    async def _run(self, scope: Scope, agent: str, session: str, request: StreamRequest) -> RunId:
        key = f"session:{session}:run"
        if request.resume_from is not None:
            found = await self._parts.pointers.get(key)
            if found is None:
                raise SessionUnknown(session)
            await self._parts.guard.check(scope, Action.WATCH, found, self._route.credentials)
            return found
        new = NewRun(None, agent, request.input(session))
        run_id = await self._creator.create(new, Headers(scope=scope))
        await self._parts.pointers.set(key, run_id)
        return run_id

    async def _answer(self, run_id: RunId, session: str, request: StreamRequest) -> Answer:
        address = self._parts.catalogue.address(self._profile.name, run_id)
        opening = await self._parts.hub.open(address, Beginning())
        dialect = request.dialect(session)
        view = View(
            dialect=dialect,
            history=request.history(session),
            delay_seconds=request.delay_seconds,
        )
        first = dialect.greeting(self._parts.hub.retry_milliseconds, None)
        return Answer(
            opening,
            view,
            first,
            {"runcast-run": run_id},
            compress=self._profile.compress,
            began=await self._abandoned.watched(run_id, self._commands),
        )
