"""Runcast as it is put on the internet: with limits, and with each way to prove who one is."""

import hashlib
import secrets
import time
from collections.abc import Mapping
from typing import ClassVar

import jwt

from benchmarks.publisher import RedisPublisher
from benchmarks.systems.process import ServerProcess
from benchmarks.systems.runcast import Runcast, RunningRuncast
from benchmarks.systems.system import Place, Requests
from broker.edge.auth.identity import CredentialKind, Identity
from broker.edge.auth.rights import Action, Rights
from broker.edge.auth.tickets import Tickets
from broker.wire.ids import RunId

__all__ = ["RuncastApiKey", "RuncastJwt", "RuncastLimits", "RuncastTicket"]

_SECRET = secrets.token_urlsafe(48)
_KEYS = 5000
"""As many as viewers that are known by one each."""
_SECONDS = 3600


class RuncastLimits(Runcast):
    """With the limits that docs/operations.md recommends."""

    name: ClassVar[str] = "runcast-limits"
    title: ClassVar[str] = "Runcast (limits)"
    variant: ClassVar[bool] = True

    def settings(self, place: Place) -> Mapping[str, str]:
        """See `Runcast.settings`."""
        return {
            "RUNCAST_MAX_CONNECTIONS": "10000",
            "RUNCAST_MAX_CONNECTIONS_PER_ADDRESS": "100",
            "RUNCAST_CONNECTIONS_PER_SECOND": "1000",
        }


class _Known(RunningRuncast):
    """Viewers show something."""

    def header(self, viewer: int) -> bytes:
        """The line that proves who it is; empty for none."""
        return b""

    def query(self, viewer: int, run: str) -> bytes:
        """What follows the path; empty for nothing."""
        return b""

    def requests_of(self, viewer: int, run: str) -> Requests:
        """See `Running.requests_of`."""
        # The line comes last: what is before it must be read before it is found.
        end = self.header(viewer) + b"\r\n"
        path = b"/events" + self.query(viewer, run)

        def shown(request: bytes) -> bytes:
            return request.replace(b"/events", path).removesuffix(b"\r\n") + end

        plain = self.requests
        again = None if plain.again is None else shown(plain.again)
        return Requests(plain.port, shown(plain.first), again)


class _WithKey(_Known):
    def header(self, viewer: int) -> bytes:
        return f"X-API-Key: {_key(viewer)}\r\n".encode()


class _WithJwt(_Known):
    def header(self, viewer: int) -> bytes:
        claims = {
            "sub": f"user-{viewer}",
            "aud": "runcast",
            "iss": "https://id.example",
            "iat": int(time.time()),
            "exp": int(time.time()) + _SECONDS,
            "jti": secrets.token_hex(16),
        }
        return f"Authorization: Bearer {jwt.encode(claims, _SECRET, 'HS256')}\r\n".encode()


class _WithTicket(_Known):
    def query(self, viewer: int, run: str) -> bytes:
        tickets = Tickets([_SECRET.encode()], audience="runcast", longest_seconds=_SECONDS)
        parent = Identity(f"user-{viewer}", Rights(["watch:*"]), CredentialKind.BEARER)
        return b"?ticket=" + tickets.make(parent, RunId(run), [Action.WATCH], None).text.encode()


def _key(viewer: int) -> str:
    return hashlib.sha256(f"{_SECRET} {viewer % _KEYS}".encode()).hexdigest()


class RuncastApiKey(Runcast):
    """Each viewer has an API key."""

    name: ClassVar[str] = "runcast-api-key"
    title: ClassVar[str] = "Runcast (API keys)"
    variant: ClassVar[bool] = True

    def settings(self, place: Place) -> Mapping[str, str]:
        """See `Runcast.settings`."""
        path = place.directory / "keys.toml"
        path.write_text(
            "".join(
                f'[[keys]]\nname = "viewer-{number}"\n'
                f'hash = "sha256:{hashlib.sha256(_key(number).encode()).hexdigest()}"\n'
                'rights = ["watch:*"]\n'
                for number in range(_KEYS)
            )
        )
        return {"RUNCAST_API_KEYS_FILE": str(path)}

    def running(
        self, process: ServerProcess, publisher: RedisPublisher, port: int
    ) -> RunningRuncast:
        """See `Runcast.running`."""
        return _WithKey(process, publisher, port)


class RuncastJwt(Runcast):
    """Each viewer has a token of their own (HS256)."""

    name: ClassVar[str] = "runcast-jwt"
    title: ClassVar[str] = "Runcast (JWT)"
    variant: ClassVar[bool] = True

    def settings(self, place: Place) -> Mapping[str, str]:
        """See `Runcast.settings`."""
        path = place.directory / "secret"
        path.write_text(_SECRET)
        return {
            "RUNCAST_JWT_KEY_FILE": str(path),
            "RUNCAST_JWT_ALGORITHMS": "HS256",
            "RUNCAST_JWT_ISSUER": "https://id.example",
            "RUNCAST_JWT_AUDIENCE": "runcast",
            "RUNCAST_JWT_RIGHTS": "watch:*",
        }

    def running(
        self, process: ServerProcess, publisher: RedisPublisher, port: int
    ) -> RunningRuncast:
        """See `Runcast.running`."""
        return _WithJwt(process, publisher, port)


class RuncastTicket(RuncastJwt):
    """Each viewer has a ticket of their own."""

    name: ClassVar[str] = "runcast-ticket"
    title: ClassVar[str] = "Runcast (tickets)"
    variant: ClassVar[bool] = True

    def settings(self, place: Place) -> Mapping[str, str]:
        """See `Runcast.settings`."""
        return {**super().settings(place), "RUNCAST_TICKET_SECRET": _SECRET}

    def running(
        self, process: ServerProcess, publisher: RedisPublisher, port: int
    ) -> RunningRuncast:
        """See `Runcast.running`."""
        return _WithTicket(process, publisher, port)
