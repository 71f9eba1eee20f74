"""Forward auth: the operator's own endpoint says who may what.

It is sent `GET` with the credential that was shown, and no other header of the client's, and
``Runcast-Action`` and ``Runcast-Run``: what is wanted. `forward_answer` has what it answers.

Answers are kept for seconds, by credential, action *and* run. A failure is no answer: nobody gets
in by it, and the next request asks again.
"""

import asyncio
import hmac
import math
import re
import secrets
import ssl
import time
from collections import OrderedDict
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from typing import Final, NamedTuple, Self

import httpx
import structlog

from broker import __version__
from broker.edge.auth.forward_answer import AnswerUnusable, No, Yes, read_answer
from broker.edge.auth.guard import RETRY_SECONDS
from broker.edge.auth.identity import CredentialKind, Identity
from broker.edge.auth.presented import API_KEY, Presented
from broker.edge.auth.rights import Action, Verdict
from broker.engine.flight import SingleFlight
from broker.wire.ids import RunId
from broker.wire.problem import Forbidden, NotAuthenticated, Unavailable

__all__ = ["ForwardAuth"]

logger = structlog.get_logger("runcast.auth")

_AT_ONCE: Final = 64
"""Requests to the endpoint that are under way."""
_WAITING: Final = 4096
"""Of those and the ones that wait for them; beyond it, nobody waits."""
_KEPT_YES: Final = 10_000
_KEPT_NO: Final = 1_000
"""Of their own, so that guessers don't push out what is good."""
_NO_SECONDS: Final = 1.0
"""The longest that a no is kept: somebody may have logged in."""
_BODY_BYTES: Final = 64 << 10
"""Of a body that is read, and forgotten, so that its connection can be used again."""
_QUIET_SECONDS: Final = 10.0
"""Between two lines of the log about failures."""
_USER_AGENT: Final = (b"User-Agent", f"runcast/{__version__}".encode())
_UNSENDABLE: Final = re.compile(r"[\0-\x08\n-\x1f\x7f]")
"""What no header may have (RFC 9110, 5.5)."""
_COOKIE_VALUE: Final = re.compile(r"[ !#-:<-\[\]-~]*")
"""What may stand in a cookie without quotes: RFC 6265, 4.1.1, and the space and comma that many
send."""


class _Key(NamedTuple):
    """What an answer is for. A tuple: parts joined into one text could be cut elsewhere."""

    credential: bytes
    action: Action
    run_id: RunId | None


@dataclass(frozen=True, slots=True)
class _Answer:
    says: Yes | No
    asked_at: float
    """Monotonic seconds, before the question was sent."""
    asked_time: float
    """The same in seconds since 1970."""

    @property
    def holds_seconds(self) -> float:
        """How long it is true, by its own word."""
        expires_in = self.says.expires_in if isinstance(self.says, Yes) else None
        return math.inf if expires_in is None else expires_in


class ForwardAuth:
    """Asks the endpoint: a `Verifier`. Use it as an async context manager."""

    def __init__(
        self,
        url: str,
        *,
        timeout_seconds: float,
        cache_seconds: float,
        share_seconds: float,
        session_cookie: str | None = None,
    ) -> None:
        """
        Args:
            url: the endpoint.
            timeout_seconds: the longest wait for its answer.
            cache_seconds: how long a yes holds for new requests.
            share_seconds: how old an answer may be for those who ask again.
            session_cookie: the name of the one cookie that is passed on; `None` for all.
        """
        self._url = url
        self._timeout = timeout_seconds
        self._cache_seconds = cache_seconds
        self._share_seconds = share_seconds
        self._session_cookie = session_cookie
        # Nobody who sees a key (in a dump, in a task's name) can try credentials against it.
        self._hash_key = secrets.token_bytes(32)
        self._yes = _Kept(_KEPT_YES)
        self._no = _Kept(_KEPT_NO)
        self._flights: SingleFlight[_Key, _Answer] = SingleFlight()
        self._turns = asyncio.Semaphore(_AT_ONCE)
        self._asking = 0
        self._failures = 0
        self._quiet_until = 0.0
        self._stack = AsyncExitStack()
        # Not a client: that would keep the cookies that are set for one, and send them for others.
        self._transport = httpx.AsyncHTTPTransport(
            verify=ssl.create_default_context(),
            # What the environment says of proxies is not for credentials.
            trust_env=False,
            limits=httpx.Limits(max_connections=_AT_ONCE, max_keepalive_connections=_AT_ONCE),
        )

    async def __aenter__(self) -> Self:
        await self._stack.enter_async_context(self._transport)
        self._stack.push_async_callback(self._flights.aclose)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def verify(self, presented: Presented, action: Action, run_id: RunId | None) -> Identity:
        """See `Verifier.verify`."""
        return await self._identity(presented, action, run_id, self._cache_seconds)

    # ---- inside

    async def _identity(
        self, presented: Presented, action: Action, run_id: RunId | None, newest_seconds: float
    ) -> Identity:
        header = self._header(presented)
        credential = hmac.digest(self._hash_key, b"%b\0%b" % header, "sha256")
        key = _Key(credential, action, run_id)
        answer = self._yes.get(key, newest_seconds)
        if answer is None:
            answer = self._no.get(key, min(newest_seconds, _NO_SECONDS))
        if answer is None:
            answer = await self._flights.do(key, partial(self._ask, key, header))
        says = answer.says
        if isinstance(says, No):
            if says.known:
                raise Forbidden(f"You lack the right: {action}.")
            raise NotAuthenticated("The credential is not, or no longer, good.")
        return Identity(
            says.subject,
            says.rights,
            presented.kind,
            issued_at=answer.asked_time,
            marks=frozenset() if says.subject is None else frozenset({f"subject:{says.subject}"}),
            again=partial(self._again, presented, action, run_id, says),
            until=answer.asked_time + answer.holds_seconds,
        )

    async def _again(
        self, presented: Presented, action: Action, run_id: RunId | None, before: Yes
    ) -> Identity:
        """Asks anew for somebody who was let in, whether what they were let in for is still
        theirs."""
        identity = await self._identity(presented, action, run_id, self._share_seconds)
        verdict = identity.rights.of(action, run_id)
        if verdict is Verdict.NO:
            raise Forbidden(f"You lack the right: {action}.")
        if verdict is Verdict.IF_OWN and (
            before.rights.of(action, run_id) is Verdict.YES or before.subject != identity.subject
        ):
            # Whose run it is was not looked at, or is to be another's: that is for the guard.
            raise Unavailable("The right has changed.", RETRY_SECONDS)
        return identity

    def _header(self, presented: Presented) -> tuple[bytes, bytes]:
        """The header that shows the credential, as it came.

        Raises:
            NotAuthenticated: it can't be passed on.
        """
        text = presented.text
        match presented.kind:
            case CredentialKind.API_KEY:
                name = API_KEY
            case CredentialKind.BEARER:
                name, text = "Authorization", f"Bearer {text}"
            case CredentialKind.SESSION if self._session_cookie is not None:
                if _COOKIE_VALUE.fullmatch(text) is None:
                    raise NotAuthenticated("The cookie's value has characters that none has.")
                name, text = "Cookie", f"{self._session_cookie}={text}"
            case CredentialKind.SESSION:
                name = "Cookie"
            case CredentialKind.TICKET:
                raise AssertionError("a ticket is ours, and goes nowhere")
        if _UNSENDABLE.search(text) is not None:
            raise NotAuthenticated("The credential has characters that none has.")
        return name.encode(), text.encode("latin-1")

    async def _ask(self, key: _Key, header: tuple[bytes, bytes]) -> _Answer:
        """
        Raises:
            Unavailable: there is no answer.
        """
        if self._asking >= _WAITING:
            raise self._failed("too many wait for it")
        self._asking += 1
        try:
            async with asyncio.timeout(self._timeout), self._turns:
                answer = await self._send(key, header)
        except TimeoutError:
            raise self._failed(f"no answer within {self._timeout:g} s") from None
        except httpx.HTTPError as error:
            # Its text may have the URL; its trace leads to the request with the credential.
            raise self._failed(type(error).__name__) from None
        except AnswerUnusable as unusable:
            raise self._failed(str(unusable)) from None
        finally:
            self._asking -= 1
        self._yes.drop(key)
        (self._yes if isinstance(answer.says, Yes) else self._no).put(key, answer)
        return answer

    async def _send(self, key: _Key, header: tuple[bytes, bytes]) -> _Answer:
        try:
            return await self._send_once(key, header)
        except (httpx.ReadError, httpx.WriteError, httpx.RemoteProtocolError):
            # It had closed a connection that was kept, just when it was to be used again.
            return await self._send_once(key, header)

    async def _send_once(self, key: _Key, header: tuple[bytes, bytes]) -> _Answer:
        headers = [header, (b"Runcast-Action", key.action.encode()), _USER_AGENT]
        if key.run_id is not None:
            headers.append((b"Runcast-Run", key.run_id.encode()))
        asked_at, asked_time = time.monotonic(), time.time()
        request = httpx.Request("GET", self._url, headers=headers)
        response = await self._transport.handle_async_request(request)
        try:
            says = read_answer(response.status_code, response.headers, key.action, key.run_id)
            size = 0
            async for piece in response.aiter_raw():
                size += len(piece)
                if size > _BODY_BYTES:
                    break
        finally:
            await response.aclose()
        return _Answer(says, asked_at, asked_time)

    def _failed(self, why: str) -> Unavailable:
        """The problem, after a line in the log about this and those before that had none."""
        self._failures += 1
        now = time.monotonic()
        if now >= self._quiet_until:
            logger.warning("forward auth gives no answer", why=why, failures=self._failures)
            self._quiet_until = now + _QUIET_SECONDS
            self._failures = 0
        return Unavailable("Who may do this can't be found out now.", RETRY_SECONDS)


class _Kept:
    """Answers; the one that was not used for longest goes first."""

    def __init__(self, most: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = most
        self._clock = clock
        self._answers: OrderedDict[_Key, _Answer] = OrderedDict()

    def get(self, key: _Key, newest_seconds: float) -> _Answer | None:
        """The answer, if it is not older than that, and still true."""
        answer = self._answers.get(key)
        if answer is None:
            return None
        age = self._clock() - answer.asked_at
        if age >= min(newest_seconds, answer.holds_seconds):
            return None
        self._answers.move_to_end(key)
        return answer

    def put(self, key: _Key, answer: _Answer) -> None:
        """Keeps it."""
        self._answers[key] = answer
        self._answers.move_to_end(key)
        if len(self._answers) > self._most:
            self._answers.popitem(last=False)

    def drop(self, key: _Key) -> None:
        """Forgets it: there is a newer one."""
        self._answers.pop(key, None)
