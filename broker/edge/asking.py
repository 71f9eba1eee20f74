"""`POST` that asks an agent, and answers with its run's stream (run-agent's clients).

A session has one current run, which a key names. Who asks in a session begins a run, and the key
names that one from then on; who resumes gets the rest of the session's current one.
"""

import hashlib
from dataclasses import replace
from typing import Final
from uuid import uuid4

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from broker.edge.abandoned import AbandonedRuns, Commands
from broker.edge.auth.own_runs import require_same_run
from broker.edge.auth.permit import Permit
from broker.edge.auth.rights import Action
from broker.edge.events import EventsParts
from broker.edge.problems import problem_response
from broker.edge.publishing.body import ClientGone, RequestBody
from broker.edge.publishing.create import RunCreator
from broker.edge.publishing.documents import NewRun
from broker.edge.publishing.intake import JSON, Intake, media_type, run_permitted
from broker.edge.streaming import Answer
from broker.engine.delivery import View
from broker.engine.log import LogUnavailable, NotAStream
from broker.profiles.profile import Profile
from broker.wire.ids import RunId, is_run_id
from broker.wire.problem import BadRunId, Problem, SessionUnknown, Unavailable, WrongKeyType
from broker.wire.request import Beginning
from broker.wire.run_agent_request import StreamRequest, with_error

__all__ = ["AskEndpoint"]

_RETURN_SECONDS: Final = 2


class AskEndpoint:
    """Takes requests, and answers each with a stream."""

    def __init__(
        self,
        parts: EventsParts,
        intake: Intake,
        creator: RunCreator,
        abandoned: AbandonedRuns,
        commands: Commands,
        profile: Profile,
    ) -> None:
        """
        Args:
            parts: what streams are made of.
            intake: takes the body.
            creator: begins runs.
            abandoned: is told of who watches.
            commands: what workers are told with.
            profile: whose route it is.
        """
        self._parts = parts
        self._intake = intake
        self._creator = creator
        self._abandoned = abandoned
        self._commands = commands
        self._profile = profile

    async def refuse(self, problem: Problem, scope: Scope, receive: Receive, send: Send) -> None:
        """Says that there is no permit, with the error's code as these clients have it."""
        await self._intake.refuse(with_error(problem), scope, receive, send)

    async def __call__(self, permit: Permit, scope: Scope, receive: Receive, send: Send) -> None:
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
            permit = await self._run(permit, scope, agent, session, request)
            run_id = run_permitted(permit)
            answer = await self._answer(permit, run_id, session, request)
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
        media_type(Headers(scope=scope), JSON)
        return StreamRequest.parse(await self._intake.whole(body))

    async def _run(
        self, permit: Permit, scope: Scope, agent: str, session: str, request: StreamRequest
    ) -> Permit:
        """The permit to watch the session's run: the one that there is, or a new one."""
        key = _pointer(permit.subject, session)
        if request.resume_from is not None:
            found = await self._parts.pointers.get(key)
            if found is None:
                raise SessionUnknown(session)
            return await permit.also(Action.WATCH, found)
        with self._parts.admission.take(scope, permit.subject, None):
            # No run is begun whose answer would be refused then.
            pass
        new = NewRun(None, agent, request.input(session))
        run_id = await self._creator.create(new, Headers(scope=scope), permit)
        await self._parts.pointers.set(key, run_id)
        # Whoever may ask may have the answer.
        return replace(permit, run_id=run_id)

    async def _answer(
        self, permit: Permit, run_id: RunId, session: str, request: StreamRequest
    ) -> Answer:
        address = self._parts.catalogue.address(self._profile.name, run_id)
        opening = await self._parts.hub.open(address, Beginning())
        dialect = request.dialect(session)
        view = View(
            dialect=dialect,
            history=request.history(session),
            delay_seconds=request.delay_seconds,
        )
        first = dialect.greeting(self._parts.hub.retry_milliseconds, None)
        if request.resume_from is None:
            # Nobody else's can have this place: it was just made.
            permit.check()
        else:
            await require_same_run(permit, opening)
        return Answer(
            permit,
            opening,
            view,
            first,
            self._profile.name,
            {"runcast-run": run_id},
            compress=self._profile.compress,
            began=await self._abandoned.watched(run_id, self._commands),
        )


def _pointer(subject: str | None, session: str) -> str:
    """The key that has the session's current run. Everyone has sessions of their own, whatever they
    call them; no name of a session has a colon."""
    if subject is None:
        return f"session:{session}:run"
    return f"session:{hashlib.sha256(subject.encode()).hexdigest()}:{session}:run"
