"""`POST /v1/runs/{run_id}/commands`: says something to a run's worker."""

import hashlib
import json

from redis.exceptions import RedisError
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from broker.edge.auth.permit import Permit
from broker.edge.publishing.body import RequestBody
from broker.edge.publishing.documents import NewCommand, parse_command
from broker.edge.publishing.intake import (
    JSON,
    Intake,
    IntakeEndpoint,
    json_response,
    media_type,
    refusal,
    run_permitted,
)
from broker.edge.publishing.origin import IDEMPOTENCY_KEY, idempotency_key
from broker.redis.commands import CommandAppended, Commands
from broker.redis.persistence import AppendError
from broker.wire.ids import RunId

__all__ = ["CommandsEndpoint"]

_NOT_ASKED = "Redis does not answer: the command is not there."
_NOT_SAID = (
    "Redis did not say that it has the command: send it again with the same Idempotency-Key, and "
    "it comes once."
)


class CommandsEndpoint(IntakeEndpoint):
    """Takes commands."""

    def __init__(self, commands: Commands, intake: Intake) -> None:
        super().__init__(intake)
        self._commands = commands

    async def __call__(self, permit: Permit, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request."""

        async def command(headers: Headers, body: RequestBody) -> Response:
            run_id = run_permitted(permit)
            media_type(headers, JSON)
            key = idempotency_key(headers.getlist(IDEMPOTENCY_KEY))
            self._intake.check_rate(run_id)
            new = parse_command(await self._intake.whole(body))
            self._intake.rates.take(run_id, 1)
            appended = await self._append(run_id, new, _name(key, permit.subject))
            self._intake.stats.commands += 1
            shown = None if appended.id is None else str(appended.id)
            return json_response({"id": shown, "open": appended.open}, 202)

        await self._intake.serve(scope, receive, send, command)

    async def _append(self, run_id: RunId, new: NewCommand, name: str | None) -> CommandAppended:
        try:
            return await self._commands.append(run_id, new.type, new.data, idempotency_key=name)
        except (RedisError, OSError, TimeoutError) as error:
            raise refusal(error, run_id, _NOT_ASKED) from error
        except AppendError as error:
            raise refusal(error, run_id, _NOT_SAID) from error


def _name(key: str | None, subject: str | None) -> str | None:
    """What the command goes by: one person's key is not another's."""
    if key is None:
        return None
    text = key if subject is None else json.dumps([subject, key])
    return f"key:{hashlib.sha256(text.encode()).hexdigest()}"
